"""The processes of a server seen from outside (/proc), and clients that hold streams open."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from .program import Server

QUESTION = "When does the library open?"
SENTENCE = "The service is being restarted. Please ask again in a moment."


def descendants(pid: int) -> dict[int, str]:
    """Return the command line of every process below ``pid``, by process id."""
    found: dict[int, str] = {}
    for child in _children(pid):
        with suppress(OSError):
            line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found |= {child: line, **descendants(child)}
    return found


def workers(server: Server) -> list[int]:
    """Return the process ids of the workers of ``server``."""
    found = descendants(server.process.pid)
    return [pid for pid, line in found.items() if "spawn_main" in line]


def chroma(server: Server) -> int:
    """Return the process id of the Chroma that ``server`` has started."""
    found = descendants(server.process.pid)
    (pid,) = [pid for pid, line in found.items() if "chroma_main.py" in line]
    return pid


def exists(pid: int) -> bool:
    """Tell whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pids: Mapping[int, str] | list[int], timeout: float = 20.0) -> None:
    """Return once none of ``pids`` runs; TimeoutError naming nobody after ``timeout`` seconds."""
    async with asyncio.timeout(timeout):
        while any(exists(pid) for pid in pids):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def served_by(pid: int) -> set[int]:
    """Return the ports of the clients whose connections the process ``pid`` holds."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(n) for task in tasks for n in (task / "children").read_text().split()]
    return []


@dataclass
class Stream:
    """One streamed answer: its events so far, and how it ended."""

    port: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    cut: bool = False

    @property
    def text(self) -> str:
        return "".join(event["text"] for event in self.events)

    @property
    def ending(self) -> str:
        """``whole``, the error code of the last event, or ``cut`` without a last event."""
        if self.cut or not self.events or not self.events[-1]["done"]:
            return "cut"
        return str(self.events[-1].get("error", "whole"))


class Streams:
    """Clients that each hold one stream open, on a connection of its own."""

    def __init__(self, server: Server, headers: Mapping[str, str]) -> None:
        self.server = server
        self.headers = headers
        self.all: list[Stream] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, number: int) -> None:
        """Ask ``number`` more times; return when each of them has got its first text."""
        for _ in range(number):
            stream = Stream()
            self.all.append(stream)
            self._tasks.append(asyncio.create_task(self._read(stream)))
        async with asyncio.timeout(60):
            while not all(stream.events for stream in self.all):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def ended(self) -> list[str]:
        """Wait for the end of all; how each ended, in the order in which they were opened."""
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
        return [stream.ending for stream in self.all]

    async def _read(self, stream: Stream) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            try:
                async with http.post(
                    f"{self.server.url}/chat", json={"message": QUESTION}, headers=self.headers
                ) as response:
                    connection = response.connection
                    assert connection is not None and connection.transport is not None
                    stream.port = connection.transport.get_extra_info("sockname")[1]
                    async for line in response.content:
                        if line.startswith(b"data: "):
                            stream.events.append(orjson.loads(line.removeprefix(b"data: ")))
            except aiohttp.ClientError:
                stream.cut = True


async def refused(url: str) -> bool:
    """Tell whether a new connection to ``url`` is refused."""
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(f"{url}/health/live"):
                return False
        except aiohttp.ClientConnectorError:
            return True
        except aiohttp.ClientConnectionError:
            return False  # in the very moment of the stop


async def stopped_listening(server: Server) -> None:
    """Send SIGTERM and return when nobody can connect any more."""
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        while not await refused(server.url):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
