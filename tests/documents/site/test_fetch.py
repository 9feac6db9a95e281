"""How one address is fetched: what is waited for, what is believed, and who gets a password."""

import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from orbit_server.documents.site.address import Credentials, Site
from orbit_server.documents.site.fetch import Fetcher, NotFetched
from orbit_server.documents.site.network import any_socket
from orbit_server.documents.site.robots import Robots

from ...support.server import serving

pytestmark = pytest.mark.anyio


class Host:
    """A server that answers with the ``answers`` in turn, of which the last one stays."""

    def __init__(self) -> None:
        self.answers: list[Response] = [PlainTextResponse("hello")]
        self.asked: list[Request] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    async with serving(Starlette(routes=[Route("/{path:path}", host.answer)])) as host.url:
        yield host


@pytest.fixture
async def other() -> AsyncIterator[Host]:
    host = Host()
    async with serving(Starlette(routes=[Route("/{path:path}", host.answer)])) as host.url:
        yield host


def fetching(folder: Path, *, delay: float = 0.0, **options: Any) -> Fetcher:
    return Fetcher(folder, delay=delay, connect=any_socket, **options)


async def test_a_busy_server_is_asked_again(host: Host, tmp_path: Path) -> None:
    """After the time that it wants; three times in all, and not at all after a longer time."""
    busy = PlainTextResponse("busy", 503, headers={"Retry-After": "0"})
    async with fetching(tmp_path) as fetcher:
        host.answers = [busy, busy, PlainTextResponse("hello")]
        assert (await fetcher.get(f"{host.url}/")).status == 200
        assert len(host.asked) == 3
        host.answers = [busy]
        assert (await fetcher.get(f"{host.url}/")).status == 503
        assert len(host.asked) == 6
        for long in ("61", "9" * 400):
            host.answers = [PlainTextResponse("busy", 429, headers={"Retry-After": long})]
            assert (await fetcher.get(f"{host.url}/")).status == 429
        assert len(host.asked) == 8


async def test_it_waits_as_robots_txt_wants(host: Host, tmp_path: Path) -> None:
    """And never less than it was told to."""
    async with fetching(tmp_path, delay=0.2) as fetcher:
        for wanted, least in ((0.4, 0.4), (0.0, 0.2)):
            fetcher.delays[host.url] = wanted
            begin = time.monotonic()
            for _ in range(3):
                await fetcher.get(f"{host.url}/")
            assert time.monotonic() - begin >= 2 * least - 0.01


async def test_a_password_is_for_its_own_origin(host: Host, other: Host, tmp_path: Path) -> None:
    """Not for where it redirects to: another port is another server."""
    host.answers = [RedirectResponse(f"{other.url}/next")]
    mine = Credentials(host.url, "mayor", "s3cret")
    async with fetching(tmp_path, credentials=(mine,)) as fetcher:
        assert (await fetcher.follow(f"{host.url}/robots.txt")).status == 200
    assert "authorization" in host.asked[0].headers
    assert [each for each in other.asked if "authorization" in each.headers] == []
    assert len(other.asked) == 1


async def test_what_is_too_large_is_left(host: Host, tmp_path: Path) -> None:
    """Also packed by the transfer: what counts is what it unpacks to."""
    bomb = gzip.compress(b" " * 20_000_000)
    host.answers = [Response(bomb, headers={"Content-Encoding": "gzip"}, media_type="text/html")]
    async with fetching(tmp_path, limit=1_000_000) as fetcher:
        with pytest.raises(NotFetched, match="larger than 1 MB"):
            await fetcher.get(f"{host.url}/")
    async with fetching(tmp_path, budget=1_000_000) as fetcher:
        with pytest.raises(NotFetched, match="all pages together"):
            await fetcher.get(f"{host.url}/")
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nobody else runs here


@pytest.mark.parametrize(
    ("typed", "target", "trusted"),
    [
        ("http://u:p@town.example/", "https://town.example/", "https://town.example"),
        ("https://u:p@town.example/", "https://www.town.example/", None),
        ("http://u:p@town.example/", "http://town.example:8080/", "moved away"),
        ("https://u:p@town.example/", "http://town.example/", "moved away"),
        ("https://u:p@town.example/", "https://town.example.evil.example/", "moved away"),
    ],
)
def test_whom_a_password_follows(typed: str, target: str, trusted: str | None) -> None:
    """To https of the same host and nowhere else."""
    moved = Site.of(typed).moved(target)
    if moved is None:
        assert trusted == "moved away"
    else:
        assert (moved.credentials.origin if moved.credentials else None) == trusted


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nCrawl-delay: 2.5", 2.5),
        ("User-agent: *\nCrawl-delay: 9\nUser-agent: orbit-server\nCrawl-delay: 1", 1.0),
        ("User-agent: *\nCrawl-delay: 86400", 60.0),
        *((f"User-agent: *\nCrawl-delay: {wrong}", None) for wrong in ("nan", "-5", "inf", "ten")),
        ("", None),
    ],
)
def test_the_delay_of_a_robots_txt(text: str, delay: float | None) -> None:
    """At most a minute; what is no number of seconds counts for nothing."""
    assert Robots(text).delay == delay


def test_no_pattern_of_a_robots_txt_takes_long() -> None:
    """As a regular expression it would take longer than the universe has."""
    robots = Robots("User-agent: *\nDisallow: /" + "*a" * 40 + "b$")
    assert robots.allows("https://town.example/" + "a" * 1900)
    assert not robots.allows("https://town.example/" + "a" * 50 + "b")
