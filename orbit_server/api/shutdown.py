"""The end of the server, for the requests that are running when it comes."""

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import anyio

from ..errors import ShuttingDown
from ._middleware._disconnect import Ended, unless

P = ParamSpec("P")
T = TypeVar("T")

_POLL_SECONDS = 0.2


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

    def expire(self) -> None:
        """Leave no more time, once the server stops."""
        self._end = time.monotonic()

    async def wait(self) -> None:
        """Return when the server stops and there is no more time."""
        await self._stopping()
        if self._end is None:
            self._end = time.monotonic() + self._drain
        # No event: it would belong to one loop, and an application does not.
        while (left := self._end - time.monotonic()) > 0:  # noqa: ASYNC110
            await anyio.sleep(min(left, _POLL_SECONDS))

    def cancel_on_shutdown(self, work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Return ``work`` as a function that is cancelled when there is no more time.

        It raises ``ShuttingDown`` then.
        """

        @wraps(work)
        async def racing(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                result: T = await unless(work(*args, **kwargs), self.wait())
            except Ended as ended:
                raise ShuttingDown from ended
            return result

        return racing
