"""What all limiters do alike: in memory, over the socket of another process, and in Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Limiter, Verdict
from orbit_server.auth.redis import RedisLimiter
from orbit_server.auth.shared_limiter import SharedLimiter, limiter_at

from ..support.limits import use
from ..support.redis import RedisServer, missing, redis_server
from ..support.timing import Clock

pytestmark = pytest.mark.anyio

WITH_REDIS = [
    pytest.mark.process,
    pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}"),
]
PATIENCE = 60.0  # seconds: a machine may be busy


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "shared", pytest.param("redis", marks=WITH_REDIS)])
async def limiter(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Limiter]:
    """Each of them, with nothing counted yet."""
    memory = MemoryLimiter(clock=clock)
    match request.param:
        case "memory":
            yield memory
        case "shared":
            with limiter_at(tmp_path / "limits", lambda: memory):
                async with SharedLimiter(tmp_path / "limits", seconds=PATIENCE) as shared:
                    yield shared
        case _:
            server: RedisServer = request.getfixturevalue("running")
            server.command("FLUSHALL")
            async with RedisLimiter(
                server.url, local=memory, seconds=PATIENCE, clock=clock
            ) as redis:
                yield redis


async def test_a_minute_moves_along(limiter: Limiter, clock: Clock) -> None:
    """What was asked a minute ago counts no more; the refusal says when that will be."""
    two = use(requests_per_minute=2)
    assert await limiter.take(two) == Verdict(None, 2, 1, 60.0)
    clock.now += 50
    assert (await limiter.take(two)).remaining == 0
    assert await limiter.take(two) == Verdict("requests_per_minute", 2, 0, 10.0)
    clock.now += 10
    assert (await limiter.take(two)).refused is None
    assert (await limiter.take(two)).reset == 50


async def test_a_day_is_the_calendars(limiter: Limiter, clock: Clock) -> None:
    """It begins at midnight in UTC, whenever the first request came."""
    daily = use(requests_per_day=2)
    await limiter.take(daily)
    clock.now += 43_199
    await limiter.take(daily)
    assert await limiter.take(daily) == Verdict("requests_per_day", 2, 0, 1.0)
    clock.now += 1
    assert (await limiter.take(daily)).refused is None


async def test_a_restart_does_not_give_the_day_back(limiter: Limiter) -> None:
    """What the table knows of the day counts, once."""
    for remaining in (1, 0):
        verdict = await limiter.take(use(requests_per_day=5, used=3))
        assert (verdict.refused, verdict.remaining) == (None, remaining)
    assert (await limiter.take(use(requests_per_day=5, used=3))).refused == "requests_per_day"
    over = use("key_2", requests_per_day=5, used=7)
    assert (await limiter.take(over)).refused == "requests_per_day"


async def test_a_refused_request_costs_nothing(limiter: Limiter, clock: Clock) -> None:
    """Neither of the limit that it is past nor of another: asking again harms nobody."""
    both = use(requests_per_minute=1, requests_per_day=2)
    await limiter.take(both)
    for _ in range(50):
        assert (await limiter.take(both)).refused == "requests_per_minute"
    clock.now += 60
    assert (await limiter.take(both)).refused is None
    clock.now += 60
    assert (await limiter.take(both)).refused == "requests_per_day"


async def test_the_longest_wait_is_said(limiter: Limiter) -> None:
    """Whoever waits as long as it says is not refused again by another limit."""
    both = use(requests_per_minute=1, requests_per_day=1)
    await limiter.take(both)
    assert await limiter.take(both) == Verdict("requests_per_day", 1, 0, 43_200.0)


async def test_visitors_and_keys_are_told_apart(limiter: Limiter) -> None:
    """One that asks too much does not cost another anything."""
    for key in ("key_1", "key_2"):
        for visitor in ("192.0.2.1", "192.0.2.2"):
            own = use(key, visitor, visitor_per_minute=1)
            assert (await limiter.take(own)).refused is None
            assert (await limiter.take(own)).refused == "visitor_per_minute"


async def test_slots_come_back(limiter: Limiter) -> None:
    """As many at once as allowed, and another as soon as one has ended."""
    two = use(streams=2)
    for _ in range(3):
        assert [(await limiter.take(two)).refused for _ in range(3)] == [None, None, "streams"]
        limiter.give_back("key_1")
        limiter.give_back("key_1")
    assert (await limiter.take(use(streams=1))).refused is None


async def test_without_limits_nothing_is_counted(limiter: Limiter) -> None:
    """And what has ended is not missed."""
    assert await limiter.take(use()) == Verdict(None)
    limiter.give_back("key_1")
    assert (await limiter.take(use(streams=1))).refused is None


async def test_wrong_keys_are_counted_by_address(limiter: Limiter, clock: Clock) -> None:
    """Trying costs nothing, only being wrong."""
    for _ in range(5):
        assert (await limiter.guess("192.0.2.1", 2, wrong=False)).refused is None
    await limiter.guess("192.0.2.1", 2, wrong=True)
    assert (await limiter.guess("192.0.2.1", 2, wrong=True)).refused == "wrong_keys"
    assert (await limiter.guess("192.0.2.2", 2, wrong=False)).refused is None
    clock.now += 60
    assert (await limiter.guess("192.0.2.1", 2, wrong=False)).refused is None


async def test_many_at_once_get_no_more_than_the_limit(limiter: Limiter) -> None:
    """Calls that overlap are counted one after the other."""
    many = use(requests_per_minute=20, requests_per_day=1000, visitor_per_minute=500)
    verdicts = await asyncio.gather(*(limiter.take(many) for _ in range(300)))
    assert sum(verdict.refused is None for verdict in verdicts) == 20


async def test_slots_of_requests_that_are_cancelled_are_free(limiter: Limiter) -> None:
    """At any moment while they wait for one; the slots of others stay theirs."""
    await limiter.take(use(streams=1000))
    for moment in range(50):
        tasks = [asyncio.create_task(limiter.take(use(streams=1000))) for _ in range(5)]
        await asyncio.sleep(moment * 0.0002)
        for task in tasks:
            task.cancel()
        for done in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(done, Verdict):
                limiter.give_back("key_1")
    async with asyncio.timeout(PATIENCE):
        while (await limiter.take(use(streams=2))).refused is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await limiter.take(use(streams=2))).refused == "streams"


async def test_a_refused_request_that_is_cancelled_gives_back_nothing(limiter: Limiter) -> None:
    """It has taken nothing."""
    for _ in range(2):
        await limiter.take(use(streams=2))
    for moment in range(40):
        task = asyncio.create_task(limiter.take(use(streams=2)))
        await asyncio.sleep(moment * 0.0001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert (await limiter.take(use(streams=2))).refused == "streams"
