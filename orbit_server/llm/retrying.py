"""Try a model call again: the one place that decides how often, and how long to wait."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import ModelError

T = TypeVar("T")

_LONGEST_DELAY = 30.0


async def retried(
    call: Callable[[], Awaitable[T]],
    *,
    retries: int,
    delay: float,
    worthwhile: Callable[[ModelError], bool],
    on_retry: Callable[[ModelError], None] = lambda failure: None,
) -> T:
    """Return what ``call`` returns, after 1 + ``retries`` calls at most; else raise the last error.

    Only a ``worthwhile`` failure is followed by another call, about ``delay`` seconds later; each
    wait is twice the one before.
    """
    for attempt in range(retries):
        try:
            return await call()
        except ModelError as failure:
            if not worthwhile(failure):
                raise
            on_retry(failure)
        jitter = random.uniform(0.5, 1.5)  # noqa: S311
        await asyncio.sleep(min(delay * 2**attempt, _LONGEST_DELAY) * jitter)
    return await call()
