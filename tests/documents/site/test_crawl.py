"""What a walk does with what an earlier one has left, and with what headers say."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from orbit_server.documents.reading import Reading
from orbit_server.documents.site.address import Site
from orbit_server.documents.site.crawl import Crawl, Known
from orbit_server.documents.site.fetch import Fetched, Fetcher
from orbit_server.documents.site.frontier import Bounds
from orbit_server.documents.site.network import any_socket

from ...support.server import serving

pytestmark = [pytest.mark.anyio, pytest.mark.process]
LINKS = (
    '<p>A page.</p><a href="/a/quiet">quiet</a> <a href="/a/shy">shy</a>'
    ' <a rel="nofollow" href="/a/never">never</a>'
)


class Pages:
    """A few pages below /a/, of which the first has not changed when asked with its ETag."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        if path == "/a/" and request.headers.get("if-none-match") == '"1"':
            return Response(status_code=304)
        if path == "/a/":
            return HTMLResponse(LINKS, headers={"ETag": '"1"'})
        said = {"/a/quiet": "max-snippet:0, noindex", "/a/shy": "nofollow"}
        if path in said:
            content = f'<p>The page at {path}.</p><a href="{path}/below">below</a>'
            return HTMLResponse(content, headers={"X-Robots-Tag": said[path]})
        return Response("not found", 404)


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages()
    async with serving(Starlette(routes=[Route("/{path:path}", pages.answer)])) as pages.url:
        yield pages


async def walked(
    pages: Pages, folder: Path, known: dict[str, Known], kind: type[Fetcher] = Fetcher
) -> dict[str, str]:
    """Return what became of each path."""
    async with kind(folder, delay=0.0, connect=any_socket) as fetcher, Reading() as reading:
        crawl = Crawl(
            [Site.of(f"{pages.url}/a/")],
            fetcher,
            reading,
            known=known,
            bounds=Bounds(),
            options={"chunk_chars": 600, "chunk_overlap": 0},
        )
        return {each.address.removeprefix(pages.url): each.outcome async for each in crawl.visits()}


async def test_what_headers_and_links_say(pages: Pages, tmp_path: Path) -> None:
    """``noindex`` keeps a page out, ``nofollow`` its links; so do links themselves."""
    found = await walked(pages, tmp_path, {})
    assert found == {"/a/": "read", "/a/quiet": "noindex", "/a/shy": "read"}
    assert not {"/a/never", "/a/shy/below"} & set(pages.asked)


async def test_links_of_an_earlier_run_to_other_sites(pages: Pages, tmp_path: Path) -> None:
    """They are not followed when this run walks through fewer sites."""
    links = ["http://other.example/", f"{pages.url}/b/", f"{pages.url}/a/shy"]
    known = {f"{pages.url}/a/": Known({"etag": '"1"'}, links)}
    found = await walked(pages, tmp_path, known)
    assert found == {"/a/": "unchanged", "/a/shy": "read"}
    assert "/b/" not in pages.asked


async def test_a_page_that_nobody_foresaw_does_not_end_the_walk(
    pages: Pages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a failed one, with the cause in the log."""

    class Surprised(Fetcher):
        async def get(self, address: str, **options: Any) -> Fetched:
            if address.endswith("/quiet"):
                raise ZeroDivisionError
            return await super().get(address, **options)

    found = await walked(pages, tmp_path, {}, Surprised)
    assert found == {"/a/": "read", "/a/quiet": "failed", "/a/shy": "read"}
    assert "ZeroDivisionError" in caplog.text
