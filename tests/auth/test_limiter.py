"""The counting in memory: never more than allowed, nothing lost, memory bounded.

What it does like all limiters is in ``test_limiters``.
"""

import tracemalloc
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orbit_server.auth.key import Limits
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Use

from ..support.limits import use
from ..support.timing import Clock

pytestmark = pytest.mark.anyio


def now(coroutine: Any) -> Any:
    """Run what has nothing to wait for; it fails here if it does wait."""
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    return done.value.value


async def test_a_minute_is_never_longer_than_a_minute() -> None:
    """However much time passes while one request is counted."""

    class Running(Clock):
        def __call__(self) -> float:
            self.now += 0.25
            return self.now

    limiter = MemoryLimiter(clock=Running())
    assert (await limiter.take(use(requests_per_minute=2))).reset <= 60


@settings(max_examples=150, deadline=None)
@given(
    limit=st.integers(1, 8),
    pauses=st.lists(st.floats(0, 40, allow_nan=False), min_size=1, max_size=80),
)
def test_no_minute_has_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    """Whatever the pauses: at most so many in any minute, and nobody below it is refused."""
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    admitted: deque[float] = deque()
    for pause in pauses:
        clock.now += pause
        while admitted and admitted[0] <= clock.now - 60:
            admitted.popleft()
        verdict = now(limiter.take(use(requests_per_minute=limit)))
        assert (verdict.refused is None) == (len(admitted) < limit)
        if verdict.refused is None:
            admitted.append(clock.now)
        assert verdict.remaining == limit - len(admitted)
        assert 0 <= verdict.reset <= 60


class ManyKeys(RuleBasedStateMachine):
    """Requests of some keys from some addresses, which begin and end in any order."""

    LIMITS = Limits(requests_per_minute=6, requests_per_day=9, streams=3, visitor_per_minute=4)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.limiter = MemoryLimiter(clock=self.clock)
        self.open: list[str] = []
        self.admitted: list[tuple[float, str, str]] = []

    @rule(key=st.sampled_from("ab"), visitor=st.sampled_from("12"))
    def begin(self, key: str, visitor: str) -> None:
        verdict = now(self.limiter.take(Use(key, visitor, self.LIMITS)))
        past = self.past(key, visitor)
        assert (verdict.refused is None) == (not past)
        assert verdict.refused is None or verdict.refused in past
        if verdict.refused is None:
            self.open.append(key)
            self.admitted.append((self.clock.now, key, visitor))

    def past(self, key: str, visitor: str) -> set[str]:
        """The limits that a request of now would be past."""
        own = [(when, who) for when, of, who in self.admitted if of == key]
        minute = [who for when, who in own if when > self.clock.now - 60]
        day = [when for when, _ in own if when // 86_400 == self.clock.now // 86_400]
        found = {
            "requests_per_minute": len(minute) >= 6,
            "visitor_per_minute": minute.count(visitor) >= 4,
            "requests_per_day": len(day) >= 9,
            "streams": self.open.count(key) >= 3,
        }
        return {name for name, reached in found.items() if reached}

    @rule(which=st.integers(0, 20))
    def end(self, which: int) -> None:
        if self.open:
            self.limiter.give_back(self.open.pop(which % len(self.open)))

    @rule(seconds=st.sampled_from([1.0, 7.0, 29.5, 60.0, 3600.0, 43_200.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def slots_are_those_that_are_open(self) -> None:
        assert self.limiter.taken == Counter(self.open)


TestManyKeys = ManyKeys.TestCase
TestManyKeys.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)


async def test_a_crowd_of_addresses_takes_bounded_memory() -> None:
    """And no counter of a key away: only addresses that were quiet longest are forgotten."""
    limiter = MemoryLimiter(clock=Clock(), most_addresses=1000)
    both = use(visitor="first", requests_per_day=5, visitor_per_minute=5)
    await limiter.take(both)

    async def crowd(begin: int) -> None:
        for number in range(begin, begin + 5000):
            await limiter.take(use("key_2", str(number), visitor_per_minute=5))
            limiter.give_back("key_2")

    await crowd(0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await crowd(5000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 500_000
    verdict = await limiter.take(both)
    assert (verdict.limit, verdict.remaining) == (5, 3)
