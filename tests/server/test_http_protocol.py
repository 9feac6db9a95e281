"""What one connection may cost: the size of a head, the time of a head, the time of a body."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orbit_server.api.error_handlers import EXPECTED
from orbit_server.api.json_body import read_json
from orbit_server.server.http_protocol import FIELD_LIMIT, HEAD_LIMIT, LimitedProtocol

from ..support.server import serving
from ..support.timing import until

pytestmark = pytest.mark.anyio

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


left: set[str] = set()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how long the body is; ``/unread`` answers without it, ``/slow`` after a second.

    ``/headers`` says which headers came, behind the body; ``/large`` answers with megabytes, and
    ``/endless`` without end, or gives up after a second; ``/wait/…`` waits for its client to leave.
    """
    length = 0
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    if scope["path"].startswith("/wait/"):
        while (await receive())["type"] != "http.disconnect":
            pass
        left.add(scope["path"])
        return
    if scope["path"] == "/large":
        await Response(b"x" * 32 * 2**20)(scope, receive, send)
        return
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200})
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while True:
                    await send(
                        {"type": "http.response.body", "body": bytes(5000), "more_body": True}
                    )
                    await asyncio.sleep(0)
        return
    if scope["path"] == "/headers":
        await Request(scope, receive).body()
        names = b" ".join(name for name, _ in scope["headers"])
        await Response(b"<" + names + b">")(scope, receive, send)
        return
    if scope["path"] != "/unread":
        length = len(await Request(scope, receive).body())
    await PlainTextResponse(f"<{length}>")(scope, receive, send)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """Connect to the server at ``url``."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        async with asyncio.timeout(60):
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
async def impatient() -> AsyncIterator[Client]:
    """A connection to a server that gives a head a fraction of a second."""
    async with (
        serving(application, http=partial(LimitedProtocol, head_seconds=0.2)) as url,
        connected(url) as streams,
    ):
        yield streams


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
async def test_who_sends_no_head_is_left(impatient: Client, sent: bytes) -> None:
    """At the beginning and after an answer, whatever the bytes are that are no head."""
    reader, writer = impatient
    writer.write(sent)
    reply = await reader.read()
    assert reply.count(b"HTTP/1.1 200 ") == sent.count(GET)


async def test_who_owes_a_body_after_the_answer_is_left(impatient: Client) -> None:
    """Every now and then a byte does not keep the connection open."""
    reader, writer = impatient
    writer.write(b"POST /unread HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n")
    assert b"200 OK" in await reader.readuntil(b"<0>")
    end = asyncio.create_task(reader.read())
    while not end.done():
        writer.write(b"x")
        await asyncio.sleep(0.02)
    with suppress(ConnectionResetError):  # when a byte was on its way
        assert await end == b""


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT"])
async def test_an_answer_may_take_its_time(impatient: Client, sent: bytes) -> None:
    """The time of a head says nothing about answers, also when something follows the request."""
    reader, writer = impatient
    writer.write(GET.replace(b"/ ", b"/slow ", 1) + sent)
    assert b"200 OK" in await reader.readuntil(b"<0>")


CHUNKED = b"POST /headers HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_trailer_is_no_header(client: Client) -> None:
    """It is read, dropped, and followed by the next request."""
    reader, writer = client
    writer.write(CHUNKED + b"1\r\nx\r\n0\r\nX-API-Key: secret\r\n\r\n" + GET)
    assert (await reader.readuntil(b">")).endswith(b"<host transfer-encoding>")
    assert b"200 OK" in await reader.readuntil(b"<0>")


async def test_chunks_may_be_of_any_size(client: Client) -> None:
    """One byte each, with an extension now and then, or all in one."""
    reader, writer = client
    for chunks in (
        b"1\r\nx\r\n" * 2**17,
        b"1;a=b\r\nx\r\n",
        b"%x\r\n" % 2**20 + b"x" * 2**20 + b"\r\n",
    ):
        writer.write(CHUNKED + chunks + b"0\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b">")


@pytest.mark.parametrize(
    "more",
    [
        b"0\r\n" + b"a: b\r\n" * 20000,
        b"0\r\na: " + b"b" * 2**17,
        b"1;" + b"a" * 2**17,
        b"0" * 2**17,
        b"1;a=b;c=d;e=f;g=h\r\nx\r\n" * 20000,
    ],
    ids=["trailers", "trailer", "extension", "size", "extensions"],
)
async def test_a_body_may_not_be_all_framing(client: Client, more: bytes) -> None:
    """What is not body between two pieces of it, or behind it, has the limit of a head."""
    reader, writer = client
    writer.write(CHUNKED + more)
    with suppress(ConnectionError):  # the reply is lost when more was sent after the end
        assert refusal(await reader.read()) == (431, "headers_too_large")


async def test_a_broken_body_is_refused(client: Client) -> None:
    """The application that waits for the rest is told that its client has left."""
    reader, writer = client
    writer.write(CHUNKED.replace(b"/headers", b"/wait/broken") + b"1\r\nx\r\n+1\r\n")
    assert refusal(await reader.read()) == (400, "invalid_request")
    assert "/wait/broken" in left


async def test_a_head_has_a_hundred_fields(client: Client) -> None:
    """One more is 431."""
    reader, writer = client
    head = b"GET / HTTP/1.1\r\n" + b"a:\r\n" * FIELD_LIMIT
    writer.write(head + b"\r\n")
    assert b"200 OK" in await reader.readuntil(b"<0>")
    writer.write(head + b"a:\r\n\r\n")
    assert refusal(await reader.read()) == (431, "headers_too_large")


async def test_many_requests_at_once_are_answered_in_turn(client: Client) -> None:
    """As many as one read of the socket brings, also with bodies."""
    reader, writer = client
    post = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000
    writer.write((GET + post) * 50)
    for _ in range(50):
        for length in (0, 3000):
            assert b"200 OK" in await reader.readuntil(b"<%d>" % length)


async def test_who_asks_without_end_gets_what_is_under_way(client: Client) -> None:
    """The answer that has begun is finished; the requests behind it are dropped."""
    _, writer = client
    writer.write(GET.replace(b"/ ", b"/wait/ahead ", 1))
    asking = asyncio.create_task(write_without_end(writer, GET * 1000))
    await asyncio.sleep(0.3)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert "/wait/ahead" not in left
    writer.transport.abort()
    await until(lambda: "/wait/ahead" in left, timeout=30)


async def write_without_end(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write ``data`` again and again."""
    while True:
        writer.write(data)
        await writer.drain()


async def test_who_leaves_is_noticed_behind_more_requests(client: Client) -> None:
    """Also when requests wait that were sent after the one under way."""
    _, writer = client
    writer.write(GET.replace(b"/ ", b"/wait/leaver ", 1) + GET)
    await asyncio.sleep(0.1)
    writer.close()
    await until(lambda: "/wait/leaver" in left, timeout=30)


async def test_what_follows_an_answer_does_not_cut_it(client: Client) -> None:
    """A request that is none, sent behind one that is: the one is answered, and the end comes."""
    reader, writer = client
    writer.write(GET.replace(b"/ ", b"/slow ", 1) + b"nonsense\r\n\r\n")
    reply = await reader.read()
    assert reply.startswith(b"HTTP/1.1 200 ") and reply.endswith(b"<0>")


@pytest.mark.slow
@pytest.mark.parametrize("path", [b"/large", b"/endless"])
async def test_who_does_not_read_is_dropped(path: bytes) -> None:
    """Whether the answer was complete or given up: the socket ends, and nothing waits in it."""
    made: list[LimitedProtocol] = []

    def protocol(**options: Any) -> LimitedProtocol:
        made.append(LimitedProtocol(stall_seconds=0.3, **options))
        return made[-1]

    async with (
        serving(application, http=protocol) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(GET.replace(b"/ ", path + b" ", 1))
        await reader.readexactly(1)
        cast(asyncio.Transport, writer.transport).pause_reading()
        await until(lambda: not made[0].connections, timeout=30)
        cast(asyncio.Transport, writer.transport).resume_reading()
        with pytest.raises(ConnectionResetError):
            while await reader.read(2**20):
                pass


@pytest.mark.slow
async def test_who_reads_slowly_is_waited_for() -> None:
    """An answer that takes longer than the time in which something must be taken."""
    async with (
        serving(application, http=partial(LimitedProtocol, stall_seconds=0.3)) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(GET.replace(b"/ ", b"/large ", 1))
        size = 0
        while size < 32 * 2**20:
            part = await reader.read(2**20)
            assert part
            size += len(part)
            await asyncio.sleep(0.02)


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


class Recorded:
    """A transport that notes what is written in one go."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport, self._writes = transport, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)


@asynccontextmanager
async def recording(app: ASGIApp, writes: list[bytes]) -> AsyncIterator[Client]:
    """A connection to ``app``; what its server writes into it is put into ``writes``."""

    class Recording(LimitedProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            recorded = Recorded(cast(asyncio.Transport, transport), writes)
            super().connection_made(cast(asyncio.Transport, recorded))

    async with serving(app, http=Recording) as url, connected(url) as streams:
        yield streams


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_head_goes_out_with_its_body(method: bytes) -> None:
    """In one write, for every answer on a connection; an answer may also be a head only."""
    writes: list[bytes] = []
    async with recording(PlainTextResponse("body"), writes) as (reader, writer):
        for _ in range(2):
            writer.write(GET.replace(b"GET", method, 1))
            await reader.readuntil(b"body" if method == b"GET" else b"\r\n\r\n")
    assert [write[:15] for write in writes] == [b"HTTP/1.1 200 OK"] * 2


async def test_a_head_does_not_wait_for_its_body() -> None:
    """A stream whose first piece takes its time begins at once; its pieces follow one by one."""
    writes, read = list[bytes](), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await read.wait()
        for piece in (b"first", b"second"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async with recording(slow, writes) as (reader, writer):
        writer.write(GET)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        read.set()
        await reader.readuntil(b"second\r\n0\r\n\r\n")
    assert [write[3:8] for write in writes[1:]] == [b"first", b"secon", b"\r\n"]


async def test_a_head_is_not_lost_when_its_connection_closes() -> None:
    """The last answer of a connection is whole, also if it is nothing but a head."""
    writes: list[bytes] = []
    async with recording(Response(status_code=204), writes) as (reader, writer):
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        reply = await reader.read()
    assert reply.startswith(b"HTTP/1.1 204 ") and reply.endswith(b"\r\n\r\n")
    assert writes == [reply]


async def test_who_asks_for_it_is_told_to_continue(client: Client) -> None:
    """At once, since the client sends no body before."""
    reader, writer = client
    writer.write(
        b"POST / HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.readuntil(b"<3>")).startswith(b"HTTP/1.1 200 ")
