"""A guest in somebody else's application: mounted, composed, or without its lifespan."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from orbit_server import create_app
from orbit_server.documents.model import Chunk
from tests.support.asgi import Result, call
from tests.support.server import events, lexical, serving, text

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "When is the library open on Saturdays?"
ANSWER = "The library is open from nine to one on Saturdays."


async def prepare(orbit: Starlette) -> dict[str, str]:
    """Store one answer with the open services of ``orbit``; the header with a key for it."""
    services = orbit.state.services
    metadata: dict[str, Any] = {"source": "qa", "question": QUESTION, "answer": ANSWER}
    await services.store.put("town", [Chunk.of(QUESTION, ANSWER, {**metadata, "position": 0})], [])
    _, secret = await services.keys.create("town", "test")
    return {"X-API-Key": secret}


async def ask(app: ASGIApp, headers: dict[str, str], path: str = "/chat") -> Result:
    """Ask for a whole answer, in process."""
    fields = [("Content-Type", "application/json"), *headers.items()]
    body = json.dumps({"message": QUESTION, "stream": False}).encode()
    return await call(app, "POST", path, fields, [body])


async def greet(request: Request) -> Response:
    return PlainTextResponse("the host")


@asynccontextmanager
async def lifespan_of_the_guest(host: Starlette) -> AsyncIterator[None]:
    """Open the guest with the host, as the documentation tells hosts to do."""
    orbit = host.state.orbit
    async with orbit.router.lifespan_context(orbit):
        yield


def starlette_host(orbit: Starlette) -> Starlette:
    host = Starlette(routes=[Route("/", greet)], lifespan=lifespan_of_the_guest)
    host.mount("/orbit", orbit)
    return host


def fastapi_host(orbit: Starlette) -> Starlette:
    fastapi = pytest.importorskip("fastapi", reason="needs fastapi")
    host: Starlette = fastapi.FastAPI(lifespan=lifespan_of_the_guest)
    host.add_route("/", greet)
    host.mount("/orbit", orbit)
    return host


@pytest.mark.parametrize("make_host", [starlette_host, fastapi_host])
async def test_mounted_with_its_lifespan(make_host: Any, tmp_path: Path) -> None:
    """Under a host that opens it, everything works below the prefix, on a real server."""
    orbit = create_app(lexical(tmp_path))
    host = make_host(orbit)
    host.state.orbit = orbit
    async with serving(host, lifespan="on") as url, aiohttp.ClientSession(url) as client:
        key = await prepare(orbit)
        async with client.get("/") as reply:
            assert await reply.text() == "the host"
        async with client.get("/orbit/health") as reply:
            assert (reply.status, (await reply.json())["status"]) == (200, "ok")
        async with client.post("/orbit/chat", json={"message": QUESTION}) as reply:
            assert reply.status == 401
            assert (await reply.json())["code"] == "invalid_api_key"
        async with client.post("/orbit/chat", json={"message": QUESTION}, headers=key) as reply:
            assert reply.content_type == "text/event-stream"
            stream = events(await reply.read())
            assert ANSWER in text(stream)
            assert stream[-1]["done"] and stream[-1]["sources"]
        async with client.post(
            "/orbit/chat", json={"message": QUESTION, "stream": False}, headers=key
        ) as reply:
            assert ANSWER in (await reply.json())["response"]
        async with client.post("/chat", json={"message": QUESTION}, headers=key) as reply:
            assert reply.status == 404
    assert not orbit.state.services.opened


async def test_a_host_that_runs_no_lifespan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end user is told that the service does not run, the operator what to do."""
    host = Starlette(routes=[Mount("/orbit", create_app(lexical(tmp_path)))])
    with caplog.at_level(logging.ERROR):
        reply = await ask(host, {"X-API-Key": "api_" + "x" * 32}, "/orbit/chat")
    assert reply.status == 503
    assert reply.json()["code"] == "not_started"
    assert "lifespan" not in reply.json()["detail"]
    assert "orbit.router.lifespan_context(orbit)" in caplog.text
    health = await call(host, "GET", "/orbit/health")
    assert (health.status, health.json()["status"]) == (200, "error")


async def test_a_host_that_runs_no_lifespan_and_its_admin(tmp_path: Path) -> None:
    """Administration is not let in, right token or not, before the services are open."""
    host = Starlette(routes=[Mount("/orbit", create_app(lexical(tmp_path)))])
    for token in ("test-admin-token-0123456789", "wrong"):
        headers = [("Authorization", f"Bearer {token}")]
        reply = await call(host, "GET", "/orbit/admin/api-keys", headers)
        assert (reply.status, reply.json()["code"]) == (503, "not_started")


async def test_opened_twice(tmp_path: Path) -> None:
    """After closing, the same application can be opened again and finds what it stored."""
    orbit = create_app(lexical(tmp_path))
    async with orbit.router.lifespan_context(orbit):
        key = await prepare(orbit)
        assert ANSWER in (await ask(orbit, key)).json()["response"]
    assert (await ask(orbit, key)).json()["code"] == "not_started"
    async with orbit.router.lifespan_context(orbit):
        assert ANSWER in (await ask(orbit, key)).json()["response"]
    assert (await ask(orbit, key)).json()["code"] == "not_started"


async def test_the_hosts_state_does_not_disturb(tmp_path: Path) -> None:
    """A host's lifespan may yield a state of its own: it opens no door, and stays as it was."""

    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with orbit.router.lifespan_context(orbit):
            yield {"client": "the host's", "caller": "the host's"}

    async def tell_client(request: Request) -> Response:
        return PlainTextResponse(request.state.client)

    orbit = create_app(lexical(tmp_path))
    host = Starlette(routes=[Route("/", tell_client), Mount("/orbit", orbit)], lifespan=lifespan)
    async with serving(host, lifespan="on") as url, aiohttp.ClientSession(url) as client:
        key = await prepare(orbit)
        question = {"message": QUESTION, "stream": False}
        async with client.post("/orbit/chat", json=question) as reply:
            assert reply.status == 401
        async with client.post("/orbit/chat", json=question, headers=key) as reply:
            assert ANSWER in (await reply.json())["response"]
        async with client.get("/") as reply:
            assert await reply.text() == "the host's"


async def test_behind_a_proxy_below_a_path(tmp_path: Path) -> None:
    """Taken off, kept or named: routes are found, and so are the parts of the page."""
    named = create_app(lexical(tmp_path, general__root_path="/orbit"))
    trusting = create_app(lexical(tmp_path, general__trusted_proxies=["192.0.2.0/24"]))
    forwarded = [("X-Forwarded-Prefix", "/orbit")]
    for app, headers in ((named, []), (trusting, forwarded)):
        for before in ("", "/orbit"):
            health = await call(app, "GET", f"{before}/health/live", headers)
            page = await call(app, "GET", f"{before}/", headers)
            assert (health.status, page.status) == (200, 200)
            part = re.search(r'href="/orbit(/web/[^"]+\.css)"', page.body.decode())
            assert part, page.body
            style = await call(app, "GET", before + part[1], headers)
            assert (style.status, style.headers["content-type"][:8]) == (200, "text/css")
    assert b'href="/web/' in (await call(trusting, "GET", "/")).body


@pytest.mark.parametrize("origin", ["https://both.example", "https://guest.example"])
async def test_cors_of_host_and_guest(origin: str, tmp_path: Path) -> None:
    """The host answers preflights for both, as documented, and no header comes twice."""
    guest_origins = ["https://both.example", "https://guest.example"]
    orbit = create_app(lexical(tmp_path, web__cors_origins=guest_origins))
    host = CORSMiddleware(
        Starlette(routes=[Mount("/orbit", orbit)]),
        allow_origins=["https://both.example"],
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
        expose_headers=["X-Request-ID"],
    )
    asks = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,x-api-key"),
    ]
    allowed = origin == "https://both.example"
    async with orbit.router.lifespan_context(orbit):
        key = await prepare(orbit)
        preflight = await call(host, "OPTIONS", "/orbit/chat", asks)
        assert preflight.status == (200 if allowed else 400)
        reply = await ask(host, {**key, "Origin": origin}, "/orbit/chat")
    assert reply.status == 200
    assert reply.headers.getlist("Access-Control-Allow-Origin") == [origin]
    assert reply.headers.getlist("Access-Control-Expose-Headers") == ["X-Request-ID"]


HOST = """
import asyncio
import json
from pathlib import Path

import middleware
from middleware.api_key import ApiKeyMiddleware

from starlette.applications import Starlette
from starlette.routing import Mount

from orbit_server import create_app
from tests.support.asgi import call
from tests.support.server import lexical


async def main():
    orbit = create_app(lexical(Path.cwd()))
    host = Starlette(routes=[Mount("/orbit", orbit)])
    async with orbit.router.lifespan_context(orbit):
        health = await call(host, "GET", "/orbit/health")
        chat = await call(host, "POST", "/orbit/chat")
    print(json.dumps({
        "middleware": [middleware.OWNER, ApiKeyMiddleware],
        "health": health.json()["status"],
        "chat": chat.status,
    }))


asyncio.run(main())
"""


def test_a_host_with_a_package_called_middleware(tmp_path: Path) -> None:
    """The host's own ``middleware`` and ours live in one process, each found by its owner."""
    own = tmp_path / "middleware"
    own.mkdir()
    (own / "__init__.py").write_text("OWNER = 'the host'\n")
    (own / "api_key.py").write_text("ApiKeyMiddleware = 'the host, too'\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HOST],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "middleware": ["the host", "the host, too"],
        "health": "ok",
        "chat": 401,
    }
