"""The shipper: what the chat log's files hold, sent to Elasticsearch.

It follows the files from a checkpoint, at its own pace and behind everybody's back: a chat never
waits for it. Every record is created under its own id, so that whatever is sent twice, because a
reply was lost or a process was killed, is stored once.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from ..errors import OrbitError
from . import ecs
from .checkpoint import Backlog, Batch, Line
from .elasticsearch import Elastic, Failure, TooLarge, sentence

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH_BYTES = 1_000_000  # more in one write would hold up the loop, and the chats in it
_PROBE_SECONDS = 30.0
_STOP_SECONDS = 3.0
_TRIES_AT_ONCE = 3

# Refusals with status 400 that say nothing about the document.
_NOT_THE_DOCUMENT = {
    "index_closed_exception",
    "invalid_index_name_exception",
    "validation_exception",
}


class Shipped(NamedTuple):
    """How many records Elasticsearch holds now, and how many were put aside."""

    documents: int
    rejected: int


class Shipper:
    """Send the chat log in ``directory`` to the Elasticsearch at ``node``, from ``async with`` on.

    Documents go to ``index-YYYY.MM`` by their own month, or to ``data_stream``. ``state`` is the
    checkpoint's file; of all shippers with the same one, one sends, and another takes over when it
    is gone. ``on_state(available, cause)`` is called by the one that sends, at first contact and
    at each change. ``pauses`` are the first and the longest wait in seconds between two tries.
    """

    def __init__(
        self,
        directory: Path,
        state: Path,
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
        on_state: Callable[[bool, str], None] = lambda available, cause: None,
    ) -> None:
        self.index = index
        self.data_stream = data_stream
        self.retention_days = retention_days
        self.flush_seconds = flush_seconds
        self.on_state = on_state
        self._elastic = Elastic(
            node,
            username=username,
            password=password,
            api_key=api_key,
            ca_certs=ca_certs,
            verify_certs=verify_certs,
        )
        self._backlog = Backlog(
            directory,
            state,
            encode=lambda line: ecs.operation(line, index=index, data_stream=data_stream),
            batch_lines=batch_size,
            batch_bytes=_BATCH_BYTES,
        )
        self._pauses = pauses
        self._tries: float = float("inf")
        self._failures = 0
        self._contact: float | None = None
        self._told: bool | None = None
        self._prepared = False

    async def __aenter__(self) -> Self:
        self._begin()
        self._task = asyncio.create_task(self._run(), name="shipper")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopping.set()
        try:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._end()

    @property
    def state(self) -> Literal["enabled", "unavailable"]:
        """What Elasticsearch was, for whichever process sends, when it was last spoken to."""
        return "enabled" if self._backlog.known().available else "unavailable"

    @property
    def cause(self) -> str:
        """Why Elasticsearch is unavailable; empty when it is not."""
        return self._backlog.known().cause

    @property
    def sending(self) -> bool:
        """Whether this process is the one that sends."""
        return self._backlog.held

    def lag(self) -> tuple[int, int]:
        """Return how many lines and bytes are still to be sent.

        Reads what has come since it was last asked: call it in a thread.
        """
        return self._backlog.lag()

    def pending(self, path: Path) -> bool:
        """Tell whether a file of the chat log holds something that is still to be sent."""
        return self._backlog.pending(path)

    async def ship_once(self) -> Shipped:
        """Send all there is, outside of ``async with``.

        Raises ``OrbitError`` when another process sends, when Elasticsearch is still unavailable
        after a few tries, or when a file cannot be read or written.
        """
        self._begin()
        self._tries = _TRIES_AT_ONCE
        try:
            if not await self._on_disk(self._backlog.hold):
                raise OrbitError("a running server sends the chat log already")
            await self._until_it_works(self._probe)
            return await self._ship()
        except Failure as failure:
            raise OrbitError(f"Elasticsearch at {self._elastic.node}: {failure}") from failure
        except OSError as error:
            raise OrbitError(f"the chat log cannot be sent: {error}") from error
        finally:
            await self._end()

    def _begin(self) -> None:
        self._stopping = asyncio.Event()
        # One thread: its work is done in order, and is done before the lock is given back.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="shipper")

    async def _end(self) -> None:
        await self._elastic.close()
        await asyncio.to_thread(self._disk.shutdown)
        self._backlog.release()

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)

    # -- the way of the lines --------------------------------------------------------------

    async def _run(self) -> None:
        trouble = ""
        while True:
            last = self._stopping.is_set()
            try:
                if self._backlog.held or await self._on_disk(self._backlog.hold):
                    await self._ship()
                    if self._silent_for() >= _PROBE_SECONDS:
                        await self._until_it_works(self._probe)
                trouble = ""
            except Failure:
                return  # it was said already, and the server stops
            except Exception as error:
                # A full disk, a file that cannot be read: nothing is lost by trying again.
                if trouble != (trouble := repr(error)):
                    logger.exception("the chat log cannot be sent")
                await self._rest(self._pauses[1])
            if last:
                return
            await self._rest(self.flush_seconds)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _ship(self) -> Shipped:
        documents = rejected = 0
        for path in await self._on_disk(self._backlog.files):
            while batch := await self._on_disk(self._backlog.read, path):
                sent = len(batch.lines) + len(batch.rejected)
                await self._deliver(batch)
                await self._on_disk(self._backlog.commit, batch)
                rejected += len(batch.rejected)
                documents += sent - len(batch.rejected)
        return Shipped(documents, rejected)

    async def _deliver(self, batch: Batch) -> None:
        """Send ``batch`` until every line of it is stored or among its rejected ones."""
        parts = [batch.lines] if batch.lines else []
        while parts:
            part = parts.pop()
            try:
                left, failure = await self._bulk(part, batch)
            except TooLarge as error:
                if len(part) == 1:
                    batch.rejected.append((part[0].text, f"too large: {error}"))
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                continue
            except Failure as error:
                left, failure = part, error
            if failure is None:
                await self._succeed()
                continue
            parts.append(left)
            if len(left) < len(part):
                self._failures = 0
            await self._suffer(failure)

    async def _bulk(self, lines: list[Line], batch: Batch) -> tuple[list[Line], Failure | None]:
        """Send ``lines``; return those that have to be sent again, and why."""
        if not self._prepared:
            await self._prepare()
        results = await self._elastic.create(b"".join(line.encoded for line in lines))
        if len(results) != len(lines):
            raise Failure("it answers for more or fewer documents than were sent")
        left: list[Line] = []
        worst: Failure | None = None
        for line, result in zip(lines, results, strict=True):
            status = result["status"]
            if 200 <= status < 300 or status == 409:  # a conflict: it was stored before
                continue
            if status == 400 and result["error"]["type"] not in _NOT_THE_DOCUMENT:
                batch.rejected.append((line.text, sentence(result)))
                continue
            left.append(line)
            failure = Failure(sentence(result), status=status)
            worst = failure if worst is None or failure.lasting else worst
        return left, worst

    # -- what becomes of Elasticsearch -----------------------------------------------------

    async def _prepare(self) -> None:
        await self._elastic.prepare(
            index=self.index, data_stream=self.data_stream, retention_days=self.retention_days
        )
        self._prepared = True

    async def _probe(self) -> None:
        await (self._elastic.ping() if self._prepared else self._prepare())

    async def _until_it_works(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Failure as failure:
                await self._suffer(failure)
            else:
                return await self._succeed()

    async def _suffer(self, failure: Failure) -> None:
        """Wait before the next try, longer each time; raise ``failure`` when there is none."""
        self._failures += 1
        # A single refusal or lost connection is everyday; a wrong password does not pass.
        if failure.lasting or self._failures > 1:
            self._prepared = False
            await self._tell(False, str(failure))
        if self._stopping.is_set() or self._failures >= self._tries:
            raise failure
        first, longest = self._pauses
        pause = min(longest, first * 2 ** min(self._failures - 1, 20))
        await self._rest(pause * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets

    async def _succeed(self) -> None:
        self._failures = 0
        self._contact = asyncio.get_running_loop().time()
        await self._tell(True, "")

    async def _tell(self, available: bool, cause: str) -> None:
        known = self._backlog.checkpoint
        changed = (available, cause) != (known.available, known.cause)
        if changed:
            await self._on_disk(self._backlog.note, available, cause)
        if not available and (changed or self._told is not False):
            logger.warning("Elasticsearch at %s is unavailable: %s", self._elastic.node, cause)
        if available == self._told:
            return
        self._told = available
        if available:
            logger.info("Elasticsearch at %s takes the chat log", self._elastic.node)
        try:
            self.on_state(available, cause)
        except Exception:
            logger.exception("nobody was told what became of Elasticsearch")

    def _silent_for(self) -> float:
        if self._contact is None:
            return float("inf")
        return asyncio.get_running_loop().time() - self._contact
