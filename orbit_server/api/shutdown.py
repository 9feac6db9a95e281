"""The end of the server, or of a key, for the requests that are running when it comes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from ..errors import OrbitError, ShuttingDown
from ._middleware._disconnect import Ended, Interruptible

P = ParamSpec("P")
T = TypeVar("T")
Calling = Callable[[Callable[[], object]], AbstractContextManager[None]]
"""Calls a function when something has come to its end, unless the block is left before that."""

_POLL_SECONDS = 0.2


def never(over: Callable[[], object]) -> AbstractContextManager[None]:
    """Call ``over`` never."""
    return nullcontext()


@contextmanager
def ended_by(causes: Mapping[type[OrbitError], Calling]) -> Iterator[None]:
    """End the block with the error whose ``Calling`` is the first to call."""
    called: list[type[OrbitError]] = []

    def end(error: type[OrbitError]) -> None:
        called.append(error)
        block.interrupt()

    try:
        with ExitStack() as stack:
            block = stack.enter_context(Interruptible())
            for error, calling in causes.items():
                stack.enter_context(calling(partial(end, error)))
            yield
    except Ended as ended:
        raise called[0] from ended


class Shutdown:
    """The time that running work has left once the server stops.

    ``stopping`` returns when the server begins to stop. Work may go on for ``drain`` seconds from
    the moment when the first notices that; what begins later has less time left. After
    ``expire()`` it has none.
    """

    def __init__(self, drain: float, *, stopping: Callable[[], Awaitable[None]]) -> None:
        self._drain = drain
        self._stopping = stopping
        self._end: float | None = None
        # An application does not belong to one loop: each has a watcher, while work runs in it.
        self._running: dict[asyncio.AbstractEventLoop, _Running] = {}

    def expire(self) -> None:
        """Leave no more time, once the server stops."""
        self._end = time.monotonic()

    def cancel_on_shutdown(self, work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Return ``work`` as a function that is cancelled when there is no more time.

        It raises ``ShuttingDown`` then.
        """

        @wraps(work)
        async def racing(*args: P.args, **kwargs: P.kwargs) -> T:
            with ended_by({ShuttingDown: self.calling}):
                return await work(*args, **kwargs)

        return racing

    @contextmanager
    def calling(self, over: Callable[[], object]) -> Iterator[None]:
        """Call ``over`` when there is no more time and the block has not been left."""
        loop = asyncio.get_running_loop()
        running = self._running.get(loop)
        if running is None:
            running = self._running[loop] = _Running()
        running.calls[over] = None
        if running.watcher is None or running.watcher.done():
            running.watcher = loop.create_task(self._watch(running))
        try:
            yield
        finally:
            running.calls.pop(over, None)
            if not running.calls:
                running.watcher.cancel()
                self._running.pop(loop, None)

    async def _watch(self, running: "_Running") -> None:
        await self._stopping()
        if self._end is None:
            self._end = time.monotonic() + self._drain
        # ``expire`` may be called in another loop.
        while (left := self._end - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, _POLL_SECONDS))
        for over in list(running.calls):
            over()


class _Running:
    """What is to be told of the end in one loop, in the order in which it began."""

    def __init__(self) -> None:
        self.calls: dict[Callable[[], object], None] = {}
        self.watcher: asyncio.Task[None] | None = None
