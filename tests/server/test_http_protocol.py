"""What one connection may cost: the size of a head, the time of a head, the time of a body."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from orbit_server.api.error_handlers import EXPECTED
from orbit_server.api.json_body import read_json
from orbit_server.server import http_protocol as protocol
from orbit_server.server.http_protocol import HEAD_LIMIT, LimitedProtocol

from ..support.server import serving

pytestmark = pytest.mark.anyio

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how long the body is; ``/unread`` answers without it, ``/slow`` after a second."""
    length = 0
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    if scope["path"] != "/unread":
        length = len(await Request(scope, receive).body())
    await PlainTextResponse(f"<{length}>")(scope, receive, send)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """Connect to the server at ``url``."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A connection to a server that limits what a connection may cost."""
    async with (
        serving(application, http=LimitedProtocol) as url,
        connected(url) as streams,
    ):
        yield streams


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let heads have a fraction of a second."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)


def get(size: int) -> bytes:
    """Return a request without a body of ``size`` bytes."""
    begin, end = b"GET / HTTP/1.1\r\nHost: here\r\nX: ", b"\r\n\r\n"
    return begin + b"x" * (size - len(begin) - len(end)) + end


def refusal(reply: bytes) -> tuple[int, str]:
    """Return status and code of an error, checking that it is one and the last of its kind."""
    head, _, content = reply.partition(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")
    assert b"connection: close" in fields
    assert b"content-length: %d" % len(content) in fields
    error = orjson.loads(content)
    assert set(error) == {"detail", "code"}
    return int(head.split()[1]), error["code"]


async def test_a_head_of_the_limit_is_taken(client: Client) -> None:
    """As is the next one on the same connection, for which the count begins anew."""
    reader, writer = client
    for _ in range(2):
        writer.write(get(HEAD_LIMIT))
        assert (await reader.readuntil(b"<0>")).startswith(b"HTTP/1.1 200 ")


async def test_a_head_over_the_limit_is_431(client: Client) -> None:
    """In one piece, and one byte too long."""
    reader, writer = client
    writer.write(get(HEAD_LIMIT + 1))
    assert refusal(await reader.read()) == (431, "headers_too_large")


async def test_a_head_without_an_end_is_431(client: Client) -> None:
    """Piece by piece: the connection ends when the limit is passed."""
    reader, writer = client
    writer.write(b"GET / HTTP/1.1\r\n")
    answer = asyncio.create_task(reader.read())
    sent = 0
    try:
        while not answer.done():
            writer.write(b"X-Again: and again\r\n" * 50)
            await writer.drain()
            sent += 1000
            await asyncio.sleep(0)
            assert sent < 100 * HEAD_LIMIT
        reply = await answer
    except ConnectionError:  # what was sent after the end made the system drop the reply
        return
    finally:
        await asyncio.gather(answer, return_exceptions=True)
    assert refusal(reply) == (431, "headers_too_large")


async def test_a_body_is_no_head(client: Client) -> None:
    """It may be larger, arrive together with its head, and be followed by another request."""
    reader, writer = client
    size = 10 * HEAD_LIMIT
    post = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % size
    writer.write((post + b"x" * size) * 2 + GET)
    for length in (size, size, 0):
        assert b"200 OK" in await reader.readuntil(b"<%d>" % length)


async def test_what_is_no_http_has_the_one_error_body(client: Client) -> None:
    """400 as JSON, like every other error."""
    reader, writer = client
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert refusal(await reader.read()) == (400, "invalid_request")


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: h", b"\r\n", GET + b"\r\n", GET + b"GET / HT"]
)
@pytest.mark.usefixtures("impatient")
async def test_who_sends_no_head_is_left(client: Client, sent: bytes) -> None:
    """At the beginning and after an answer, whatever the bytes are that are no head."""
    reader, writer = client
    writer.write(sent)
    reply = await reader.read()
    assert reply.count(b"HTTP/1.1 200 ") == sent.count(GET)


@pytest.mark.usefixtures("impatient")
async def test_who_owes_a_body_after_the_answer_is_left(client: Client) -> None:
    """Every now and then a byte does not keep the connection open."""
    reader, writer = client
    writer.write(b"POST /unread HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n")
    answer = asyncio.create_task(reader.read())
    while not answer.done():
        writer.write(b"x")
        await asyncio.sleep(0.02)
    assert (await answer).endswith(b"<0>")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT"])
@pytest.mark.usefixtures("impatient")
async def test_an_answer_may_take_its_time(client: Client, sent: bytes) -> None:
    """The time of a head says nothing about answers, also when something follows the request."""
    reader, writer = client
    writer.write(GET.replace(b"/ ", b"/slow ", 1) + sent)
    assert b"200 OK" in await reader.readuntil(b"<0>")


async def test_a_body_that_stalls_is_408() -> None:
    """Half a question is waited for, but not for ever."""

    async def chat(request: Request) -> JSONResponse:
        return JSONResponse(await read_json(request, limit=1000, seconds=0.2))

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], exception_handlers=EXPECTED)
    async with (
        serving(app, http=LimitedProtocol) as url,
        connected(url) as (reader, writer),
    ):
        head = "Host: here\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
        writer.write(f"POST /chat HTTP/1.1\r\n{head}\r\n{{".encode())
        status = await reader.readline()
        content = await reader.readuntil(b"}")
    assert b" 408 " in status
    assert orjson.loads(content.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"
