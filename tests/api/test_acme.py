"""What plain HTTP answers: a certificate authority, and everybody else with the way to HTTPS."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

import orjson
import pytest

from orbit_server.api.https_redirect import redirect_app
from orbit_server.app import create_app
from orbit_server.server.http_protocol import LimitedProtocol

from ..support import asgi
from ..support.server import lexical, running, serving

pytestmark = pytest.mark.anyio

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
PROOF = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI".encode()
CHALLENGES = "/.well-known/acme-challenge"
NOT_FOUND = {"detail": "Not found.", "code": "not_found"}


@dataclass(frozen=True)
class Reply:
    """A response, with its header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(url: str, target: str | bytes, *head: str | bytes, method: str = "GET") -> Reply:
    """Send a request as it is, with nothing made proper, and read the response."""

    def exchange() -> Reply:
        place = urlsplit(url)
        lines = [_bytes(method), b" ", _bytes(target), b" HTTP/1.1\r\nConnection: close\r\n"]
        lines += [_bytes(line) + b"\r\n" for line in head]
        with create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(b"".join([*lines, b"\r\n"]))
            response = HTTPResponse(connection, method=method)
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, response.read())

    return await asyncio.to_thread(exchange)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@pytest.fixture
def webroot(tmp_path: Path) -> Path:
    """A folder in which certbot has left a proof, with a secret beside it."""
    root = tmp_path / "webroot"
    folder = root / CHALLENGES[1:]
    folder.mkdir(parents=True)
    (folder / TOKEN).write_bytes(PROOF)
    (tmp_path / "secret").write_text("secret")
    (root / "secret").write_text("secret")
    return root


@asynccontextmanager
async def redirecting(folder: Path, **overrides: object) -> AsyncIterator[str]:
    """Run what stands on the plain port."""
    app = redirect_app(lexical(folder, **overrides))
    async with serving(app, lifespan="on", http=LimitedProtocol) as url:
        yield url


# -- proofs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["server", "redirect"])
async def test_proofs(tmp_path: Path, webroot: Path, where: str) -> None:
    """A proof is shown to everybody, before HTTPS is on and after; its head alone as well."""
    config = lexical(tmp_path, general__acme_dir=str(webroot))

    async def check(url: str) -> None:
        path = f"{CHALLENGES}/{TOKEN}"
        reply = await ask(url, path, "Host: localhost")
        assert (reply.status, reply.body) == (200, PROOF)
        assert reply.headers["content-type"] == "application/octet-stream"
        head = await ask(url, path, "Host: localhost", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(PROOF))
        missing = await ask(url, f"{path}x", "Host: localhost")
        assert (missing.status, orjson.loads(missing.body)) == (404, NOT_FOUND)
        assert (await ask(url, path, "Host: localhost", method="POST")).status == 405

    if where == "server":
        async with running(config) as server:
            await check(server.url)
    else:
        async with redirecting(tmp_path, general__acme_dir=str(webroot)) as url:
            await check(url)


async def test_only_where_it_is_wanted(tmp_path: Path, webroot: Path) -> None:
    """Without ``general.acme_dir`` there is no such route, whatever folders there are."""
    path, host = f"{CHALLENGES}/{TOKEN}", [("Host", "chat.example")]
    for directory, status in ((None, 404), (str(webroot), 200)):
        app = create_app(lexical(tmp_path, general__acme_dir=directory))
        assert (await asgi.call(app, path=path, headers=host)).status == status
    reply = await asgi.call(redirect_app(lexical(tmp_path)), path=path, headers=host)
    assert reply.headers["location"] == f"https://chat.example:3443{path}"


NO_PROOFS = [
    f"{CHALLENGES}/",
    CHALLENGES,
    f"{CHALLENGES}/.",
    f"{CHALLENGES}/..",
    f"{CHALLENGES}/../secret",
    f"{CHALLENGES}/../../secret",
    f"{CHALLENGES}/..%2f..%2fsecret",
    f"{CHALLENGES}/..%5c..%5csecret",
    f"{CHALLENGES}/%2e%2e/%2e%2e/secret",
    f"{CHALLENGES}//{TOKEN}",
    f"{CHALLENGES}/%2F{TOKEN}",
    f"{CHALLENGES}/./{TOKEN}",
    f"{CHALLENGES}/{TOKEN}/",
    f"{CHALLENGES}/{TOKEN}%00",
    f"{CHALLENGES}/{TOKEN}%0a",
    f"{CHALLENGES}/{TOKEN}.",
    f"{CHALLENGES}/{'x' * 256}",
    f"{CHALLENGES}/{'x' * 5000}",
    f"{CHALLENGES}/%C3%A9",
    f"{CHALLENGES}/hidden.txt",
    f"{CHALLENGES}/folder",
    f"{CHALLENGES}/link",
    f"{CHALLENGES}/link_within",
    f"{CHALLENGES}/pipe",
    f"{CHALLENGES}/large",
]


async def test_nothing_but_proofs(tmp_path: Path, webroot: Path) -> None:
    """What is no small file of that name in that folder is a 404, or a redirect like any other."""
    folder = webroot / CHALLENGES[1:]
    (folder / "hidden.txt").write_text("secret")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "link_within").symlink_to(TOKEN)
    (folder / "large").write_bytes(b"x" * 4097)
    os.mkfifo(folder / "pipe")
    async with redirecting(tmp_path, general__acme_dir=str(webroot)) as url:
        for target in NO_PROOFS:
            reply = await ask(url, target, "Host: localhost")
            assert reply.status in (404, 308), target
            if reply.status == 404:
                assert orjson.loads(reply.body) == NOT_FOUND, target
            else:
                assert reply.headers["location"] == f"https://localhost:3443{target}"
                assert reply.body == b""


def link_folder(webroot: Path) -> None:
    (webroot / CHALLENGES[1:]).rename(webroot / "moved")
    (webroot / CHALLENGES[1:]).symlink_to(webroot / "moved")


def link_well_known(webroot: Path) -> None:
    (webroot / ".well-known").rename(webroot / "moved")
    (webroot / ".well-known").symlink_to("moved")


def make_it_a_file(webroot: Path) -> None:
    (webroot / ".well-known").rename(webroot / "moved")
    (webroot / ".well-known").write_text("secret")


def remove(webroot: Path) -> None:
    webroot.rename(webroot.with_name("moved"))


@pytest.mark.parametrize("change", [link_folder, link_well_known, make_it_a_file, remove])
async def test_folders_are_folders(
    tmp_path: Path, webroot: Path, change: Callable[[Path], None]
) -> None:
    """Below the webroot no link is followed; a webroot that is gone is a 404."""
    change(webroot)
    app = redirect_app(lexical(tmp_path, general__acme_dir=str(webroot)))
    reply = await asgi.call(app, path=f"{CHALLENGES}/{TOKEN}", headers=[("Host", "localhost")])
    assert (reply.status, reply.json()) == (404, NOT_FOUND)


async def test_the_webroot_may_be_a_link(tmp_path: Path, webroot: Path) -> None:
    """The folder that the configuration names is where it says, by whichever way."""
    link = tmp_path / "link"
    link.symlink_to(webroot)
    app = redirect_app(lexical(tmp_path, general__acme_dir=str(link)))
    reply = await asgi.call(app, path=f"{CHALLENGES}/{TOKEN}", headers=[("Host", "localhost")])
    assert (reply.status, reply.body) == (200, PROOF)


# -- the way to HTTPS -------------------------------------------------------------------------


HOSTS = {
    3443: {
        "chat.example": "https://chat.example:3443/",
        "chat.example:3000": "https://chat.example:3443/",
        "192.0.2.1:3000": "https://192.0.2.1:3443/",
        "[2001:db8::1]:3000": "https://[2001:db8::1]:3443/",
        "[::ffff:192.0.2.1]": "https://[::ffff:192.0.2.1]:3443/",
    },
    443: {
        "chat.example:80": "https://chat.example/",
        "chat.example:": "https://chat.example/",
        "CHAT.example.": "https://CHAT.example./",
        "xn--bcher-kva.example": "https://xn--bcher-kva.example/",
        "under_score.example": "https://under_score.example/",
        "[2001:db8::1]": "https://[2001:db8::1]/",
    },
}


async def test_hosts(tmp_path: Path) -> None:
    """The host stays, in its brackets if it has any; the port is the one of HTTPS."""
    for port, hosts in HOSTS.items():
        async with redirecting(tmp_path, general__https__port=port) as url:
            for host, expected in hosts.items():
                reply = await ask(url, "/", f"Host: {host}")
                assert (reply.status, reply.body) == (308, b"")
                assert reply.headers["location"] == expected


NO_HOSTS: list[tuple[str | bytes, ...]] = [
    (),
    ("Host:",),
    ("Host: ",),
    ("Host: a.example", "Host: b.example"),
    ("Host: a.example, b.example",),
    ("Host: a.example/",),
    ("Host: a.example/@b.example",),
    ("Host: user@b.example",),
    ("Host: user:password@b.example",),
    ("Host: a.example\\b.example",),
    ("Host: a.example?b",),
    ("Host: a.example#b",),
    ("Host: a b.example",),
    ("Host: a.example%0d%0aX: 1",),
    ("Host: <b>",),
    ("Host: bücher.example",),
    (b"Host: b\xfccher.example",),
    ("Host: a.example:port",),
    ("Host: a.example:1:2",),
    ("Host: a.example:123456",),
    ("Host: 2001:db8::1",),
    ("Host: [2001:db8::1",),
    ("Host: 2001:db8::1]",),
    ("Host: [::1]b.example",),
    ("Host: [a.example/]",),
    ("Host: []",),
    ("Host: ..",),
    ("Host: " + "a" * 254,),
]


async def test_hosts_that_are_none(tmp_path: Path) -> None:
    """Without one proper host there is nothing to lead to."""
    async with redirecting(tmp_path) as url:
        for head in NO_HOSTS:
            reply = await ask(url, "/", *head)
            assert (reply.status, reply.headers.get("location")) == (400, None), head
            assert orjson.loads(reply.body)["code"] == "invalid_request"


TARGETS = [
    "/",
    "/chat",
    "/health/live",
    "/chat?a=1&b=%26",
    "/a%2Fb/%C3%A9?q=%C3%A9%20+",
    "/%2e%2e/..;/a",
    "/%0d%0aSet-Cookie:%20a=1",
    "//evil.example/a",
    "///evil.example",
    "/\\evil.example",
    "/@evil.example",
    "/%5cevil.example",
    "/http://evil.example/",
    "/a?next=//evil.example\\",
    "/\"<script>alert('')</script>",
    "/.well-known/acme-challenge/token",
]


async def test_targets(tmp_path: Path) -> None:
    """Path and query are passed on byte by byte, behind the host that was asked."""
    async with redirecting(tmp_path) as url:
        for target in TARGETS:
            reply = await ask(url, target, "Host: chat.example")
            location = reply.headers["location"]
            assert (reply.status, location) == (308, f"https://chat.example:3443{target}")
            assert urlsplit(location).netloc == "chat.example:3443"


NO_TARGETS = ["*", "@evil.example", ".evil.example/", ":80@evil.example/", "evil.example:443", "?a"]


async def test_targets_that_are_none(tmp_path: Path) -> None:
    """What does not begin with a slash would become a part of the host: it is refused."""
    app = redirect_app(lexical(tmp_path))
    async with redirecting(tmp_path) as url:
        for method in ("GET", "OPTIONS", "CONNECT"):
            for target in NO_TARGETS:
                reply = await ask(url, target, "Host: chat.example", method=method)
                assert (reply.status, reply.headers.get("location")) == (400, None), target
                scope = asgi.scope(method, target, [("Host", "chat.example")])
                assert (await asgi.Client(scope).run(app)).status == 400, target


@pytest.mark.parametrize("raw", [b"/\r\nX: 1", b"/a b", b"/\0", b"/\t", b"/\x7f"])
async def test_control_characters(tmp_path: Path, raw: bytes) -> None:
    """A server that let them through would not make this one write them into a header."""
    scope = asgi.scope(headers=[("Host", "chat.example")])
    for name in ("raw_path", "query_string"):
        result = await asgi.Client({**scope, name: raw}).run(redirect_app(lexical(tmp_path)))
        assert result.status == 400


async def test_methods(tmp_path: Path) -> None:
    """308 keeps the method, so that every one is sent on."""
    async with redirecting(tmp_path) as url:
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            reply = await ask(url, "/chat", "Host: chat.example", method=method)
            assert reply.status == 308
            assert reply.headers["location"] == "https://chat.example:3443/chat"


async def test_websockets_are_closed(tmp_path: Path) -> None:
    """There is nothing to talk to here."""
    app = redirect_app(lexical(tmp_path))
    result = await asgi.call(app, kind="websocket", headers=[("Host", "chat.example")])
    assert [message["type"] for message in result.messages] == ["websocket.close"]
