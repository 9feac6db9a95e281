"""A web site is loaded, and loaded again: what is fetched, what is stored, and what is said."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from orbit_server.documents.site.address import Site
from orbit_server.documents.site.fetch import Fetcher
from orbit_server.documents.site.frontier import Bounds
from orbit_server.documents.site.load import SiteReport, ingest_sites
from orbit_server.documents.site.network import any_socket, public_socket
from orbit_server.services import Services

from ...support.server import lexical
from ...support.town_site import QUESTIONS, THINGS, TownSite

pytestmark = [pytest.mark.anyio, pytest.mark.process]

Load = Callable[..., Any]
BOUNDS = Bounds(depth=4, queries=5)


@pytest.fixture
async def site() -> AsyncIterator[TownSite]:
    async with TownSite(services=10)() as site:
        yield site


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with Services(lexical(tmp_path)) as services:
        yield services


@pytest.fixture
def load(site: TownSite, services: Services) -> Load:
    """Load the site into ``town``; of private addresses only its own may be connected to."""

    def connect(address: tuple[Any, ...]) -> Any:
        own = address[4][1] == int(site.url.rpartition(":")[2])
        return any_socket(address) if own else public_socket(address)

    async def load(*addresses: str, **options: Any) -> SiteReport:
        def fetcher(folder: Path, **more: Any) -> Fetcher:
            return Fetcher(folder, **more | {"connect": connect}, silence=2.0, limit=3_000_000)

        site.asked.clear()
        given = [Site.of(each) for each in addresses or (site.url,)]
        usual: dict[str, Any] = {
            "chunk_chars": 600,
            "chunk_overlap": 0,
            "delay": 0.0,
            "bounds": BOUNDS,
        }
        return await ingest_sites(given, "town", services.store, fetcher=fetcher, **usual | options)

    return load


def outcomes(report: SiteReport, site: TownSite) -> dict[str, set[str]]:
    """Return the paths by what became of them."""
    return {
        outcome: {visit.address.removeprefix(site.url) for visit in visits}
        for outcome, visits in report.visits.items()
    }


async def test_a_site_answers_questions_with_links(
    site: TownSite, services: Services, load: Load
) -> None:
    """Pages by sitemap, a PDF, a Word file, old encodings, lying types: each with its address.

    What stands around the content is in no passage; title and language are kept.
    """
    site.services = len(THINGS)
    report = await load()
    for question, path in QUESTIONS.items():
        passages = await services.store.search("town", question)
        assert [each.source for each in passages[:1]] == [f"{site.url}{path}"], question
    assert not report.failed
    found = outcomes(report, site)
    assert len(found["read"]) >= 50
    assert found["refused"] >= {"/private/secret.html"}
    assert found["noindex"] == {"/noindex"}
    assert found["duplicate"] == {"/print/hours"}
    assert "failed" not in found, report.of("failed")
    # The sitemap lists the pages, so of the links only those to files are followed.
    assert not {"/calendar?month=1", "/huge", "/missing", "/trap"} & set(site.paths)
    records = await services.chroma.get("town")
    for record in records:
        for around in ("cookies", "newsletter", "Imprint", "Follow us"):
            assert around not in (record.document or "")
    [hours] = [each for each in records if each.metadata["source"].endswith("/hours")]
    assert hours.metadata["title"] == "Opening hours"
    assert hours.metadata["language"] == "en"
    assert "Thursdays" in (hours.document or "")


async def test_a_second_run_fetches_what_changed(
    site: TownSite, services: Services, load: Load
) -> None:
    """Everything else is answered with 304; not one passage is written."""
    await load()
    before = {each.id for each in await services.chroma.get("town")}
    site.edited["/services/7.html"] = "The chimney licence now costs a hundred euros."
    report = await load()
    # What says noindex, or that it is another page, is not kept, and so not known.
    assert site.fetched() == {"/services/7.html", "/noindex", "/print/hours"}
    assert [each.source for each in report.results] == [f"{site.url}/services/7.html"]
    after = {each.id for each in await services.chroma.get("town")}
    assert len(before - after) == len(after - before) == 1
    passages = await services.store.search("town", "Does the chimney licence cost a hundred?")
    assert any("hundred" in each.text for each in passages)


async def test_without_validators_nothing_is_stored_twice(
    site: TownSite, services: Services, load: Load
) -> None:
    """A site that says neither ETag nor date is fetched again, and found to be the same."""
    site.validating = False
    await load()
    before = {each.id: each.metadata for each in await services.chroma.get("town")}
    report = await load()
    assert sum(result.stored + result.removed for result in report.results) == 0
    assert {each.id: each.metadata for each in await services.chroma.get("town")} == before


async def test_only_what_is_gone_is_pruned(site: TownSite, services: Services, load: Load) -> None:
    """A page that answers 404 goes, with ``prune`` only; one that fails stays."""
    await load()
    site.vanished = {"/services/3.html"}
    site.broken = {"/services/4.html"}
    gone, broken = f"{site.url}/services/3.html", f"{site.url}/services/4.html"
    kept = await load()
    assert (kept.stale, kept.pruned) == ([gone], [])
    assert gone in await services.store.sources("town")
    report = await load(prune=True)
    assert (report.stale, report.pruned) == ([], [gone])
    sources = await services.store.sources("town")
    assert gone not in sources
    assert broken in sources
    assert [(each.address, each.reason) for each in report.of("failed")] == [
        (broken, "its server answers with status 500")
    ]


@pytest.mark.parametrize("trouble", ["down", "everything is gone"])
async def test_a_site_that_is_down_loses_nothing(
    site: TownSite, services: Services, load: Load, trouble: str
) -> None:
    """Neither when it fails, nor when it says of every page that it is gone."""
    await load()
    before = await services.store.sources("town")
    site.down = trouble == "down"
    site.vanished = set() if site.down else {"/", *(f"/services/{n}.html" for n in range(1, 11))}
    report = await load(prune=True)
    assert report.failed
    assert report.pruned == []
    assert await services.store.sources("town") == before


async def test_links_are_followed_where_there_is_no_sitemap(
    site: TownSite, services: Services, load: Load
) -> None:
    """With all the traps of the web: loops, calendars, mazes, huge and slow pages."""
    site.listed = False
    report = await load()
    found = outcomes(report, site)
    assert {f"/services/{n}.html" for n in range(1, 11)} <= found["read"]
    assert {"/hours", "/latin1", "/files/noise.pdf", "/files/plot.docx", "/minutes"} <= found[
        "read"
    ]
    assert found["redirected"] == {"/old", "/loop-a", "/out", "/local"}
    assert found["refused"] == {"/private/secret.html", "/history.old"}
    assert found["skipped"] == {"/logo.png", "/unknown.bin"}
    assert found["gone"] == {"/missing"}
    reasons = {each.address.removeprefix(site.url): each.reason for each in report.of("failed")}
    assert set(reasons) == {"/loop-b", "/huge", "/slow", "/picture.html"}
    assert reasons["/loop-b"] == "it redirects in circles"
    assert reasons["/huge"] == "it is larger than 3 MB"
    assert reasons["/slow"] == "its server takes too long"
    # The traps end, and are named.
    assert sum(path.startswith("/calendar") for path in site.paths) <= BOUNDS.queries
    assert sum(path.startswith("/maze") for path in site.paths) <= BOUNDS.depth
    assert any(address.startswith(f"{site.url}/maze") for address in report.left)
    assert any(address.startswith(f"{site.url}/calendar") for address in report.left)
    # One address for each page, whatever the links say.
    assert len(site.paths) == len(set(site.paths))
    # The page that must not be listed is not followed either, nor a link that says so.
    assert "/trap" not in site.paths


async def test_what_failed_is_tried_again(site: TownSite, services: Services, load: Load) -> None:
    """Also where the page that links to it has not changed since."""
    site.listed = False
    site.broken = {"/services/9.html", "/files/noise.pdf"}
    await load()
    site.broken = set()
    report = await load()
    found = outcomes(report, site)
    assert found["read"] == {"/services/9.html", "/files/noise.pdf"}
    assert "/" in found["unchanged"]


async def test_bounds_are_said(site: TownSite, services: Services, load: Load) -> None:
    """A run that hits one says so, and removes nothing that it did not see."""
    await load()
    before = await services.store.sources("town")
    report = await load(prune=True, bounds=Bounds(pages=5))
    assert report.bounds_hit == ["5 addresses were visited, and there are more."]
    assert len(site.paths) < 15
    assert await services.store.sources("town") == before


async def test_a_path_is_a_site_of_its_own(site: TownSite, services: Services, load: Load) -> None:
    """Only what lies at and below it is read."""
    await load(f"{site.url}/news/1", f"{site.url}/services/")
    sources = {each.removeprefix(site.url) for each in await services.store.sources("town")}
    assert all(each.startswith(("/news/1", "/services/")) for each in sources)


async def test_a_redirect_to_a_private_address_is_not_followed(
    services: Services, tmp_path: Path
) -> None:
    """Nor is one connected to at first, whatever it is called."""
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "0.0.0.0"):
        site = Site.of(f"http://{host}:9/")
        report = await ingest_sites(
            [site], "town", services.store, chunk_chars=600, chunk_overlap=0, delay=0.0
        )
        [failed] = report.of("failed")
        # aiohttp itself takes numbers for no name of a host.
        assert "private network" in failed.reason or "InvalidUrl" in failed.reason, host
        assert report.failed


async def test_a_password_is_kept_to_its_own_site(
    site: TownSite, services: Services, load: Load
) -> None:
    """It is sent there, and stands in no source and no message."""
    site.broken = {"/services/4.html"}
    report = await load(site.url.replace("http://", "http://mayor:s3cret@"))
    assert all(each.headers["authorization"].startswith("Basic ") for each in site.asked)
    said = repr(report) + repr([each.metadata for each in await services.chroma.get("town")])
    assert "s3cret" not in said
    assert "mayor:" not in said


async def test_it_says_who_it_is_and_keeps_no_cookies(site: TownSite, load: Load) -> None:
    """Its name is the one that robots.txt may speak to, and what it forbids holds."""
    site.robots = "User-agent: orbit-server\nDisallow: /news/\nUser-agent: *\nDisallow: /\n"
    report = await load()
    assert all(each.headers["user-agent"] == "orbit-server" for each in site.asked)
    assert not any("cookie" in each.headers for each in site.asked)
    assert not any(path.startswith("/news/") for path in site.paths)
    assert len(outcomes(report, site)["refused"]) == 8
