"""The shipper: sends the chat log's files to Elasticsearch.

Runs in the background, from a checkpoint; a chat never waits for it. Every record is created under
its own id, so that whatever is sent twice, because a reply was lost or a process was killed, is
stored once.
"""

import asyncio
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from ..errors import OrbitError
from . import ecs
from .checkpoint import Checkpoint, Line
from .delivery import Delivery
from .elasticsearch import ElasticsearchClient, Failure
from .rejected import Rejected

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH_BYTES = 1_000_000  # more in one write would hold up the loop, and the chats in it
_TRIES_AT_ONCE = 3


class Shipped(NamedTuple):
    """How many records Elasticsearch holds now, and how many were rejected."""

    documents: int
    rejected: int


class Shipper:
    """Send the chat log in ``directory`` to the Elasticsearch at ``node``, from ``async with`` on.

    Documents go to ``index-YYYY.MM`` by their own month, or to ``data_stream``. Of all shippers
    with the same ``checkpoint_file``, one sends, and another takes over when it is gone.
    ``on_status(available, cause)`` is called by the one that sends, at first contact and at each
    change. ``pauses`` are the first and the longest wait in seconds between two tries. After
    ``probe_seconds`` without a document it asks for a sign of life; leaving waits at most
    ``stop_seconds`` for the last lines to be sent.
    """

    def __init__(
        self,
        directory: Path,
        checkpoint_file: Path,
        *,
        node: str,
        index: str,
        data_stream: str | None = None,
        username: str | None = None,
        password: str | None = None,
        api_key: str | None = None,
        ca_certs: str | None = None,
        verify_certs: bool = True,
        retention_days: int | None = None,
        batch_size: int = 500,
        flush_seconds: float = 2.0,
        pauses: tuple[float, float] = (0.5, 30.0),
        probe_seconds: float = 30.0,
        prepare_seconds: float = 300.0,
        stop_seconds: float = 3.0,
        on_status: Callable[[bool, str], None] = lambda available, cause: None,
    ) -> None:
        self.node = node
        self.flush_seconds = flush_seconds
        self.on_status = on_status
        self._client = ElasticsearchClient(
            node,
            username=username,
            password=password,
            api_key=api_key,
            ca_certs=ca_certs,
            verify_certs=verify_certs,
        )
        self._encode = partial(
            ecs.operation, index=index, data_stream=data_stream, origin=_origin(directory)
        )
        self._prepare = partial(
            self._client.prepare,
            index=index,
            data_stream=data_stream,
            retention_days=retention_days,
        )
        self.checkpoint = Checkpoint(
            directory,
            checkpoint_file,
            encode=self._encode,
            batch_lines=batch_size,
            batch_bytes=_BATCH_BYTES,
        )
        self._batch_size = batch_size
        self._pauses = pauses
        self._probe_seconds = probe_seconds
        self._prepare_seconds = prepare_seconds
        self._stop_seconds = stop_seconds
        self._announced: bool | None = None

    async def __aenter__(self) -> Self:
        self._begin()
        self._task = asyncio.create_task(self._run(), name="shipper")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopping.set()
        try:
            await asyncio.wait({self._task}, timeout=self._stop_seconds)
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._end()

    @property
    def status(self) -> Literal["enabled", "unavailable"]:
        """Whether Elasticsearch takes records; ``enabled`` only once it has answered."""
        return "enabled" if self.checkpoint.known().available else "unavailable"

    @property
    def cause(self) -> str:
        """Why Elasticsearch is unavailable; empty when it is not."""
        return self.checkpoint.known().cause

    def lag(self) -> tuple[int, int]:
        """Return how many lines and bytes are still to be sent.

        Reads what has come since the last call: call it in a thread.
        """
        return self.checkpoint.lag()

    def rejected(self) -> int:
        """Return how many lines are in ``rejected.log``. Reads it: call it in a thread."""
        return self.checkpoint.rejected.count()

    def pending(self, path: Path) -> bool:
        """Tell whether a file of the chat log holds something that is still to be sent."""
        return self.checkpoint.pending(path)

    async def ship_once(self) -> Shipped:
        """Send all there is, outside of ``async with``.

        Raises ``OrbitError`` when another process sends, when Elasticsearch is still unavailable
        after a few tries, or when a file cannot be read or written.
        """
        async with self._at_once():
            if not await self._on_disk(self.checkpoint.hold):
                raise OrbitError("a running server is already sending the chat log")
            await self._delivery.probe()
            return await self._ship()

    async def resend_rejected(self) -> Shipped:
        """Send the lines of ``rejected.log`` again, also while a server runs.

        What is rejected again stays in it. Raises ``OrbitError`` as ``ship_once`` does.
        """
        documents = rejected = 0
        log = self.checkpoint.rejected
        async with self._at_once():
            await self._delivery.probe()
            with log.taken(self._batch_size) as batches:
                for file, texts in batches:
                    lines, refused = [], []
                    for text in texts:
                        try:
                            lines.append(Line(text, self._encode(text)))
                        except ValueError as error:
                            refused.append(Rejected(text, str(error)))
                    refused += await self._delivery.send(lines)
                    log.append(file, refused)
                    documents += len(texts) - len(refused)
                    rejected += len(refused)
        return Shipped(documents, rejected)

    @asynccontextmanager
    async def _at_once(self) -> AsyncIterator[None]:
        """Work for a command: give up after a few tries, with an ``OrbitError``."""
        self._begin(tries=_TRIES_AT_ONCE)
        try:
            yield
        except Failure as failure:
            raise OrbitError(f"Elasticsearch at {self.node}: {failure}") from failure
        except OSError as error:
            raise OrbitError(f"the chat log cannot be sent: {error}") from error
        finally:
            await self._end()

    def _begin(self, tries: float = float("inf")) -> None:
        self._stopping = asyncio.Event()
        self._delivery = Delivery(
            self._client,
            prepare=self._prepare,
            on_contact=self._on_contact,
            stopping=self._stopping,
            pauses=self._pauses,
            tries=tries,
            prepare_seconds=self._prepare_seconds,
        )
        # One thread: its work is done in order, and is done before the lock is given back.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="shipper")

    async def _end(self) -> None:
        await self._client.close()
        await asyncio.to_thread(self._disk.shutdown)
        self.checkpoint.release()

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)

    async def _run(self) -> None:
        failing = ""
        while True:
            last = self._stopping.is_set()
            try:
                if self.checkpoint.held or await self._on_disk(self.checkpoint.hold):
                    await self._ship()
                    if self._delivery.silent_for() >= self._probe_seconds:
                        await self._delivery.probe()
                failing = ""
            except Failure:
                return  # it is in the log already, and the server stops
            except Exception as error:
                # A full disk, a file that cannot be read: nothing is lost by trying again.
                if repr(error) != failing:
                    failing = repr(error)
                    logger.exception("the chat log cannot be sent")
                await self._delivery.rest(self._pauses[1])
            if last:
                return
            await self._delivery.rest(self.flush_seconds)

    async def _ship(self) -> Shipped:
        documents = rejected = 0
        for path in await self._on_disk(self.checkpoint.files):
            while batch := await self._on_disk(self.checkpoint.read, path):
                sent = len(batch.lines) + len(batch.rejected)
                batch.rejected.extend(await self._delivery.send(batch.lines))
                await self._on_disk(self.checkpoint.commit, batch)
                rejected += len(batch.rejected)
                documents += sent - len(batch.rejected)
        return Shipped(documents, rejected)

    async def _on_contact(self, available: bool, cause: str) -> None:
        if not self.checkpoint.held:
            return
        known = self.checkpoint.progress
        changed = (available, cause) != (known.available, known.cause)
        if changed:
            await self._on_disk(self.checkpoint.set_availability, available, cause)
        if not available and (changed or self._announced is not False):
            logger.warning("Elasticsearch at %s is unavailable: %s", self.node, cause)
        if available == self._announced:
            return
        self._announced = available
        if available:
            logger.info("Elasticsearch at %s accepts the chat log", self.node)
        try:
            self.on_status(available, cause)
        except Exception:
            logger.exception("a change of Elasticsearch could not be reported")


def _origin(directory: Path) -> dict[str, str]:
    """Return the fields that name this host and the server whose log is in ``directory``."""
    host = socket.gethostname()
    instance = uuid.uuid5(uuid.NAMESPACE_URL, f"orbit://{host}{directory.absolute()}")
    return {"host.name": host, "service.instance.id": str(instance)}
