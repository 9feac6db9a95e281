"""Counters in memory, of a bounded number, for the strategies of the package ``limits``.

The package's own memory looks through all counters at each request, which millions of addresses
would make slow, and it has no upper bound.
"""

from bisect import bisect_right
from collections.abc import Callable

from cachetools import LRUCache
from limits.aio.storage import MovingWindowSupport, Storage


class BoundedCounters(Storage, MovingWindowSupport):
    """At most ``most`` counters; the one that was not asked for longest makes room for a new one.

    ``clock`` counts seconds since 1970. Nothing here waits, so calls cannot come in between.
    """

    STORAGE_SCHEME = None

    def __init__(self, *, most: int, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._counts: LRUCache[str, tuple[int, float]] = LRUCache(most)
        self._times: LRUCache[str, list[float]] = LRUCache(most)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What its methods may raise: nothing."""
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add ``amount`` to a counter that lives ``expiry`` seconds from its first one; the sum."""
        now = self._clock()
        count, until = self._counts.get(key, (0, 0.0))
        if until <= now:
            count, until = 0, now + expiry
        self._counts[key] = count + amount, until
        return count + amount

    async def get(self, key: str) -> int:
        """Return the sum of a counter."""
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > self._clock() else 0

    async def get_expiry(self, key: str) -> float:
        """Return when a counter ends."""
        return self._counts.get(key, (0, self._clock()))[1]

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add ``amount`` moments unless there would be over ``limit`` in ``expiry`` seconds."""
        now = self._clock()
        times = self._within(key, expiry, now)
        if len(times) + amount > limit:
            return False
        times += [now] * amount
        self._times[key] = times
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the first moment in the last ``expiry`` seconds, and how many there are."""
        now = self._clock()
        times = self._within(key, expiry, now)
        return (times[0] if times else now), len(times)

    async def check(self) -> bool:
        """Return that it works."""
        return True

    async def reset(self) -> int:
        """Forget all; how many counters there were."""
        number = len(self._counts) + len(self._times)
        self._counts.clear()
        self._times.clear()
        return number

    async def clear(self, key: str) -> None:
        """Forget one counter."""
        self._counts.pop(key, None)
        self._times.pop(key, None)

    def _within(self, key: str, expiry: float, now: float) -> list[float]:
        times = self._times.get(key) or []
        del times[: bisect_right(times, now - expiry)]
        return times
