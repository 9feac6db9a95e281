"""Which collections are probed when, and what becomes of one that cannot be searched."""

import asyncio
from collections import Counter

import pytest

from orbit_server.errors import CollectionNotFound, SearchError
from orbit_server.observability.collections_check import ALL_FAIL, SOME_FAIL, CollectionsCheck

pytestmark = pytest.mark.anyio


class Collections:
    """Collections that can be broken or held up, and how often each was probed."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.broken: set[str] = set()
        self.held = asyncio.Event()
        self.holding: set[str] = set()
        self.probed: Counter[str] = Counter()
        self.time = 0.0

    async def probe(self, name: str) -> None:
        """Search one of them."""
        self.probed[name] += 1
        if name in self.holding:
            await self.held.wait()
        if name not in self.names:
            raise CollectionNotFound(name)
        if name in self.broken:
            raise SearchError(f"hnsw of {name} is gone")

    async def all(self) -> list[str]:
        """List them."""
        return self.names

    def check(self, wait_seconds: float = 60) -> CollectionsCheck:
        """Return a check of them that goes by ``time``."""
        return CollectionsCheck(
            probe=self.probe,
            names=self.all,
            most=3,
            wait_seconds=wait_seconds,
            now=lambda: self.time,
        )


async def nothing() -> None:
    """Search and find nothing."""


async def failing() -> None:
    """Search and fail."""
    raise SearchError("a page is damaged")


async def test_few_collections_are_all_probed_each_time() -> None:
    """One that fails is named with its cause, until it can be searched again."""
    there = Collections("a", "b")
    async with there.check() as check:
        assert await check.test() == {}
        there.broken = {"b"}
        assert await check.test() == {"status": "error", "error": SOME_FAIL}
        assert check.failing == {"b": "hnsw of b is gone"}
        there.broken = {"a", "b"}
        assert await check.test() == {"status": "error", "error": ALL_FAIL}
        there.broken = set()
        assert await check.test() == {}
        assert check.failing == {}
    assert there.probed == {"a": 4, "b": 4}


async def test_of_many_those_asked_lately_and_the_others_by_turns() -> None:
    """A round probes few of them, and comes to each in time."""
    there = Collections(*(f"c{number:04}" for number in range(2000)))
    async with there.check() as check:
        for _ in range(10):
            await check.watch("c0007", nothing())
            await check.test()
        assert there.probed == {"c1999": 1, "c0007": 10}
        there.broken = {"c1000"}
        for _ in range(2000):
            there.time += 31
            before = there.probed.total()
            await check.test()
            assert there.probed.total() - before <= 4
        assert set(there.probed) == set(there.names)
        assert check.failing == {"c1000": "hnsw of c1000 is gone"}
        assert there.probed["c0007"] < 50  # nobody has asked for a while


async def test_a_collection_that_was_deleted_is_forgotten() -> None:
    """It is no failure, and is not probed again."""
    there = Collections("a", "b")
    async with there.check() as check:
        await check.watch("b", nothing())
        there.broken = {"b"}
        await check.test()
        there.names.remove("b")
        assert await check.test() == {}
        await check.test()
    assert there.probed == {"a": 3, "b": 2}


async def test_a_probe_that_hangs() -> None:
    """It holds up no other, is not started twice, and counts as failed after some seconds only."""
    there = Collections("a", "b")
    there.holding = {"a"}
    async with there.check(wait_seconds=0.5) as check:
        assert await check.test() == {}
        there.time = 5
        assert await check.test() == {}
        there.time = 11
        assert await check.test() == {"status": "error", "error": SOME_FAIL}
        assert check.failing == {"a": "no answer for 10 seconds"}
        assert there.probed == {"a": 1, "b": 3}
        there.held.set()
        assert await check.test() == {}
        there.held.clear()
        await check.test()
    assert len(asyncio.all_tasks()) <= 2  # ours, and the runner's


async def test_it_does_not_open_what_nobody_asks_all_at_once() -> None:
    """With more than a few, the first test probes one."""
    there = Collections("a", "b", "c", "d")
    async with there.check() as check:
        await check.test()
    assert there.probed == {"d": 1}


async def test_a_search_that_failed_counts_though_the_probe_works() -> None:
    """Until another one succeeds, or for a while; a collection that is not there is no failure."""
    there = Collections("a")
    async with there.check() as check:
        for ending in ("success", "time"):
            with pytest.raises(SearchError):
                await check.watch("a", failing())
            assert await check.test() == {"status": "error", "error": ALL_FAIL}
            assert check.failing == {"a": "a page is damaged"}
            if ending == "success":
                await check.watch("a", nothing())
            there.time += 61 * (ending == "time")
            assert await check.test() == {}
        with pytest.raises(CollectionNotFound):
            await check.watch("gone", there.probe("gone"))
        assert await check.test() == {}


async def test_many_that_fail_and_none_that_works() -> None:
    """When all that were asked lately fail, nothing can be answered, whatever the others do."""
    there = Collections(*"abcdefgh")
    async with there.check() as check:
        for count, error in ((1, SOME_FAIL), (2, SOME_FAIL), (3, ALL_FAIL)):
            with pytest.raises(SearchError):
                await check.watch("abc"[count - 1], failing())
            assert await check.test() == {"status": "error", "error": error}
        await check.watch("d", nothing())
        assert await check.test() == {"status": "error", "error": SOME_FAIL}


async def test_a_collection_of_which_a_part_is_missing() -> None:
    """What is listed and not found is no deleted collection."""
    there = Collections("a", "b")

    async def incomplete(name: str) -> None:
        if name == "b":
            raise CollectionNotFound("no segment")

    async with CollectionsCheck(probe=incomplete, names=there.all) as check:
        assert await check.test() == {"status": "error", "error": SOME_FAIL}
        assert check.failing == {"b": "no segment"}


async def test_a_listing_that_takes_long() -> None:
    """Those asked lately are probed all the same, and the others once the names are known."""
    there = Collections("a", "b")
    listed = asyncio.Event()

    async def slow() -> list[str]:
        await listed.wait()
        return there.names

    async with CollectionsCheck(probe=there.probe, names=slow, wait_seconds=1) as check:
        await check.watch("b", nothing())
        assert await check.test() == {}
        assert there.probed == {"b": 1}
        listed.set()
        await check.test()
        assert there.probed == {"a": 1, "b": 2}
