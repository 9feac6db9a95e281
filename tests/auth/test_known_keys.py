"""What is known of all keys together: read now and then, whoever asks how often."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orbit_server.auth.keys import Keys
from orbit_server.auth.known_keys import Snapshot
from orbit_server.errors import KeysUnavailable

pytestmark = pytest.mark.anyio


async def test_hashes_and_origins_of_active_keys(tmp_path: Path) -> None:
    """Also of a secret that was rotated; what has changed here counts at once."""
    async with Keys(f"sqlite+aiosqlite:///{tmp_path}/orbit.db") as keys:
        assert not await keys.known.name_origin("https://town.example")
        key, old = await keys.create("town", "Ann", origins=["https://*.town.example"])
        _, other = await keys.create("town", "Bob")
        _, new = await keys.rotate(key.id, until=key.created_at.replace(year=2100)) or (None, "")
        for secret, known in ((old, True), (new, True), (other, True), ("api_x", False)):
            assert await keys.known.include(secret) is known
        assert not await keys.known.include("ключ")
        assert await keys.known.name_origin("https://www.town.example")
        assert not await keys.known.name_origin("https://evil.example")
        await keys.deactivate(key.id)
        assert not await keys.known.include(new)
        assert not await keys.known.name_origin("https://www.town.example")


async def test_what_has_expired_is_known_no_more(tmp_path: Path) -> None:
    """Everybody has the key of a page that was replaced: trying it must not cost a look-up each."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    async with Keys(url, now=lambda: now) as keys:
        _, expired = await keys.create("town", "Ann", expires_at=now + timedelta(days=2))
        key, old = await keys.create("town", "Bob")
        _, new = await keys.rotate(key.id, until=now + timedelta(days=1)) or (None, "")
        found = []
        for _ in range(3):
            found.append([await keys.known.include(each) for each in (new, expired, old)])
            now += timedelta(days=1)
            keys.forget()
    assert found == [[True, True, True], [True, True, False], [True, False, False]]


async def test_while_nothing_can_be_read_a_page_may_ask(tmp_path: Path) -> None:
    """It would not learn otherwise that the keys cannot be checked."""
    keys = Keys(f"sqlite+aiosqlite:///{tmp_path}/orbit.db")
    assert await keys.known.name_origin("https://evil.example")


async def test_a_request_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A database that hangs takes no more of its time than ``timeout`` says."""

    class Hanging:
        @asynccontextmanager
        async def begin(self) -> AsyncIterator[None]:
            await asyncio.Event().wait()
            yield

    keys = Keys(f"sqlite+aiosqlite:///{tmp_path}/orbit.db", timeout=0.01)
    keys.database._engine = Hanging()  # type: ignore[assignment]
    async with asyncio.timeout(30):
        with pytest.raises(KeysUnavailable, match="no answer in time"):
            await keys.known.include("api_x")
        assert await keys.known.name_origin("https://town.example")


async def test_a_crowd_reads_once() -> None:
    """And again when the time is over, when it is told to, or when reading failed."""
    reads = 0
    now = 0.0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        if reads == 2:
            raise OSError
        return reads

    snapshot = Snapshot(read, seconds=5, clock=lambda: now)
    assert await asyncio.gather(*(snapshot.get() for _ in range(50))) == [1] * 50
    now = 5.0
    with pytest.raises(OSError):
        await snapshot.get()
    assert [await snapshot.get() for _ in range(5)] == [3] * 5
    snapshot.clear()
    assert await snapshot.get() == 4


async def test_a_crowd_waits_for_one_failure() -> None:
    """While the database does not answer, nobody waits for the time-outs of all before."""
    reads = 0
    failing = asyncio.Event()

    async def read() -> int:
        nonlocal reads
        reads += 1
        await failing.wait()
        raise OSError

    snapshot = Snapshot(read, seconds=5, clock=lambda: 0.0)
    crowd = [asyncio.ensure_future(snapshot.get()) for _ in range(50)]
    await asyncio.sleep(0)
    failing.set()
    found = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(each, OSError) for each in found)
    assert reads == 1
    with pytest.raises(OSError):
        await snapshot.get()  # who comes later tries again
    assert reads == 2


async def test_who_leaves_takes_nobody_along() -> None:
    """The others read on when the one who reads is cancelled."""

    async def read() -> int:
        await asyncio.sleep(0)
        return 1

    snapshot = Snapshot(read, seconds=5, clock=lambda: 0.0)
    first, second = (asyncio.ensure_future(snapshot.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1


async def test_a_new_key_is_known_at_once(tmp_path: Path) -> None:
    """Where it was made: whoever has guessed too much before can use it."""
    async with Keys(f"sqlite+aiosqlite:///{tmp_path}/orbit.db") as keys:
        assert not await keys.known.include("api_" + "x" * 32)
        _, secret = await keys.create("town", "Ann")
        assert await keys.known.include(secret)
