"""The counting behind the limits: never more than allowed, nothing lost, memory bounded."""

import asyncio
import tracemalloc
from collections import Counter, deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orbit_server.auth.key import Limits
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Use, Verdict

pytestmark = pytest.mark.anyio

NOON = 1_780_056_000.0  # some day at 12:00 UTC
NONE = Limits(0, 0, 0, 0)


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def now(coroutine: Any) -> Any:
    """Run what has nothing to wait for; it fails here if it does wait."""
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    return done.value.value


def use(key: str = "key_1", visitor: str = "192.0.2.1", used: int = 0, **limits: int) -> Use:
    return Use(key, visitor, replace(NONE, **limits), used)


async def test_a_minute_moves_along() -> None:
    """What was asked a minute ago counts no more; the refusal says when that will be."""
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    twenty = use(requests_per_minute=2)
    assert await limiter.take(twenty) == Verdict(None, 2, 1, 60.0)
    clock.now += 50
    assert (await limiter.take(twenty)).remaining == 0
    assert await limiter.take(twenty) == Verdict("requests_per_minute", 2, 0, 10.0)
    clock.now += 10
    assert (await limiter.take(twenty)).refused is None
    assert (await limiter.take(twenty)).reset == 50


async def test_a_minute_is_never_longer_than_a_minute() -> None:
    """However much time passes while one request is counted."""

    class Running(Clock):
        def __call__(self) -> float:
            self.now += 0.25
            return self.now

    limiter = MemoryLimiter(clock=Running())
    assert (await limiter.take(use(requests_per_minute=2))).reset <= 60


async def test_a_day_is_the_calendars() -> None:
    """It begins at midnight in UTC, whenever the first request came."""
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    daily = use(requests_per_day=2)
    await limiter.take(daily)
    clock.now += 43_199
    await limiter.take(daily)
    assert await limiter.take(daily) == Verdict("requests_per_day", 2, 0, 1.0)
    clock.now += 1
    assert (await limiter.take(daily)).refused is None


async def test_a_restart_does_not_give_the_day_back() -> None:
    """What the table knows of the day counts, once."""
    limiter = MemoryLimiter(clock=Clock())
    for remaining in (1, 0):
        assert (await limiter.take(use(requests_per_day=5, used=3))).remaining == remaining
    assert (await limiter.take(use(requests_per_day=5, used=3))).refused == "requests_per_day"
    over = use("key_2", requests_per_day=5, used=7)
    assert (await limiter.take(over)).refused == "requests_per_day"


async def test_a_refused_request_costs_nothing() -> None:
    """Neither of the limit that it is past nor of another: asking again harms nobody."""
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    both = use(requests_per_minute=1, requests_per_day=2)
    await limiter.take(both)
    for _ in range(50):
        assert (await limiter.take(both)).refused == "requests_per_minute"
    clock.now += 60
    assert (await limiter.take(both)).refused is None
    clock.now += 60
    assert (await limiter.take(both)).refused == "requests_per_day"


async def test_the_longest_wait_is_said() -> None:
    """Whoever waits as long as it says is not refused again by another limit."""
    limiter = MemoryLimiter(clock=Clock())
    both = use(requests_per_minute=1, requests_per_day=1)
    await limiter.take(both)
    assert await limiter.take(both) == Verdict("requests_per_day", 1, 0, 43_200.0)


async def test_visitors_and_keys_are_told_apart() -> None:
    """One that asks too much does not cost another anything."""
    limiter = MemoryLimiter(clock=Clock())
    for key in ("key_1", "key_2"):
        for visitor in ("192.0.2.1", "192.0.2.2"):
            own = use(key, visitor, visitor_per_minute=1)
            assert (await limiter.take(own)).refused is None
            assert (await limiter.take(own)).refused == "visitor_per_minute"


async def test_slots_come_back() -> None:
    """As many at once as allowed, and another as soon as one has ended."""
    limiter = MemoryLimiter(clock=Clock())
    two = use(streams=2)
    for _ in range(3):
        assert [(await limiter.take(two)).refused for _ in range(3)] == [None, None, "streams"]
        limiter.give_back("key_1")
        limiter.give_back("key_1")
    assert limiter.taken == Counter()


async def test_wrong_keys_are_counted_by_address() -> None:
    """Trying costs nothing, only being wrong."""
    clock = Clock()
    limiter = MemoryLimiter(clock=clock)
    for _ in range(5):
        assert (await limiter.guess("192.0.2.1", 2, wrong=False)).refused is None
    await limiter.guess("192.0.2.1", 2, wrong=True)
    assert (await limiter.guess("192.0.2.1", 2, wrong=True)).refused == "wrong_keys"
    assert (await limiter.guess("192.0.2.2", 2, wrong=False)).refused is None
    clock.now += 60
    assert (await limiter.guess("192.0.2.1", 2, wrong=False)).refused is None


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


async def test_many_at_once_get_no_more_than_the_limit() -> None:
    """Calls that overlap are counted one after the other."""
    limiter = MemoryLimiter()
    many = use(requests_per_minute=20, requests_per_day=1000, visitor_per_minute=500)
    verdicts = await asyncio.gather(*(limiter.take(many) for _ in range(300)))
    assert sum(verdict.refused is None for verdict in verdicts) == 20
