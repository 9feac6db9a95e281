"""The counting behind the limits, with the strategies of the package ``limits``.

A minute is a moving window: never more than the limit in any 60 seconds. A day is the calendar day
in UTC.
"""

import time
from collections import Counter
from collections.abc import Callable

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from .counters import BoundedCounters
from .limits import Use, Verdict

_DAY = 86_400.0


class Window:
    """One limit of one request: how many are left, and when there will be more."""

    def __init__(
        self, name: str, strategy: RateLimiter, item: RateLimitItem, *identifiers: str
    ) -> None:
        self.name = name
        self.strategy = strategy
        self.item = item
        self.identifiers = identifiers

    async def state(self, now: float) -> tuple[int, float]:
        """Return how many are left, and the seconds until there are more."""
        stats = await self.strategy.get_window_stats(self.item, *self.identifiers)
        if isinstance(self.item, RateLimitItemPerDay):
            return max(0, stats.remaining), _DAY - now % _DAY
        # The clock has gone on since ``now``: a minute that began a moment ago is no longer one.
        reset = min(max(0.0, stats.reset_time - now), float(self.item.get_expiry()))
        return max(0, stats.remaining), reset

    async def hit(self, cost: int = 1) -> bool:
        """Count one request, or several; whether that was possible."""
        return await self.strategy.hit(self.item, *self.identifiers, cost=cost)


class MemoryLimiter:
    """Counts in the memory of this process; ``clock`` tells the seconds since 1970.

    Counters of addresses are at most ``most_addresses``; those of keys have a place of their own,
    so that no crowd of addresses can drive them out.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        most_keys: int = 100_000,
        most_addresses: int = 100_000,
    ) -> None:
        self._clock = clock
        keys: Storage = BoundedCounters(most=most_keys, clock=clock)
        addresses: Storage = BoundedCounters(most=most_addresses, clock=clock)
        self._minute = MovingWindowRateLimiter(keys)
        self._day = FixedWindowRateLimiter(keys)
        self._visitor = MovingWindowRateLimiter(addresses)
        self.taken: Counter[str] = Counter()

    async def take(self, use: Use) -> Verdict:
        """Count ``use`` if no limit forbids it; one that is refused costs nothing of any limit.

        After a refusal, what is said is when all limits will allow it.
        """
        now = self._clock()
        windows = await self._windows(use, now)
        nearest: Verdict | None = None
        past: list[Verdict] = []
        for window in windows:
            remaining, reset = await window.state(now)
            found = Verdict(None, window.item.amount, remaining - 1, reset)
            if remaining <= 0:
                past.append(found._replace(refused=window.name, remaining=0))
            elif nearest is None or found.remaining < nearest.remaining:
                nearest = found
        if past:
            return max(past, key=lambda verdict: verdict.reset)
        streams = use.limits.streams
        if streams and self.taken[use.key_id] >= streams:
            return Verdict("streams", streams, 0, 1.0)
        for window in windows:
            if not await window.hit():  # another process was faster
                return Verdict(window.name, window.item.amount, 0, (await window.state(now))[1])
        # Last, and without anything to wait for after it: who has a slot knows of it.
        self.taken[use.key_id] += 1
        return nearest or Verdict(None)

    def give_back(self, key_id: str, number: int = 1) -> None:
        """Note that requests that were admitted have ended."""
        self.taken[key_id] -= number
        if self.taken[key_id] <= 0:
            del self.taken[key_id]

    async def guess(self, address: str, most: int, *, wrong: bool) -> Verdict:
        """Tell whether ``address`` may try a key after ``most`` wrong ones a minute at most."""
        now = self._clock()
        window = Window(
            "wrong_keys", self._visitor, RateLimitItemPerMinute(most), "wrong keys", address
        )
        if wrong:
            await window.hit()
        remaining, reset = await window.state(now)
        return Verdict(None if remaining else window.name, most, remaining, reset)

    async def _windows(self, use: Use, now: float) -> list[Window]:
        limits, key = use.limits, use.key_id
        windows = []
        if limits.visitor_per_minute:
            item: RateLimitItem = RateLimitItemPerMinute(limits.visitor_per_minute)
            windows.append(
                Window("visitor_per_minute", self._visitor, item, "visitor", key, use.visitor)
            )
        if limits.requests_per_minute:
            item = RateLimitItemPerMinute(limits.requests_per_minute)
            windows.append(Window("requests_per_minute", self._minute, item, "key", key))
        if limits.requests_per_day:
            item = RateLimitItemPerDay(limits.requests_per_day)
            today = Window("requests_per_day", self._day, item, "key", key, str(now // _DAY))
            remaining, _ = await today.state(now)
            if use.used and remaining == item.amount:
                await today.hit(use.used)  # before this process started
            windows.append(today)
        return windows
