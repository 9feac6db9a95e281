"""A server that stops: whoever has asked by then is answered."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvloop import Loop

from orbit_server.config.loader import load
from orbit_server.server.http_protocol import ARRIVAL_SECONDS
from orbit_server.server.sockets import listen
from orbit_server.server.uvicorn_server import Server, uvicorn_settings

from ..support.certificates import Authority

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on both loops: they accept connections in ways of their own."""
    return "asyncio", {"loop_factory": Loop} if request.param else {}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Say hello, at ``/slow`` half a second after the head."""
    if scope["path"] == "/slow":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"well", "more_body": True})
        await asyncio.sleep(0.5)
        await send({"type": "http.response.body", "body": b"hello"})
        return
    await PlainTextResponse("hello")(scope, receive, send)


@asynccontextmanager
async def started(**more: Any) -> AsyncIterator[tuple[Server, tuple[str, int]]]:
    """Run a server as far as it listens; the test stops it."""

    async def reload() -> None:
        pytest.fail("nobody reloads")

    def nothing() -> None: ...

    with closing(listen("127.0.0.1", 0)) as listener:
        settings = uvicorn_settings(load(None)) | more
        server = Server(
            application, settings, expire=nothing, reload=reload, ready=nothing, stopping=nothing
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup([listener])
        try:
            yield server, listener.getsockname()
            assert listener.fileno() == -1, "it takes nobody more"
        finally:
            for each in server.servers:
                each.close()  # else the loop of a test that fails would never end


def read(client: socket.socket, until: bytes | None = None) -> bytes:
    """Return all that comes until the server closes, or as far as ``until``."""
    client.settimeout(10)
    reply = b""
    while until is None or until not in reply:
        more = client.recv(4096)
        reply += more
        if not more:
            break
    return reply


# In these tests the client does not wait for the loop: the server cannot have seen what it sends.


async def test_a_question_on_a_connection_that_was_idle() -> None:
    """A proxy that keeps connections does not ask elsewhere what it has sent into one of them."""
    async with started() as (server, place):
        with socket.create_connection(place) as client:
            client.sendall(GET)
            assert await asyncio.to_thread(read, client, b"hello")
            client.sendall(GET)
            await server.shutdown()
            reply = await asyncio.to_thread(read, client)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"connection: close" in head, "else the next one would be sent into it too"


async def test_a_question_behind_an_answer_that_began_before() -> None:
    """The head of that one could not say that the connection will be closed."""
    async with started() as (server, place):
        with socket.create_connection(place) as client:
            client.sendall(GET.replace(b" / ", b" /slow "))
            await asyncio.to_thread(read, client, b"well")
            stopping = asyncio.create_task(server.shutdown())
            assert b"0\r\n\r\n" in await asyncio.to_thread(read, client, b"0\r\n\r\n")
            client.sendall(GET)
            reply = await asyncio.to_thread(read, client)
            await stopping
    head, _, body = reply.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert b"connection: close" in head


@contextmanager
def busy(seconds: float, then: Callable[[], object]) -> Iterator[None]:
    """Keep the loop busy, in one of its turns while it reads, and call ``then`` at the end."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    def be_busy() -> None:
        loop.remove_reader(ours)
        time.sleep(seconds)
        then()

    with ours, theirs:
        loop.add_reader(ours, be_busy)
        theirs.send(b"now")
        yield


async def test_a_question_that_a_busy_loop_has_not_seen() -> None:
    """It came in time; only the loop is late."""
    async with started() as (server, place):
        with socket.create_connection(place) as client:
            client.sendall(GET)
            await asyncio.to_thread(read, client, b"hello")
            stopping = asyncio.create_task(server.shutdown())
            for _ in range(10):  # until the connection is told to close
                await asyncio.sleep(0)
            with busy(ARRIVAL_SECONDS, partial(client.sendall, GET)):
                await stopping
            assert (await asyncio.to_thread(read, client)).endswith(b"hello")


async def test_a_question_just_before_an_idle_connection_is_closed() -> None:
    """It came in time; only the loop is late."""
    async with started(timeout_keep_alive=2) as (server, place):
        with socket.create_connection(place) as client:
            client.sendall(GET)
            await asyncio.to_thread(read, client, b"hello")
            with busy(2.5, partial(client.sendall, GET)):
                assert b"hello" in await asyncio.to_thread(read, client, b"hello")
            assert await asyncio.to_thread(read, client) == b"", "it is closed for all that"
        await server.shutdown()


async def test_connections_that_are_not_accepted_yet() -> None:
    """The kernel has told the clients that they are connected."""
    async with started() as (server, place):
        clients = [socket.create_connection(place) for _ in range(20)]
        for client in clients:
            client.sendall(GET)
        await server.shutdown()
        for client in clients:
            with client:
                assert (await asyncio.to_thread(read, client)).endswith(b"hello")


async def test_a_tls_connection_that_is_not_accepted_yet(tmp_path: Path) -> None:
    """It shakes hands while the server stops."""
    authority = Authority()
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue(1).write(*pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)

    def ask(raw: socket.socket) -> bytes:
        with authority.client().wrap_socket(raw, server_hostname="localhost") as client:
            client.sendall(GET)
            return read(client)

    async with started(ssl_context_factory=lambda *_: context) as (server, place):
        raw = socket.create_connection(place, 10)
        asking = asyncio.create_task(asyncio.to_thread(ask, raw))
        await server.shutdown()
        assert (await asking).endswith(b"hello")


async def test_nobody_waits_for_a_client_that_asks_nothing() -> None:
    """Neither for one that is idle, nor for one that has only connected."""
    async with started() as (server, place):
        with socket.create_connection(place) as idle, socket.create_connection(place) as silent:
            idle.sendall(GET)
            assert await asyncio.to_thread(read, idle, b"hello")
            await server.shutdown()
            assert not server.server_state.connections
            assert await asyncio.to_thread(read, idle) == b""
            assert await asyncio.to_thread(read, silent) == b""
