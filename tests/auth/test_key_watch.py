"""``KeyWatch``: requests under way end with their key, and many of them cost one question."""

import asyncio
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orbit_server.auth.key import Key
from orbit_server.auth.key_watch import KeyWatch
from orbit_server.auth.keys import Keys
from orbit_server.errors import KeysUnavailable

pytestmark = pytest.mark.anyio

ANN = Key("key_1", "api_", "town", "Ann", "", datetime.now(UTC), None, True, None, None)


class Table:
    """Says which hashes are keys, or fails; notes what it was asked."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.asked: list[list[str]] = []
        self.failure: Exception | None = None
        self.again = asyncio.Event()

    async def usable(self, digests: Collection[str]) -> Collection[str]:
        self.asked.append(sorted(digests))
        self.again.set()
        if self.failure:
            raise self.failure
        return [digest for digest in digests if digest in self.good]

    async def was_asked(self) -> None:
        """Return when a question was asked, and its answer was used."""
        async with asyncio.timeout(30):
            self.again.clear()
            await self.again.wait()


def key(digest: str) -> Key:
    return replace(ANN, digest=digest)


async def test_every_request_of_an_ended_key_is_told_once() -> None:
    """Also one that begins later within another; requests with other keys go on."""
    table, told = Table("a", "b"), []
    async with KeyWatch(table.usable, seconds=0.01) as watch:
        with ExitStack() as stack:
            for name, digest in (("one", "a"), ("two", "a"), ("three", "b")):
                use = watch.using(key(digest), lambda name=name: told.append(name))  # type: ignore[misc]
                stack.enter_context(use)
            await table.was_asked()
            assert told == []
            table.good.remove("a")
            await table.was_asked()
            await table.was_asked()
            assert sorted(told) == ["one", "two"]
            with watch.using(key("a"), lambda: told.append("late")):
                assert told[-1] == "late"
        with watch.using(key("a"), lambda: told.append("new")):
            assert "new" not in told  # whoever is let in again begins anew


async def test_an_ended_key_is_not_asked_about_again() -> None:
    """However long its requests take to end: each answer would make all keys be read anew."""
    table = Table("b")
    async with KeyWatch(table.usable, seconds=0.01) as watch:
        with watch.using(key("a")), watch.using(key("b")):
            await table.was_asked()
            await table.was_asked()
    assert table.asked[0] == ["a", "b"]
    assert table.asked[1:] == [["b"]] * (len(table.asked) - 1)


async def test_a_question_is_about_all_keys_at_once() -> None:
    """Each once, however many requests it has; nothing is asked when nobody is there."""
    table = Table("a", "b")
    async with KeyWatch(table.usable, seconds=0.01) as watch:
        await asyncio.sleep(0.05)
        assert table.asked == []
        with ExitStack() as stack:
            for _ in range(50):
                for digest in ("a", "b"):
                    stack.enter_context(watch.using(key(digest)))
            await table.was_asked()
        assert table.asked[-1] == ["a", "b"]
        await asyncio.sleep(0.05)
        number = len(table.asked)
        await asyncio.sleep(0.05)
        assert len(table.asked) == number


async def test_the_default_caller_has_no_key_that_could_end() -> None:
    """Nothing is asked for it."""
    table = Table()
    async with KeyWatch(table.usable, seconds=0.001) as watch:
        with watch.using(key(""), lambda: pytest.fail("ended")):
            await asyncio.sleep(0.02)
    assert table.asked == []


@pytest.mark.parametrize("failure", [KeysUnavailable("down"), RuntimeError("odd")])
async def test_an_outage_ends_nothing(failure: Exception) -> None:
    """And is over when the table answers again."""
    table, told = Table("a"), []
    async with KeyWatch(table.usable, seconds=0.01) as watch:
        with watch.using(key("a"), lambda: told.append("a")):
            table.failure = failure
            await table.was_asked()
            assert told == []
            table.failure = None
            table.good.clear()
            await table.was_asked()
            assert told == ["a"]


async def test_what_ends_a_key(tmp_path: Path) -> None:
    """It is deactivated, deleted, expired, or replaced; limits and sites end no answer."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    async with Keys(url, now=lambda: now) as keys:
        names = ("stays", "limited", "kept", "inactive", "deleted", "replaced", "old", "expired")
        found = {}
        for name in names:
            expires = now + timedelta(hours=1) if name == "expired" else None
            made, secret = await keys.create("town", name, expires_at=expires)
            verified = await keys.verify(secret)
            assert verified is not None and verified.id == made.id
            assert verified.digest and verified.digest not in repr(verified)
            found[verified.digest] = name
            match name:
                case "limited":
                    await keys.limit(made.id, {"streams": 1}, origins=["https://a"])
                case "kept":
                    await keys.rotate(made.id, until=now + timedelta(days=7))
                case "old":
                    await keys.rotate(made.id, until=now + timedelta(hours=1))
                case "inactive":
                    await keys.deactivate(made.id)
                case "deleted":
                    await keys.delete(made.id)
                case "replaced":
                    await keys.rotate(made.id)
        usable = [found[digest] for digest in await keys.usable(list(found))]
        assert sorted(usable) == ["expired", "kept", "limited", "old", "stays"]
        now += timedelta(hours=1)
        usable = [found[digest] for digest in await keys.usable(list(found))]
        assert sorted(usable) == ["kept", "limited", "stays"]
