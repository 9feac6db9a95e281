"""The walk through web sites: what is fetched next, and what became of each address."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...errors import OrbitError, UnreadableDocument
from ..reading import Chunks, Reading
from . import kinds
from .address import Site, origin, owned
from .directives import directives
from .fetch import Fetched, Fetcher, NotFetched, OverBudget
from .frontier import Bounds, Entry, Frontier
from .robots import Robots

logger = logging.getLogger(__name__)

_AT_ONCE = 4
_MOST_REDIRECTS = 10
_MOST_SITEMAPS = 100

# fmt: off
Outcome = Literal[
    "read", "unchanged", "redirected", "duplicate", "noindex", "refused", "skipped", "empty",
    "gone", "failed",
]
# fmt: on


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier run has stored of a page: validators, and the links first seen there."""

    validators: Mapping[str, str]
    links: Sequence[str] = ()


@dataclass(slots=True)
class Visit:
    """What became of one address.

    ``reason`` says why it was not read; ``target`` is where it redirects, or what it duplicates.
    ``found`` are the links that no page before had.
    """

    address: str
    outcome: Outcome
    reason: str = ""
    target: str = ""
    chunks: Chunks | None = None
    notes: list[str] = field(default_factory=list)
    validators: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[str] = ()
    found: list[str] = field(default_factory=list)


class Crawl:
    """A walk through ``sites``, each from its start, its sitemaps and what is ``known`` of it.

    ``options`` are those of the readers. When it is over, ``sites`` are those that have answered,
    and the ``frontier`` knows what was not visited.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        fetcher: Fetcher,
        reading: Reading,
        *,
        known: Mapping[str, Known],
        bounds: Bounds,
        options: Mapping[str, Any],
    ) -> None:
        self._given, self.sites = sites, list[Site]()
        self._fetcher, self._reading = fetcher, reading
        self._known, self._most_listed, self._options = known, bounds.pages, options
        self.frontier = Frontier(bounds)
        self._robots: dict[str, Robots] = {}
        self._listed: set[str] = set()  # origins whose sitemaps name their pages
        self._starts: dict[str, Fetched] = {}
        self._duplicates: list[Visit] = []
        self._read: set[str] = set()

    async def visits(self) -> AsyncGenerator[Visit]:
        """Visit everything, a few addresses at once, and yield what became of each."""
        running: set[asyncio.Task[Visit]] = set()
        try:
            for site in self._given:
                if failed := await self._begin(site):
                    yield failed
            while True:
                if not running and not self.frontier:
                    self._retry()
                while len(running) < _AT_ONCE and (entry := self.frontier.take()):
                    running.add(asyncio.create_task(self._attempt(entry)))
                if not running:
                    break
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    visit = task.result()
                    self._conclude(visit)
                    yield visit
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _retry(self) -> None:
        """Queue again what calls itself another page that is not to be had: it is one after all."""
        again = [each for each in self._duplicates if each.target not in self._read]
        self._duplicates = []
        for each in again:
            self.frontier.add_again(Entry(each.address, canonical=False))

    def _conclude(self, visit: Visit) -> None:
        if visit.outcome in ("read", "unchanged"):
            self._read.add(visit.address)
        elif visit.outcome == "duplicate":
            self._duplicates.append(visit)
        if visit.reason == str(OverBudget()):
            self.frontier.stop("All pages together are larger than they may be.")

    # -- beginning a site ----------------------------------------------------------------------

    async def _begin(self, given: Site) -> Visit | None:
        """Find where a site begins and what its sitemaps list; the failure, if it has none."""
        try:
            site = await self._found(given)
        except NotFetched as error:
            return Visit(given.start, "failed", f"{error}")
        self.sites.append(site)
        self.frontier.add(Entry(site.start))
        pages = await self._listing(site)
        for address in pages:
            self.frontier.add(Entry(address))
        for address in self._known:
            if site.own(address):
                self.frontier.add(Entry(address))
        return None

    async def _found(self, site: Site) -> Site:
        """Follow the redirects of a site's first address. Raises ``NotFetched``."""
        for _ in range(_MOST_REDIRECTS):
            here = origin(site.start)
            if here not in self._robots:
                self._robots[here] = robots = await Robots.fetched(here, self._fetcher)
                if robots.delay is not None:
                    self._fetcher.delays[here] = robots.delay
            if not self._robots[here].allows(site.start):
                raise NotFetched("its robots.txt does not allow that")
            fetched = await self._get(site.start)
            if not fetched.redirected:
                if fetched.status not in (200, 304):
                    raise NotFetched(f"its server answers with status {fetched.status}")
                self._starts[site.start] = fetched
                return site
            target = fetched.location or ""
            moved = site.moved(target) if target else None
            if moved is None or moved.own(target) is None:
                raise NotFetched(f"it leads to {target or 'nowhere'}; give that address instead")
            site = moved
            if site.credentials:
                self._fetcher.trust(site.credentials)
        raise NotFetched("it redirects too often")

    async def _listing(self, site: Site) -> list[str]:
        """Return the pages that the sitemaps of a site name."""
        here = origin(site.start)
        whole = replace(site, folder="/")
        named = filter(None, map(whole.own, self._robots[here].sitemaps(here)))
        waiting = list(named) or [f"{here}/sitemap.xml"]
        seen, pages = set(waiting), dict[str, None]()
        while waiting and len(pages) <= self._most_listed:
            address = waiting.pop(0)
            try:
                fetched = await self._fetcher.follow(address)
                if fetched.file is None:
                    continue
                found = await self._reading.read(
                    fetched.file, address, reader="sitemap", sites=self._scope()
                )
            except (NotFetched, UnreadableDocument) as error:
                self.frontier.left[address] = f"{error}"
                continue
            fetched.file.unlink()
            pages |= dict.fromkeys(found.facts["pages"])
            inside = filter(None, map(whole.own, found.facts["sitemaps"]))
            new = [each for each in inside if each not in seen]
            waiting += new[: _MOST_SITEMAPS - len(seen)]
            seen |= set(waiting)
        if pages:
            self._listed.add(here)
        return list(pages)

    # -- one address ---------------------------------------------------------------------------

    async def _get(self, address: str, *, canonical: bool = True) -> Fetched:
        known = self._known.get(address) if canonical else None
        return await self._fetcher.get(
            address,
            wanted=lambda kind: kinds.wanted(kind, address),
            validators=known.validators if known else None,
        )

    async def _attempt(self, entry: Entry) -> Visit:
        try:
            return await self._visit(entry)
        except OrbitError:
            raise
        except Exception:  # the web is stranger than we thought: one page must not end the walk
            logger.exception("%s could not be read", entry.address)
            return Visit(entry.address, "failed", "an unexpected error; the log has more")

    async def _visit(self, entry: Entry) -> Visit:
        address = entry.address
        if not self._robots[origin(address)].allows(address):
            return Visit(address, "refused", "robots.txt")
        try:
            fetched = self._starts.pop(address, None) or await self._get(
                address, canonical=entry.canonical
            )
        except NotFetched as error:
            return Visit(address, "failed", str(error))
        if fetched.redirected:
            return self._redirected(entry, fetched)
        if fetched.status == 304 and address in self._known:
            # The collection may have more sites in it than this run walks through.
            links = (owned(each, self.sites) for each in self._known[address].links)
            visit = Visit(address, "unchanged", links=list(filter(None, links)))
        elif fetched.gone:
            return Visit(address, "gone", f"status {fetched.status}")
        elif fetched.status != 200:
            return Visit(address, "failed", f"its server answers with status {fetched.status}")
        elif fetched.file is None:
            return Visit(address, "skipped", fetched.kind or "unknown type")
        else:
            visit = await self._understood(entry, fetched)
        for link in visit.links:
            is_listed = origin(address) in self._listed and not kinds.is_file(link)
            if not is_listed and self.frontier.add(Entry(link, entry.depth + 1), linked=True):
                visit.found.append(link)
        return visit

    def _redirected(self, entry: Entry, fetched: Fetched) -> Visit:
        target = owned(fetched.location, self.sites) if fetched.location else None
        if target is None:
            return Visit(entry.address, "redirected", "it leads out of the site")
        trail = (*entry.trail, entry.address)
        if target in trail:
            return Visit(entry.address, "failed", "it redirects in circles")
        if len(trail) >= _MOST_REDIRECTS:
            return Visit(entry.address, "failed", "it redirects too often")
        self.frontier.add(Entry(target, entry.depth, trail))
        return Visit(entry.address, "redirected", target=target)

    async def _understood(self, entry: Entry, fetched: Fetched) -> Visit:
        """Read what was fetched, in a process of its own."""
        address, file = entry.address, fetched.file
        if file is None:
            raise ValueError("there is nothing to read")
        said = directives(fetched.robots)
        if "noindex" in said:
            file.unlink()
            return Visit(address, "noindex", "X-Robots-Tag")
        suffix = kinds.suffix(file, fetched.kind, address)
        file = file.rename(file.with_suffix(suffix))
        more: dict[str, Any] = {}
        if suffix == ".html":
            more = {
                "reader": "page",
                "sites": self._scope(),
                "charset": fetched.charset,
                "canonical": entry.canonical,
            }
        try:
            found = await self._reading.read(file, address, **more, **self._options)
        except UnreadableDocument as error:
            return Visit(address, "failed", str(error))
        finally:
            file.unlink()
        links = [] if "nofollow" in said else found.facts.get("links", [])
        visit = Visit(address, "read", links=links, validators=fetched.validators)
        if found.facts.get("noindex"):
            visit.outcome, visit.reason = "noindex", "meta robots"
        elif target := found.facts.get("canonical"):
            visit.outcome, visit.target = "duplicate", target
            self.frontier.add(Entry(target, entry.depth))
        elif not len(found.chunks):
            visit.outcome, visit.reason = "empty", " ".join(found.left_out)
        else:
            visit.chunks, visit.notes = found.chunks, [*found.notes, *found.left_out]
        return visit

    def _scope(self) -> list[list[str]]:
        return [[site.start, site.folder] for site in self.sites]
