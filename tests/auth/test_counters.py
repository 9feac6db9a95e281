"""Counters in memory: what a window holds, and how many there are."""

import pytest

from orbit_server.auth.counters import BoundedCounters

from ..support.timing import Clock

pytestmark = pytest.mark.anyio


async def test_a_moving_window() -> None:
    """Moments are in it until they are as old as it is long; what is refused is not."""
    clock = Clock(1000.0)
    counters = BoundedCounters(most=10, clock=clock)
    assert await counters.get_moving_window("a", 2, 60) == (1000.0, 0)
    assert [await counters.acquire_entry("a", 2, 60) for _ in range(3)] == [True, True, False]
    clock.now = 1059.9
    assert await counters.get_moving_window("a", 2, 60) == (1000.0, 2)
    clock.now = 1060.0
    assert await counters.get_moving_window("a", 2, 60) == (1060.0, 0)
    assert not await counters.acquire_entry("a", 2, 60, amount=3)
    assert await counters.acquire_entry("a", 2, 60, amount=2)


async def test_a_count_ends_with_its_time() -> None:
    """It lives from its first one on, whatever comes later."""
    clock = Clock(1000.0)
    counters = BoundedCounters(most=10, clock=clock)
    assert [await counters.incr("a", 60, amount) for amount in (1, 3)] == [1, 4]
    clock.now = 1059.0
    assert (await counters.incr("a", 60), await counters.get_expiry("a")) == (5, 1060.0)
    clock.now = 1060.0
    assert (await counters.get("a"), await counters.incr("a", 60)) == (0, 1)


async def test_the_oldest_makes_room() -> None:
    """Oldest is what was not asked for longest."""
    counters = BoundedCounters(most=2, clock=Clock(1000.0))
    for key in ("a", "b"):
        await counters.incr(key, 60)
        await counters.acquire_entry(key, 5, 60)
    await counters.get("a")
    await counters.get_moving_window("a", 5, 60)
    await counters.incr("c", 60)
    await counters.acquire_entry("c", 5, 60)
    assert [await counters.get(key) for key in "abc"] == [1, 0, 1]
    assert [(await counters.get_moving_window(key, 5, 60))[1] for key in "abc"] == [1, 0, 1]


async def test_all_or_one_can_be_forgotten() -> None:
    """As the protocol of the package wants it."""
    counters = BoundedCounters(most=9, clock=Clock(1000.0))
    for key in ("a", "b"):
        await counters.incr(key, 60)
    await counters.clear("a")
    assert await counters.check()
    assert await counters.get("a") == 0
    assert await counters.reset() == 1
    assert await counters.get("b") == 0
