"""Connections that are kept, and what a server may do with them; test_client.py has sick ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httptools
import pytest

from orbit_server.retrieval.http import HttpConnections, Reply

pytestmark = pytest.mark.anyio

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers every request with the next of ``replies``; counts connections and requests."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.connections = 0
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._asked = asyncio.Condition()

    async def has_been_asked(self, times: int) -> None:
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= times)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                async with self._asked:
                    self.requests.append(head + body)
                    self._asked.notify_all()
                writer.write(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def connected(server: Server, **headers: str) -> AsyncIterator[HttpConnections]:
    """Yield connections to ``server``, which runs as long."""
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    connections = HttpConnections("127.0.0.1", port, headers={"Host": "here", **headers})
    try:
        yield connections
    finally:
        connections.close()
        for writer in server.writers:
            writer.close()
        listening.close()


async def settled() -> None:
    """Let what has been sent arrive."""
    for _ in range(20):
        await asyncio.sleep(0.001)


async def test_one_connection_for_many_requests() -> None:
    """A connection is kept; headers and body are sent as they are."""
    server = Server(OK)
    async with connected(server, Token="t") as http:
        for _ in range(3):
            reply = await http.request("POST", "/a?b", b"{}", seconds=30, headers={"X-Id": "1"})
            assert reply == Reply(200, b"ok")
        assert server.connections == 1
    request = (
        b"POST /a?b HTTP/1.1\r\nHost: here\r\nToken: t\r\nX-Id: 1\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert server.requests == [request] * 3


async def test_requests_at_once_do_not_wait_for_each_other() -> None:
    """Each has a connection of its own, which is used again."""
    server = Server(OK)
    async with connected(server) as http:
        for _ in range(2):
            await asyncio.gather(*(http.request("GET", "/", seconds=30) for _ in range(5)))
        assert server.connections == 5


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    ],
    ids=["chunked", "continue", "close"],
)
async def test_forms_of_a_reply(reply: bytes) -> None:
    """Pieces are joined, and what is no reply yet is waited out."""
    server = Server(reply)
    async with connected(server) as http:
        for _ in range(2):
            assert await http.request("GET", "/", seconds=30) == Reply(200, b"ok")
        assert server.connections == (2 if b"close" in reply else 1)


async def test_a_connection_that_was_closed_while_idle() -> None:
    """The request goes over a new one, whether the end was noticed before or not."""
    server = Server(OK)
    async with connected(server) as http:
        await http.request("GET", "/", seconds=30)
        server.writers[0].close()  # not noticed here yet
        assert (await http.request("GET", "/", seconds=30)).status == 200
        server.writers[1].close()
        await settled()
        assert (await http.request("GET", "/", seconds=30)).status == 200
        assert server.connections == 3


@pytest.mark.parametrize("more", [OK, OK[:20]], ids=["whole", "begun"])
async def test_a_second_reply_answers_no_other_request(more: bytes) -> None:
    """What a server sends beyond its reply is not taken for that to the next request."""
    server = Server(OK + more, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
    async with connected(server) as http:
        assert (await http.request("GET", "/", seconds=30)).body == b"ok"
        assert (await http.request("GET", "/", seconds=30)).body == b"next"
        server.writers[-1].write(OK)  # and the same when it comes late
        await settled()
        assert (await http.request("GET", "/", seconds=30)).body == b"next"
        assert server.connections == 3


async def test_failures_leave_no_connection_behind() -> None:
    """After gibberish, half a reply in time, or a cancellation the next request is a new start."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
    server = Server(b"gibberish\r\n\r\n", half, half, OK)
    async with connected(server) as http:
        with pytest.raises(httptools.HttpParserError):
            await http.request("GET", "/", seconds=30)
        with pytest.raises(TimeoutError):
            await http.request("GET", "/", seconds=0.05)
        task = asyncio.create_task(http.request("GET", "/", seconds=30))
        await server.has_been_asked(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await http.request("GET", "/", seconds=30)).body == b"ok"
        assert server.connections == 4


async def test_a_reply_that_breaks_off_is_not_asked_for_again() -> None:
    """The server has seen that request."""
    server = Server(OK, b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", OK)
    async with connected(server) as http:
        await http.request("GET", "/", seconds=30)
        task = asyncio.create_task(http.request("GET", "/", seconds=30))
        await server.has_been_asked(2)
        await settled()
        server.writers[0].close()
        with pytest.raises(ConnectionError):
            await task
        assert len(server.requests) == 2


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0"])
async def test_a_header_is_one_line(value: str) -> None:
    """A request id from outside adds nothing to the request."""
    with pytest.raises(ValueError, match="header"):
        HttpConnections("127.0.0.1", 1, headers={"X": value})
    server = Server(OK)
    async with connected(server) as http:
        with pytest.raises(ValueError, match="header"):
            await http.request("GET", "/", seconds=30, headers={"X-Request-ID": value})
        assert server.requests == []
