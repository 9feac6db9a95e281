"""Uses of keys, written behind the requests."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from orbit_server.auth.database import Database
from orbit_server.auth.key_uses import KeyUses
from orbit_server.auth.keys import Keys

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/orbit.db"


async def test_what_is_noted_is_written_at_the_end(url: str) -> None:
    """Counts and last uses of many keys, in one go."""
    async with Keys(url) as keys:
        made = [(await keys.create("town", str(n)))[0] for n in range(5)]
        uses = KeyUses(keys.database, count_seconds=3600)
        for number, key in enumerate(made):
            uses.note(key.id, NOON)
            for _ in range(number):
                uses.count(key.id, NOON)
        await uses.close()
        found = await keys.list()
    assert [key.used_today(NOON) for key in found] == [0, 1, 2, 3, 4]
    assert all(key.last_used_at == NOON for key in found)


async def test_what_cannot_be_written_is_kept(url: str, tmp_path: Path) -> None:
    """While another process holds the file; it is written with the next."""
    async with Keys(url, timeout=0.05) as keys:
        key, _ = await keys.create("town", "Ann")
        uses = KeyUses(keys.database, count_seconds=3600)
        with closing(sqlite3.connect(tmp_path / "orbit.db")) as writer:
            writer.execute("BEGIN IMMEDIATE")
            uses.count(key.id, NOON)
            await uses.close()
        uses.count(key.id, NOON)
        await uses.close()
        assert (await keys.list())[0].used_today(NOON) == 2


async def test_nothing_noted_writes_nothing(url: str) -> None:
    """Closing is then at once."""
    async with Keys(url) as keys:
        await KeyUses(keys.database, count_seconds=0).close()


async def test_a_slow_database_does_not_end_the_counting(url: str) -> None:
    """What is counted while it writes is written, and so is what comes after."""

    class Slow(Database):
        def __init__(self) -> None:
            super().__init__(url, timeout=5)
            self.written: asyncio.Queue[None] = asyncio.Queue()
            self.go_on = asyncio.Event()

        @asynccontextmanager
        async def transaction(
            self, *, watched: bool = False, in_time: bool = False
        ) -> AsyncIterator[AsyncConnection]:
            await self.go_on.wait()
            async with super().transaction(watched=watched) as connection:
                yield connection
            self.written.put_nowait(None)

    async with Keys(url) as keys:
        key, _ = await keys.create("town", "Ann")
    database = Slow()
    database.open(create=False)
    uses, now = KeyUses(database, count_seconds=0.01), datetime.now(UTC)
    uses.note(key.id, now)
    await asyncio.sleep(0)  # it writes
    uses.count(key.id, now)
    await asyncio.sleep(0.05)  # and the time to write this comes
    database.go_on.set()
    async with asyncio.timeout(20):
        for _ in range(2):
            await database.written.get()
        uses.count(key.id, now)
        await database.written.get()
    await uses.close()
    await database.close()


async def test_a_busy_key_is_not_written_all_the_time(url: str) -> None:
    """What is counted while it writes waits for its time, like everything that is counted."""
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    transactions = 0

    class Watched(Database):
        @asynccontextmanager
        async def transaction(
            self, *, watched: bool = False, in_time: bool = False
        ) -> AsyncIterator[AsyncConnection]:
            nonlocal transactions
            transactions += 1
            began.set()
            await go_on.wait()
            async with super().transaction(watched=watched) as connection:
                yield connection
            ended.set()

    async with Keys(url) as keys:
        key, _ = await keys.create("town", "Ann")
    database = Watched(url, timeout=5)
    database.open(create=False)
    uses = KeyUses(database, count_seconds=3600)
    uses.note(key.id, NOON)
    await began.wait()
    uses.count(key.id, NOON)
    go_on.set()
    await ended.wait()
    await asyncio.sleep(0.05)
    assert transactions == 1
    await uses.close()
    assert transactions == 2
    await database.close()
