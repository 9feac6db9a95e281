"""A whole chat server beside a scripted Ollama, and the clients that ask it."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from orbit_server.llm import Ollama
from tests.support.ollama_standin import OllamaStandIn
from tests.support.server import Running, configuration, events, running

QUESTION = "When does the library open?"
PAIRS = {
    QUESTION: "The library opens at nine.",
    "When does the library close?": "The library closes at eight in the evening.",
    "What does a dog licence cost?": "A dog licence costs forty crowns a year.",
}


@dataclass
class Reply:
    """What came back for one request, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a stream."""
        return list(events(self.body))

    @property
    def last(self) -> dict[str, Any]:
        """The last event of a stream."""
        return self.events[-1]

    @property
    def text(self) -> str:
        """The answer as a reader of the ``delta`` format sees it."""
        return "".join(event["text"] for event in self.events)

    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


@dataclass
class ChatServer:
    """A chat server whose collection ``town`` holds ``PAIRS``, and the Ollama that it asks."""

    server: Running
    ollama: OllamaStandIn
    http: aiohttp.ClientSession
    headers: dict[str, str]
    _before: set[asyncio.Task[Any]] = field(default_factory=set)

    async def ask(
        self,
        message: Any = QUESTION,
        *,
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Reply:
        """Post a question and read all that comes back."""
        async with self.asking(message, headers=headers, **body) as response:
            return Reply(response.status, response.headers, await response.read())

    def asking(
        self,
        message: Any = QUESTION,
        *,
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> "aiohttp.client._RequestContextManager":
        """Post a question; the response is entered as soon as its head is there."""
        return self.http.post(
            self.server.url + "/chat",
            json={"message": message, **body},
            headers={**self.headers, **(headers or {})},
        )

    async def post(self, data: Any, **headers: str) -> Reply:
        """Post ``data`` as it is; header names are given with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(
            self.server.url + "/chat",
            data=data,
            headers={**self.headers, "Content-Type": "application/json", **named},
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    def exchanges(self) -> list[dict[str, Any]]:
        """The exchanges in the chat log, oldest first."""
        return [record for record in self.server.exchanges() if record["kind"] == "exchange"]

    def exchange(self) -> dict[str, Any]:
        """The latest exchange in the chat log."""
        return self.exchanges()[-1]

    async def exchanged(self, count: int) -> list[dict[str, Any]]:
        """Return the exchanges once there are ``count`` of them."""
        async with asyncio.timeout(30):
            while len(records := self.exchanges()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return records

    async def settled(self) -> None:
        """Return once Ollama does nothing for us and no task is left over; else AssertionError."""
        await self.ollama.until(lambda: self.ollama.active == 0)
        deadline = asyncio.get_running_loop().time() + 30
        while left := self._left_over():
            assert asyncio.get_running_loop().time() < deadline, left
            await asyncio.sleep(0.005)

    def _left_over(self) -> list[asyncio.Task[Any]]:
        # sse-starlette keeps a watcher for as long as the loop lives; the runner is pytest's.
        return [
            task
            for task in asyncio.all_tasks() - self._before
            if not any(name in repr(task) for name in ("_shutdown_watcher", "_call_in_runner_task"))
        ]

    @asynccontextmanager
    async def with_ollama(self) -> AsyncIterator["ChatServer"]:
        """Give this town a new Ollama for one test, which must leave nothing running."""
        services = self.server.services
        async with OllamaStandIn() as ollama:
            self.ollama = ollama
            assert isinstance(services.ollama, Ollama)
            services.ollama.base_url = ollama.url
            self._before = asyncio.all_tasks()
            yield self
            await self.settled()


@asynccontextmanager
async def town(
    folder: Path, *, pairs: Mapping[str, str] = PAIRS, **overrides: Any
) -> AsyncIterator[ChatServer]:
    """Run a chat server under ``folder`` with ``pairs``, a key and an Ollama of its own."""
    async with OllamaStandIn() as ollama:
        config = configuration(folder, ollama__base_url=ollama.url, **overrides)
        async with (
            running(config) as server,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True)
            ) as http,
        ):
            if pairs:
                await server.pairs("town", pairs)
            headers = await server.key("town")
            yield ChatServer(server, ollama, http, headers, asyncio.all_tasks())


class Socket:
    """A client made by hand, which can leave in every way that a real one can."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw

    @classmethod
    async def asking(cls, town: ChatServer, message: str = QUESTION, **body: Any) -> "Socket":
        """Connect and send a question."""
        host, port = town.server.url.removeprefix("http://").split(":")
        raw = socket.socket()
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (host, int(port)))
        data = orjson.dumps({"message": message, **body})
        fields = {**town.headers, "Content-Type": "application/json", "Host": f"{host}:{port}"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        length = f"Content-Length: {len(data)}\r\n\r\n"
        request = f"POST /chat HTTP/1.1\r\n{head}{length}".encode() + data
        await loop.sock_sendall(raw, request)
        return cls(raw)

    async def read_until(self, part: bytes) -> bytes:
        """Read until ``part`` has come; all that was read."""
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(30):
            while part not in data:
                more = await loop.sock_recv(self.raw, 65536)
                assert more, f"the connection ended after {data!r}"
                data += more
        return data

    async def read_all(self) -> bytes:
        """Read until the server closes."""
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(30):
            while more := await loop.sock_recv(self.raw, 65536):
                data += more
        return data

    def leave(self, how: str = "fin") -> None:
        """Go: ``fin`` closes, ``rst`` resets, ``half`` only says that nothing more will be sent."""
        if how == "half":
            self.raw.shutdown(socket.SHUT_WR)
            return
        if how == "rst":
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()


class Requests(logging.Handler):
    """The request log's records, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record.__dict__)

    async def record(self, reply: Reply) -> dict[str, Any]:
        """Return the record of the request that got ``reply``; it comes after the last byte."""
        async with asyncio.timeout(30):
            while True:
                for record in self.records:
                    if record["request_id"] == reply.headers["X-Request-ID"]:
                        return record
                await asyncio.sleep(0.002)


@contextmanager
def request_log() -> Iterator[Requests]:
    """Collect what the server says about requests."""
    handler = Requests()
    logger = logging.getLogger("orbit_server.requests")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
