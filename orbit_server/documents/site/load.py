"""Web sites become passages of a collection, and what is known of their pages is kept there."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ..collection_store import Store
from ..loading import Batches, FileResult, LoadOptions, Waiting, remove_all
from ..model import Chunk, Scalar
from ..reading import Chunks, Reading
from ..source_list import First
from .address import Site, owned
from .crawl import Crawl, Known, Visit
from .fetch import Fetcher
from .frontier import Bounds
from .network import any_socket, public_socket

_MOST_LINKS = 1000  # that are kept with a page
# Of the first passage of a page, beside what every passage has.
_STATE = ("etag", "last_modified", "links")


@dataclass(slots=True)
class SiteReport:
    """What became of all addresses, by their ``outcome``, and of their passages.

    ``pruned`` were removed, ``stale`` would be with ``--prune``; ``left`` were not visited, by the
    reason; ``bounds_hit`` says what ended the walk early.
    """

    visits: dict[str, list[Visit]] = field(default_factory=dict)
    results: list[FileResult] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    bounds_hit: list[str] = field(default_factory=list)

    def of(self, *outcomes: str) -> list[Visit]:
        """Return the visits that ended so."""
        return [visit for outcome in outcomes for visit in self.visits.get(outcome, ())]

    @property
    def failed(self) -> bool:
        """Whether nothing at all was understood."""
        return not self.of("read", "unchanged")


async def ingest_sites(
    sites: Sequence[Site],
    collection: str,
    store: Store,
    *,
    chunk_chars: int,
    chunk_overlap: int,
    batch: int = 512,
    languages: Sequence[str] = (),
    prune: bool = False,
    delay: float = 0.5,
    allow_private: bool = False,
    bounds: Bounds = Bounds(),
    fetcher: Callable[..., Fetcher] = Fetcher,
    advanced: Callable[[int, int, int], None] = lambda visited, waiting, chunks: None,
) -> SiteReport:
    """Load web sites into ``collection`` and say what became of each address.

    What the server says about a page (ETag, Last-Modified) is kept with its first passage, so that
    the next run, on whatever machine, fetches only what has changed. ``prune`` removes the pages
    that are gone: their server says so, or redirects them to a page that was read, or they want to
    be in no index any more. Nothing of a site that does not answer is removed.
    ``advanced(visited, waiting, chunks)`` is called after each address; ``chunks`` are new.
    Raises what ``store`` raises.
    """
    report = SiteReport()
    first = await store.first(collection)
    chunks = 0

    def stored(_: int, count: int) -> None:
        nonlocal chunks
        chunks += count
        advanced(crawl.frontier.visited, len(crawl.frontier), chunks)

    options = LoadOptions(
        chunk_chars=chunk_chars, chunk_overlap=chunk_overlap, languages=languages, batch=batch
    )
    batches = Batches(store, collection, options, advanced=stored)
    with TemporaryDirectory(prefix="orbit-site-") as folder:
        fetching = fetcher(
            Path(folder),
            delay=delay,
            connect=any_socket if allow_private else public_socket,
            credentials=tuple(each.credentials for each in sites if each.credentials),
        )
        async with fetching, Reading() as reading:
            crawl = Crawl(
                sites,
                fetching,
                reading,
                known={source: _known(each) for source, each in first.items()},
                bounds=bounds,
                options={"chunk_chars": chunk_chars, "chunk_overlap": chunk_overlap},
            )
            async with aclosing(crawl.visits()) as visits:
                async for visit in visits:
                    report.visits.setdefault(visit.outcome, []).append(visit)
                    if visit.chunks is not None:
                        result = FileResult(visit.address, len(visit.chunks), notes=visit.notes)
                        report.results.append(result)
                        passages = _with_state(visit, visit.chunks, first.get(visit.address))
                        visit.chunks = None  # they are large
                        await batches.add(Waiting(result, passages, 1))
                    advanced(crawl.frontier.visited, len(crawl.frontier), chunks)
    await batches.finish()
    report.left, report.bounds_hit = crawl.frontier.left, crawl.frontier.bounds_hit
    report.stale = _stale(report, [each for each in first if owned(each, crawl.sites)])
    if prune:
        await remove_all(report.stale, collection, store)
        report.pruned, report.stale = report.stale, []
    return report


def _known(first: First) -> Known:
    state = {name: str(first.metadata[name]) for name in _STATE if name in first.metadata}
    return Known(state, state.pop("links", "").split())


def _with_state(visit: Visit, chunks: Chunks, known: First | None) -> list[Chunk]:
    """Return the passages, the first of which knows what the server has said about the page.

    Where nothing else has changed it knows what it knew: a server that names the same page anew
    at each visit would have it embedded each time.
    """
    first, *others = chunks
    state: dict[str, Scalar] = {**visit.validators}
    if state and visit.found:
        state["links"] = " ".join(visit.found[:_MOST_LINKS])
    if known is not None:
        before = {name: known.metadata[name] for name in _STATE if name in known.metadata}
        same = _stated(first, before)
        if same.id == known.id:
            return [same, *others]
    return [_stated(first, state), *others]


def _stated(chunk: Chunk, state: Mapping[str, Scalar]) -> Chunk:
    return Chunk.of(chunk.embed, chunk.text, {**chunk.metadata, **state})


def _stale(report: SiteReport, known: Sequence[str]) -> list[str]:
    """Return which of the ``known`` pages are there no more, as far as that is certain."""
    there = {visit.address for visit in report.of("read", "unchanged")}
    gone = {visit.address for visit in report.of("gone", "noindex")}
    gone |= {
        visit.address for visit in report.of("redirected", "duplicate") if visit.target in there
    }
    return sorted(gone.difference(there).intersection(known))
