"""Where an application is mounted: scope in, path and root_path out."""

from ipaddress import ip_network

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from middleware.mount_path import MountPathMiddleware
from tests.support.asgi import Fields, call, scope

pytestmark = pytest.mark.anyio

TRUSTED = [ip_network("192.0.2.0/24")]  # where the client of tests.support.asgi comes from
FORWARDED = "X-Forwarded-Prefix"


async def located(
    path: str,
    root_path: str = "",
    headers: Fields = (),
    *,
    prefix: str | None = "/orbit",
    trusted: bool = True,
    kind: str = "http",
) -> tuple[str, str, bytes]:
    """Return ``root_path``, ``path`` and ``raw_path`` as the application below sees them."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    given = {**scope("GET", path, headers, kind=kind), "root_path": root_path}
    before = dict(given)
    layer = MountPathMiddleware(app, prefix=prefix, trusted_proxies=TRUSTED if trusted else ())
    await layer(given, None, None)  # type: ignore[arg-type]
    assert given == before, "a scope is copied before it is changed"
    return seen[0]["root_path"], seen[0]["path"], seen[0]["raw_path"]


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/chat", "", ("", "/chat")),
        ("/orbit/chat", "", ("/orbit", "/orbit/chat")),
        ("/orbit", "", ("/orbit", "/orbit")),
        ("/orbital/chat", "", ("", "/orbital/chat")),
        ("/orbit/orbit/chat", "", ("/orbit", "/orbit/orbit/chat")),
        ("/host/chat", "/host", ("/host", "/host/chat")),
        ("/host/orbit/chat", "/host", ("/host/orbit", "/host/orbit/chat")),
        ("/orbit/chat", "/host", ("/orbit", "/orbit/chat")),
        ("/orbit/chat/", "", ("/orbit", "/orbit/chat")),
        ("/orbit/", "", ("/orbit", "/orbit/")),
        ("/chat/", "", ("", "/chat")),
        ("/host/chat/", "/host", ("/host", "/host/chat")),
        ("/host/", "/host", ("/host", "/host/")),
        ("/chat/", "/host", ("/host", "/chat")),
        ("/chat//", "", ("", "/chat//")),
        ("//", "", ("", "//")),
        ("/", "", ("", "/")),
    ],
)
async def test_prefix_and_slash(path: str, root_path: str, expected: tuple[str, str]) -> None:
    """A prefix counts in whole segments, below where the host has mounted us; one slash goes."""
    root, new, raw = await located(path, root_path)
    assert (root, new) == expected
    assert raw == new.encode()
    assert (await located(path, root_path, kind="websocket"))[:2] == expected


@pytest.mark.parametrize(
    ("values", "path", "root"),
    [
        (["/docs"], "/docs/chat", "/docs"),
        (["/docs/"], "/docs/chat", "/docs"),
        (["/a/b"], "/a/b/chat", "/a/b"),
        (["/docs"], "/chat", ""),
        (["/docs"], "/orbit/chat", "/orbit"),
        (["/docs", "/docs"], "/docs/chat", ""),
        (["docs"], "/docs/chat", ""),
        (["/docs, /docs"], "/docs/chat", ""),
        (["//docs"], "//docs/chat", ""),
        (["/"], "/docs/chat", ""),
        ([""], "/docs/chat", ""),
        (["/" + "x" * 300], "/" + "x" * 300 + "/chat", ""),
    ],
)
async def test_prefix_that_a_proxy_names(values: list[str], path: str, root: str) -> None:
    """One plain path, from a proxy that is trusted; anything else is as good as none."""
    headers = [(FORWARDED, value) for value in values]
    assert (await located(path, headers=headers))[0] == root
    expected = root if root == "/orbit" else ""
    assert (await located(path, headers=headers, trusted=False))[0] == expected


async def test_without_a_prefix() -> None:
    """Nothing is assumed."""
    assert await located("/orbit/chat", prefix=None) == ("", "/orbit/chat", b"/orbit/chat")


async def test_routes_match() -> None:
    """Also behind the mount of a host, and without any redirect."""
    routes = [Route("/chat", endpoint=lambda request: PlainTextResponse("chat"))]
    inner = Router(routes, redirect_slashes=False)
    guest = MountPathMiddleware(inner, prefix="/orbit")
    host = Router([Mount("/host", guest)])
    for path in ("/host/chat", "/host/chat/", "/host/orbit/chat", "/host/orbit/chat/"):
        assert (await call(host, "GET", path)).body == b"chat"
    assert (await call(host, "GET", "/host/orbital/chat")).status == 404
    assert (await call(host, "GET", "/host/chat//")).status == 404


async def test_lifespan_passes() -> None:
    """What is no request is none of its business."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    given = {"type": "lifespan"}
    await MountPathMiddleware(app, prefix="/orbit")(given, None, None)  # type: ignore[arg-type]
    assert seen == [given]
