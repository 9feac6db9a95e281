"""A real uvicorn around a real application, in the test's own loop."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import uvicorn
from starlette.types import ASGIApp

from orbit_server.api.shutdown import Shutdown
from orbit_server.app import create_app
from orbit_server.config.loader import Config, load
from orbit_server.documents.model import Chunk
from orbit_server.services import Services

ADMIN_TOKEN = "test-admin-token-0123456789"


@dataclass
class Running:
    """A server under test: where it answers, and its insides for arranging things."""

    url: str
    services: Services
    logs: Path
    shutdown: Shutdown | None = None

    async def key(self, collection: str, **more: Any) -> dict[str, str]:
        """Make a key for ``collection`` and return the header that carries it."""
        _, secret = await self.services.keys.create(collection, "test", **more)
        return {"X-API-Key": secret}

    async def pairs(self, collection: str, pairs: Mapping[str, str], source: str = "qa") -> None:
        """Store question/answer ``pairs`` in ``collection``."""
        chunks = [
            Chunk.of(
                question,
                answer,
                {"source": source, "position": n, "question": question, "answer": answer},
            )
            for n, (question, answer) in enumerate(pairs.items())
        ]
        await self.services.store.put(collection, chunks, [])

    def exchanges(self) -> list[dict[str, Any]]:
        """Return the exchanges in the chat log, oldest first."""
        return [record for record in self.records() if record["kind"] == "exchange"]

    def records(self) -> list[dict[str, Any]]:
        """Return all records of the chat log, oldest first, once all of them are written."""
        self.wait_for_log()
        return records_in(self.logs)

    def wait_for_log(self) -> None:
        """Return when the chat log's thread has dealt with all it was handed over.

        A busy machine may take longer for it than an answer waits.
        """
        end = time.monotonic() + 20
        while self.services.chatlog.waiting:
            assert time.monotonic() < end, "the chat log's thread stands still"
            time.sleep(0.001)


def records_in(logs: Path) -> list[dict[str, Any]]:
    """Return all records of the chat log in ``logs``, oldest first.

    A line without its end is still being written: the reader may come in the middle of it.
    """
    files = [path.read_bytes() for path in sorted(logs.glob("chat-*.log"))]
    whole = [data[: data.rfind(b"\n") + 1].splitlines() for data in files]
    return [orjson.loads(line) for lines in whole for line in lines]


def configuration(folder: Path, **overrides: Any) -> Config:
    """Return a configuration that keeps everything under ``folder``.

    Overrides are dotted keys with ``__`` for the dot: ``answer__provider="extractive"``.
    """
    settings = {
        "chroma.path": str(folder / "chroma"),
        "retrieval.path": str(folder / "lexical"),
        "elasticsearch.checkpoint": str(folder / "shipper.json"),
        "database.url": f"sqlite+aiosqlite:///{folder}/orbit.db",
        "logging.file.directory": str(folder / "logs"),
        **{name.replace("__", "."): value for name, value in overrides.items()},
    }
    empty = folder / "config.yaml"
    empty.touch()
    return load(empty, environ={"ADMIN_TOKEN": ADMIN_TOKEN}, overrides=settings)


def lexical(folder: Path, **overrides: Any) -> Config:
    """Return a configuration that needs no Ollama."""
    return configuration(
        folder, embedding__provider="lexical", answer__provider="extractive", **overrides
    )


@asynccontextmanager
async def serving(
    app: ASGIApp, *, lifespan: Literal["on", "off"] = "off", **settings: Any
) -> AsyncIterator[str]:
    """Run uvicorn around ``app`` on a free loopback port; the URL."""
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio leaves Nagle's delay on
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        **settings,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listener]))
    while not server.started and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """Run the whole server with ``config``."""
    async with Services(config) as services:
        app = create_app(services=services)
        async with serving(app) as url:
            logs = Path(config.logging.file.directory)
            yield Running(url, services, logs, app.state.shutdown)


def events(body: bytes) -> Sequence[dict[str, Any]]:
    """Return the events of a whole stream, checking that it is one JSON line and a blank each.

    Comments are left out.
    """
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == "", "the stream does not end with a blank line"
    found = []
    for block in blocks:
        if block.startswith(":"):
            continue
        assert block.startswith("data: ") and "\n" not in block, block
        found.append(orjson.loads(block.removeprefix("data: ")))
    return found


def text(stream: Sequence[dict[str, Any]]) -> str:
    """Return the answer that a client of the ``delta`` format reads from a stream's events."""
    return "".join(event["text"] for event in stream)
