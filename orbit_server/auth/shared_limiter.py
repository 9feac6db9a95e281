"""Limits of several processes together: one counts, and the others ask it over a Unix socket.

A line is a JSON array. A process sends ``[number, "take", key, visitor, limits, used]``,
``[number, "guess", address, most, wrong]``, both answered with ``[number, verdict]``, and
``[0, "give_back", key]``, which is not answered. Slots of a process that is gone are free again.
"""

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple
from itertools import count
from pathlib import Path
from typing import Any, Self

import orjson

from ..errors import OrbitError
from .key import Limits
from .limits import Limiter, Use, Verdict

logger = logging.getLogger(__name__)

_SECONDS = 2.0


class SharedLimiter:
    """Asks the limiter that ``limiter_at(path)`` runs in another process.

    When it does not answer within ``seconds``, a request goes on uncounted: a lost limit is better
    than a lost answer.
    """

    def __init__(self, path: Path, *, seconds: float = _SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._numbers = count(1)
        # Also those who have given up: the slot that is taken for one must be given back.
        self._asked: dict[int, tuple[asyncio.Future[Verdict], str]] = {}
        self._uncounted: Counter[str] = Counter()
        self._connecting = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._failing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def take(self, use: Use) -> Verdict:
        """Count ``use`` if no limit forbids it; then ``give_back`` is called when it has ended."""
        limits = astuple(use.limits)
        verdict = await self._ask("take", use.key_id, use.visitor, limits, use.used, key=use.key_id)
        if verdict is None:
            self._uncounted[use.key_id] += 1
        return verdict or Verdict(None)

    def give_back(self, key_id: str) -> None:
        """Note that a request that was admitted has ended."""
        if self._uncounted[key_id]:
            self._uncounted[key_id] -= 1
        else:
            self._write([0, "give_back", key_id])
        self._uncounted += Counter()  # forget what is 0

    async def guess(self, address: str, most: int, *, wrong: bool) -> Verdict:
        """Tell whether ``address`` may try a key after ``most`` wrong ones a minute at most."""
        return await self._ask("guess", address, most, wrong) or Verdict(None)

    async def _ask(self, *question: Any, key: str = "") -> Verdict | None:
        number = next(self._numbers)
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._seconds):
                await self._connect()
                self._asked[number] = answer, key
                self._write([number, *question])
                verdict = await answer
        except (OSError, TimeoutError) as error:
            self._give_up(answer, key)
            if not self._failing:
                logger.error("limits are not counted: %s", str(error) or "no answer in time")
                self._failing = True
            return None
        except BaseException:
            self._give_up(answer, key)
            raise
        if self._failing:
            logger.warning("limits are counted again")
            self._failing = False
        return verdict

    def _give_up(self, answer: asyncio.Future[Verdict], key: str) -> None:
        if not answer.cancel() and not answer.cancelled() and answer.exception() is None:
            self._undo(answer.result(), key)  # it came in the moment when nobody waited any more

    def _undo(self, verdict: Verdict, key: str) -> None:
        if key and verdict.refused is None:
            self._write([0, "give_back", key])

    def _write(self, message: list[Any]) -> None:
        if self._writer is not None:
            self._writer.write(orjson.dumps(message) + b"\n")

    async def _connect(self) -> None:
        async with self._connecting:
            if self._reading is None or self._reading.done():
                reader, self._writer = await asyncio.open_unix_connection(self._path)
                self._reading = asyncio.create_task(self._read(reader, self._writer))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while line := await reader.readline():
                    number, values = orjson.loads(line)
                    answer, key = self._asked.pop(number)
                    if answer.done():
                        self._undo(Verdict(*values), key)
                    else:
                        answer.set_result(Verdict(*values))
        finally:
            writer.close()
            self._writer = None
            lost, self._asked = self._asked, {}
            for answer, _ in lost.values():
                if not answer.done():
                    answer.set_exception(ConnectionResetError("the connection was closed"))


@contextmanager
def limiter_at(path: Path, make: Callable[[], Limiter]) -> Iterator[None]:
    """Run what ``make`` returns in a thread, for every ``SharedLimiter`` of ``path``.

    ``path`` must lie in a folder that nobody else can enter.
    """
    loop = asyncio.new_event_loop()

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread's
        loop.run_forever()

    async def start() -> asyncio.Server:
        limiter = make()
        try:
            return await asyncio.start_unix_server(lambda *ends: _serve(limiter, *ends), path)
        except OSError as error:  # it may be too long
            raise OrbitError(f"no socket can be made at {path}: {error}. Set TMPDIR.") from error

    async def stop(server: asyncio.Server) -> None:
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    thread = threading.Thread(target=run, name="limits", daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(stop(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(
    limiter: Limiter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    taken: Counter[str] = Counter()
    try:
        # asyncio would report that it was cancelled, as an exception that nobody has caught.
        with suppress(OSError, asyncio.CancelledError):
            while line := await reader.readline():
                number, what, *values = orjson.loads(line)
                if what == "give_back":
                    (key,) = values
                    if taken[key]:
                        taken[key] -= 1
                        limiter.give_back(key)
                    continue
                if what == "take":
                    key, visitor, limits, used = values
                    verdict = await limiter.take(Use(key, visitor, Limits(*limits), used))
                    taken[key] += verdict.refused is None
                else:
                    address, most, wrong = values
                    verdict = await limiter.guess(address, most, wrong=wrong)
                writer.write(orjson.dumps([number, tuple(verdict)]) + b"\n")
                await writer.drain()
                taken += Counter()
    finally:
        for key in taken.elements():
            limiter.give_back(key)
        writer.close()
