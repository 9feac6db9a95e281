"""A clock that tests move, and waiting for what goes on beside them."""

import asyncio
from collections.abc import Callable

NOON = 1_780_056_000.0  # some day at 12:00 UTC


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def until(holds: Callable[[], object], timeout: float = 20.0) -> None:
    """Return once ``holds()`` is true; TimeoutError when it never is."""
    async with asyncio.timeout(timeout):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
