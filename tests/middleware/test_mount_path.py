"""Where an application is mounted: scope in, path and root_path out."""

from ipaddress import ip_network
from urllib.parse import quote

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
    public: str | None = "/orbit",
    trusted: bool = True,
    kind: str = "http",
) -> tuple[str, str, bytes]:
    """Return ``root_path``, ``path`` and ``raw_path`` as the application below sees them."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    given = {**scope("GET", path, headers, kind=kind), "root_path": root_path}
    before = dict(given)
    layer = MountPathMiddleware(app, public_path=public, trusted_proxies=TRUSTED if trusted else ())
    await layer(given, None, None)  # type: ignore[arg-type]
    assert given == before, "a scope is copied before it is changed"
    return seen[0]["root_path"], seen[0]["path"], seen[0]["raw_path"]


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/chat", "", "/orbit/chat"),
        ("/orbit/chat", "", "/orbit/chat"),
        ("/orbit/chat", "/orbit", "/orbit/chat"),
        ("/chat", "/orbit", "/orbit/chat"),
        ("/orbital/chat", "", "/orbit/orbital/chat"),
        ("/orbit/orbit/chat", "", "/orbit/orbit/chat"),
        ("/host/chat", "/host", "/orbit/chat"),
        ("/orbit", "", "/orbit/"),
        ("/orbit/", "", "/orbit/"),
        ("/", "", "/orbit/"),
        ("/orbit/chat/", "", "/orbit/chat"),
        ("/chat//", "", "/orbit/chat//"),
        ("/orbit/a b", "", "/orbit/a b"),
    ],
)
async def test_public_path(path: str, root_path: str, expected: str) -> None:
    """Whether the proxy, or the host, has taken it off or not: it counts in whole segments."""
    root, new, raw = await located(path, root_path)
    assert (root, new) == ("/orbit", expected)
    assert raw in (expected.encode(), quote(expected).encode())
    assert await located(path, root_path, kind="websocket") == (root, new, raw)


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/chat", "", "/chat"),
        ("/chat/", "", "/chat"),
        ("/host/chat/", "/host", "/host/chat"),
        ("/host/chat/", "/host/", "/host/chat"),
        ("/chat/", "/host", "/host/chat"),
        ("/host", "/host", "/host/"),
        ("/host/", "/host", "/host/"),
        ("/hostile/", "/host", "/host/hostile"),
        ("/chat//", "", "/chat//"),
        ("//", "", "//"),
        ("/", "", "/"),
    ],
)
async def test_one_slash_too_many(path: str, root_path: str, expected: str) -> None:
    """It goes, below where the host has mounted us; the root itself keeps its own."""
    root, new, _ = await located(path, root_path, public=None)
    assert (root, new) == (root_path.rstrip("/"), expected)


@pytest.mark.parametrize(
    ("values", "path", "root_path", "expected"),
    [
        (["/docs"], "/docs/chat", "", ("/docs", "/docs/chat")),
        (["/docs"], "/chat", "", ("/docs", "/docs/chat")),
        (["/docs/"], "/docs/chat", "", ("/docs", "/docs/chat")),
        (["/a/b"], "/a/b/chat", "", ("/a/b", "/a/b/chat")),
        (["/docs"], "/host/chat", "/host", ("/docs/host", "/docs/host/chat")),
        (["/docs"], "/docs/host/chat", "/docs/host", ("/docs/host", "/docs/host/chat")),
        (["/docs", "/docs"], "/docs/chat", "", ("", "/docs/chat")),
        (["docs"], "/docs/chat", "", ("", "/docs/chat")),
        (["/docs, /docs"], "/docs/chat", "", ("", "/docs/chat")),
        (["//docs"], "/chat", "", ("", "/chat")),
        (["/"], "/docs/chat", "", ("", "/docs/chat")),
        ([""], "/docs/chat", "", ("", "/docs/chat")),
        (["/" + "x" * 300], "/chat", "", ("", "/chat")),
    ],
)
async def test_prefix_that_a_proxy_names(
    values: list[str], path: str, root_path: str, expected: tuple[str, str]
) -> None:
    """One plain path, from a proxy that is trusted; anything else is as good as none."""
    headers = [(FORWARDED, value) for value in values]
    assert (await located(path, root_path, headers, public=None))[:2] == expected
    untrusted = await located(path, root_path, headers, public=None, trusted=False)
    assert untrusted[:2] == (root_path, path)
    assert (await located(path, root_path, headers))[0] == "/orbit", "the configuration wins"


async def test_routes_match() -> None:
    """Also behind the mount of a host and of our own, and without any redirect."""
    routes = [
        Route("/", endpoint=lambda request: PlainTextResponse("page")),
        Route("/chat", endpoint=lambda request: PlainTextResponse("chat")),
        Mount("/web", routes=[Route("/logo", endpoint=lambda request: PlainTextResponse("logo"))]),
    ]
    guest = MountPathMiddleware(Router(routes, redirect_slashes=False), public_path="/a/orbit")
    host = Router([Mount("/orbit", guest)])
    for app, before in ((host, "/orbit"), (guest, ""), (guest, "/a/orbit")):
        for path, body in {
            "/": b"page",
            "/chat": b"chat",
            "/chat/": b"chat",
            "/web/logo": b"logo",
            "/web/logo/": b"logo",
        }.items():
            assert (await call(app, "GET", before + path)).body == body, before + path
        for path in ("/chat//", "/chats"):
            assert (await call(app, "GET", before + path)).status == 404


async def test_lifespan_passes() -> None:
    """What is no request is none of its business."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    given = {"type": "lifespan"}
    await MountPathMiddleware(app, public_path="/orbit")(given, None, None)  # type: ignore[arg-type]
    assert seen == [given]
