"""Of all hosts one holds a lock, and one whose holder died is free after a while."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from orbit_server.retrieval.words.elasticsearch import build
from orbit_server.retrieval.words.elasticsearch.client import ElasticsearchClient
from orbit_server.retrieval.words.elasticsearch.lock import Locks

from ....support.shared_words import BOTH, elasticsearch

pytestmark = pytest.mark.anyio

MakeLocks = Callable[..., Locks]


@pytest.fixture(params=BOTH)
async def shared(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[ElasticsearchClient, str]]:
    """A client, and the index of locks."""
    async with elasticsearch(request.param) as config, build(config) as words:
        await words.writer()
        yield words.client, words.names.state


async def test_one_holds_it(shared: tuple[ElasticsearchClient, str]) -> None:
    """Others do without, or wait until it is free."""
    one, other = Locks(*shared), Locks(*shared)
    order = []

    async def wait() -> None:
        async with other.held("town", patience=20) as held:
            order.append(f"other {held}")

    async with one.held("town", patience=0) as mine:
        assert mine
        async with other.held("town", patience=0) as held, other.held("x", patience=0) as free:
            assert (held, free) == (False, True)
        task = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        order.append("one is done")
    await task
    assert order == ["one is done", "other True"]


async def test_the_lock_of_a_host_that_died(shared: tuple[ElasticsearchClient, str]) -> None:
    """It is taken over when it has not changed for long enough by the own clock."""
    now = 0.0
    dead, other = Locks(*shared, seconds=1e6), Locks(*shared, seconds=15, clock=lambda: now)
    async with dead.held("town", patience=0):
        for seconds in (0, 14):
            now = seconds
            async with other.held("town", patience=0) as held:
                assert not held
        now = 16
        async with other.held("town", patience=0) as held:
            assert held
    async with dead.held("town", patience=0) as again:  # what it gave back was another's
        assert again


async def test_a_lock_that_is_renewed(shared: tuple[ElasticsearchClient, str]) -> None:
    """It is not taken over, however long it is held."""
    now = 0.0
    one, other = Locks(*shared, seconds=0.3), Locks(*shared, seconds=15, clock=lambda: now)
    async with one.held("town", patience=0):
        for seconds in (0, 20, 40):
            now = seconds
            async with other.held("town", patience=0) as held:
                assert not held
            await asyncio.sleep(1)


async def test_whoever_is_cancelled_frees_it(shared: tuple[ElasticsearchClient, str]) -> None:
    """In the middle of taking it, or of holding it."""
    locks = Locks(*shared)

    async def hold() -> None:
        async with locks.held("town", patience=0) as held:
            assert held
            await asyncio.sleep(60)

    for seconds in (0.0, 0.001, 0.3):
        task = asyncio.create_task(hold())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await locks.close()
        async with Locks(*shared).held("town", patience=0) as held:
            assert held
