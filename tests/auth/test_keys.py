"""API keys on real database files: what is stored, remembered, revoked, and said on an outage."""

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import ANY

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from orbit_server.auth.key import Key, Limits, parse_expiry
from orbit_server.auth.keys import Keys
from orbit_server.errors import Conflict, KeysUnavailable, NotStarted, Unprocessable

pytestmark = pytest.mark.anyio

POSTGRES_URL = os.environ.get("POSTGRES_URL", "")
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
METHODS: dict[str, Callable[[Keys], Awaitable[object]]] = {
    "create": lambda keys: keys.create("town", "Ann"),
    "list": lambda keys: keys.list(),
    "find": lambda keys: keys.find("key_0123456789ab"),
    "deactivate": lambda keys: keys.deactivate("key_0123456789ab"),
    "delete": lambda keys: keys.delete("key_0123456789ab"),
    "limit": lambda keys: keys.limit("key_0123456789ab", {}),
    "rotate": lambda keys: keys.rotate("key_0123456789ab"),
    "verify": lambda keys: keys.verify("api_" + "x" * 32),
    "ping": lambda keys: keys.ping(),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


class Time:
    """A clock and a calendar that move only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


class PausedReads(Keys):
    """Keys whose answer to ``verify`` stays between the database and the caller until let go."""

    def pause(self) -> None:
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    async def _stored(self, digest: str) -> Key | None:
        key = await super()._stored(digest)
        self.read.set()
        await self.go_on.wait()
        return key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "orbit.db"


@pytest.fixture
def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES_URL else ["sqlite"])
async def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """The address of an empty database, of each kind that is there."""
    if request.param == "sqlite":
        return sqlite_url
    await execute(POSTGRES_URL, "DROP TABLE IF EXISTS api_keys, schema_versions")
    return POSTGRES_URL


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def keys(url: str, time: Time) -> AsyncIterator[Keys]:
    async with Keys(url, clock=time.clock, now=time.now) as opened:
        yield opened


async def execute(url: str, *statements: str) -> None:
    """Change the database behind the back of every Keys object."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))
    await engine.dispose()


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every statement that any engine sends."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


# What is stored


async def test_a_new_key_opens_its_collection(keys: Keys) -> None:
    """A key is shown once and then found again by itself, with all that was said about it."""
    expires = datetime(2026, 6, 1, 2, 0, tzinfo=timezone(timedelta(hours=2)))
    key, secret = await keys.create("town", "Ann — Zoë", "for\nthe site", expires, "cumulative")

    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", secret)
    assert re.fullmatch(r"key_[0-9a-f]{12}", key.id)
    assert key == Key(
        id=key.id,
        prefix=secret[:8],
        collection="town",
        client_name="Ann — Zoë",
        notes="for\nthe site",
        created_at=START,
        expires_at=datetime(2026, 6, 1, tzinfo=UTC),
        active=True,
        last_used_at=None,
        stream_format="cumulative",
    )
    found = await keys.find(secret)
    assert found == key
    assert found.created_at.utcoffset() == timedelta(0)
    verified = await keys.verify(secret)
    assert verified is not None
    assert verified.collection == "town"


async def test_keys_carry_the_configured_prefix(sqlite_url: str) -> None:
    """The configured prefix begins the key, and four more characters of it are visible."""
    async with Keys(sqlite_url, prefix="orbit-") as keys:
        key, secret = await keys.create("town", "Ann")
        assert re.fullmatch(r"orbit-[A-Za-z0-9]{32}", secret)
        assert key.prefix == secret[:10]


async def test_the_secret_is_nowhere(
    sqlite_url: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the files nor a representation nor the most talkative log hold the key."""
    caplog.set_level("DEBUG")
    async with Keys(sqlite_url) as keys:
        key, secret = await keys.create("town", "Ann")
        await keys.verify(secret)
        await keys.find(secret)
        await keys.deactivate(secret)
        hidden = secret[len(key.prefix) :]
        assert hidden not in repr(key) + repr(keys) + caplog.text
        for file in path.parent.iterdir():
            assert hidden.encode() not in file.read_bytes()


async def test_list_has_no_cap_and_the_newest_last(keys: Keys, time: Time) -> None:
    """All keys are listed in the order of their making."""
    made = []
    for number in range(130):
        time.seconds += 1
        made.append((await keys.create("town", f"client {number}"))[0])
    assert await keys.list() == made
    assert len({key.id for key in made}) == 130


async def test_stored_times_mean_the_same_after_a_restart(url: str, time: Time) -> None:
    """Times come back aware and in UTC from a database opened anew."""
    async with Keys(url, now=time.now) as keys:
        key, _ = await keys.create("town", "Ann", expires_at=START + timedelta(days=1))
    async with Keys(url) as keys:
        assert await keys.list() == [key]
        assert (await keys.list())[0].expires_at == START + timedelta(days=1)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_text_that_no_database_keeps_is_refused(keys: Keys, text: str) -> None:
    """A NUL or half a character is the caller's mistake, not an outage."""
    with pytest.raises(Unprocessable):
        await keys.create("town", "Ann", notes=text)
    with pytest.raises(ValueError, match="time zone"):
        await keys.create("town", "Ann", expires_at=datetime(2030, 1, 1))
    assert await keys.find(text) is None
    assert await keys.list() == []


# What a reference means


async def test_a_key_is_meant_by_itself_its_id_or_its_prefix(keys: Keys) -> None:
    """A lost key can be found and ended by what the list shows of it."""
    key, secret = await keys.create("town", "Ann")
    await keys.create("harbour", "Bob")
    for ref in (secret, key.id, key.prefix):
        assert await keys.find(ref) == key
    for ref in ("", "key_", secret[:-1], secret.swapcase(), "x" * 300, "ключ"):
        assert await keys.find(ref) is None


async def test_a_long_prefix_names_its_key_too(sqlite_url: str) -> None:
    """It is as long as a whole key may be."""
    async with Keys(sqlite_url, prefix="the-chat-of-the-town-library-api") as keys:
        key, secret = await keys.create("town", "Ann")
        assert await keys.find(key.prefix) == await keys.find(secret) == key
        assert await keys.find(secret[:-1]) is None


async def test_an_ambiguous_prefix_ends_nothing(keys: Keys, url: str) -> None:
    """Two keys that begin alike are told apart by id or as a whole only."""
    ann, ann_secret = await keys.create("town", "Ann")
    bob, _ = await keys.create("harbour", "Bob")
    await execute(url, f"UPDATE api_keys SET prefix = '{ann.prefix}' WHERE id = '{bob.id}'")
    for method in (keys.find, keys.deactivate, keys.delete):
        with pytest.raises(Conflict):
            await method(ann.prefix)
    assert [key.active for key in await keys.list()] == [True, True]
    assert await keys.delete(bob.id)
    assert await keys.find(ann_secret) == ann


# Ending a key


async def test_deactivating_works_at_once_and_twice(keys: Keys) -> None:
    """A remembered key ends with the call, and ending it again is no error."""
    key, secret = await keys.create("town", "Ann")
    assert await keys.verify(secret)
    for ref in (key.id, secret):
        ended = await keys.deactivate(ref)
        assert ended is not None
        assert (ended.id, ended.active) == (key.id, False)
        assert await keys.verify(secret) is None
    assert await keys.deactivate("key_000000000000") is None


async def test_deleting_works_at_once(keys: Keys) -> None:
    """A remembered key is gone with the call; a second call finds nothing."""
    key, secret = await keys.create("town", "Ann")
    assert await keys.verify(secret)
    assert await keys.delete(key.prefix) is True
    assert await keys.verify(secret) is None
    assert await keys.delete(key.id) is False
    assert await keys.list() == []


async def test_an_expired_key_ends_although_remembered(keys: Keys, time: Time) -> None:
    """Expiry is looked at on every call, to the second."""
    _, secret = await keys.create("town", "Ann", expires_at=START + timedelta(seconds=2))
    time.seconds = 1
    assert await keys.verify(secret)
    time.seconds = 2
    assert await keys.verify(secret) is None


@pytest.mark.parametrize("end", ["deactivate", "delete"])
async def test_a_read_older_than_the_revocation_is_not_remembered(url: str, end: str) -> None:
    """A key revoked while verify holds the old row answers that one call and none after it."""
    async with PausedReads(url) as keys:
        _, secret = await keys.create("town", "Ann")
        keys.pause()
        async with asyncio.TaskGroup() as tasks:
            verifying = tasks.create_task(keys.verify(secret))
            await keys.read.wait()
            await getattr(keys, end)(secret)
            keys.go_on.set()
        assert verifying.result() is not None
        assert await keys.verify(secret) is None


# Limits


async def test_a_key_carries_what_it_may_be_used_for(url: str) -> None:
    """Also from memory; a change works at once here, and names only what it changes."""
    async with Keys(url) as keys:
        limits = Limits(requests_per_minute=20, streams=0)
        key, secret = await keys.create(
            "town", "Ann", origins=["https://town.example"], limits=limits
        )
        for _ in range(2):
            verified = await keys.verify(secret)
            assert verified is not None
            assert (verified.origins, verified.limits) == (("https://town.example",), limits)
        changed = await keys.limit(key.id, {"requests_per_minute": None, "streams": 4})
        verified = await keys.verify(secret)
        assert changed is not None and verified is not None
        assert changed.limits == verified.limits == Limits(streams=4)
        assert verified.origins == ("https://town.example",)
        changed = await keys.limit(key.id, {}, origins=[])
        assert changed is not None
        assert (changed.origins, changed.limits) == ((), Limits(streams=4))
        assert await keys.limit("key_000000000000", {}) is None


async def test_uses_are_counted_by_the_day(url: str, time: Time) -> None:
    """All processes together, and from nothing when a new day begins in UTC."""
    async with Keys(url) as keys:
        key, _ = await keys.create("town", "Ann")
    for seconds, uses, today in ((0, 3, 6), (3600, 2, 10), (86_400, 1, 2)):
        time.seconds = seconds
        async with Keys(url, now=time.now) as one, Keys(url, now=time.now) as two:
            for keys in (one, two):
                for _ in range(uses):
                    keys.count_use(key)
        async with Keys(url) as keys:
            found = await keys.find(key.id)
            assert found is not None
            assert found.used_today(time.now()) == today
            assert found.used_today(time.now() + timedelta(days=1)) == 0


async def test_uses_are_counted_while_it_runs(url: str) -> None:
    """Whoever lists the keys sees what was used some seconds ago."""
    async with Keys(url, count_seconds=0) as keys, Keys(url) as other:
        key, _ = await keys.create("town", "Ann")
        keys.count_use(key)
        async with asyncio.timeout(30):
            while not (await other.list())[0].used:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


# A new secret


async def test_a_rotated_key_stays_the_same_key(keys: Keys, time: Time) -> None:
    """Id, limits and all else stay; the old secret works for the overlap, to the second."""
    key, old = await keys.create("town", "Ann", limits=Limits(streams=4))
    assert await keys.verify(old)
    rotated, new = await keys.rotate(key.id, until=START + timedelta(days=7)) or (None, "")
    assert rotated is not None
    assert rotated == replace(
        key, prefix=new[:8], previous_until=START + timedelta(days=7), last_used_at=ANY
    )
    for secret in (old, new):
        verified = await keys.verify(secret)
        assert verified is not None
        assert (verified.id, verified.limits) == (key.id, key.limits)
        found = await keys.find(secret)
        assert found is not None and found.id == key.id
    time.seconds = 7 * 86_400 - 1
    assert await keys.verify(old)
    time.seconds += 1
    assert await keys.verify(old) is None
    assert await keys.verify(new)


async def test_without_an_overlap_the_old_secret_ends_at_once(keys: Keys) -> None:
    """Also one that a rotation before had left."""
    key, first = await keys.create("town", "Ann")
    _, second = await keys.rotate(key.id, until=START + timedelta(days=7)) or (None, "")
    _, third = await keys.rotate(second) or (None, "")
    assert [bool(await keys.verify(each)) for each in (first, second, third)] == [
        False,
        False,
        True,
    ]
    assert await keys.rotate("key_000000000000") is None


async def test_an_old_secret_ends_with_its_key(keys: Keys, time: Time) -> None:
    """An overlap is no longer life."""
    key, old = await keys.create("town", "Ann", expires_at=START + timedelta(seconds=5))
    await keys.rotate(key.id, until=START + timedelta(days=7))
    time.seconds = 5
    assert await keys.verify(old) is None
    other, old = await keys.create("town", "Bob")
    await keys.rotate(other.id, until=START + timedelta(days=7))
    await keys.deactivate(old)
    assert await keys.verify(old) is None


# The memory


async def test_a_remembered_key_costs_no_database_call(keys: Keys, time: Time) -> None:
    """One read serves all calls until it is remember_seconds old."""
    _, secret = await keys.create("town", "Ann")
    first = await keys.verify(secret)
    time.seconds = 0.7
    with statements() as seen:
        assert [await keys.verify(secret) for _ in range(100)] == [first] * 100
        assert not [statement for statement in seen if statement.startswith("SELECT")]
        time.seconds = 0.8
        await keys.verify(secret)
        assert len([statement for statement in seen if statement.startswith("SELECT")]) == 1


async def test_a_change_by_another_process_is_seen_in_time(
    keys: Keys, url: str, time: Time
) -> None:
    """What another process ended works here for remember_seconds at most, or until forget."""
    async with Keys(url) as other:
        waits: list[Callable[[], None]] = [lambda: setattr(time, "seconds", 0.8), keys.forget]
        for wait in waits:
            key, secret = await keys.create("town", "Ann")
            assert await keys.verify(secret)
            await other.deactivate(key.id)
            assert await keys.verify(secret)
            wait()
            assert await keys.verify(secret) is None


async def test_only_good_news_is_remembered(keys: Keys, url: str) -> None:
    """A key that is switched on again works with the next call."""
    key, secret = await keys.create("town", "Ann")
    await keys.deactivate(key.id)
    assert await keys.verify(secret) is None
    await execute(url, "UPDATE api_keys SET active = true")
    assert await keys.verify(secret)


async def test_nothing_is_remembered_for_zero_seconds(url: str) -> None:
    """With remember_seconds=0 every call reads the database."""
    async with Keys(url, remember_seconds=0) as keys:
        _, secret = await keys.create("town", "Ann")
        assert await keys.verify(secret)
        await execute(url, "UPDATE api_keys SET active = false")
        assert await keys.verify(secret) is None


async def test_the_memory_is_bounded(url: str) -> None:
    """The key that was not used for longest makes room."""
    async with Keys(url, most_remembered=2) as keys:
        one, two, three = [(await keys.create("town", "Ann"))[1] for _ in range(3)]
        for secret in (one, two, one, three):
            await keys.verify(secret)
        with statements() as seen:
            assert await keys.verify(one)
            assert await keys.verify(three)
            reads = [statement for statement in seen if statement.startswith("SELECT")]
            assert reads == []
            assert await keys.verify(two)
        assert [statement for statement in seen if statement.startswith("SELECT")]


@pytest.mark.parametrize("text", ["", "x" * 257, "api_ключ", "api_\n", "api_\0", "\ud800"])
async def test_what_cannot_be_a_key_costs_no_database_call(keys: Keys, text: str) -> None:
    """Overlong, empty and non-ASCII keys are unknown without asking."""
    with statements() as seen:
        assert await keys.verify(text) is None
    assert seen == []


# Many at once


async def test_keys_are_never_mixed_up_under_load(url: str) -> None:
    """Hundreds of overlapping calls on several objects each get their own key's collection."""
    async with Keys(url) as one, Keys(url, remember_seconds=0) as two, Keys(url) as three:
        opened = [one, two, three]
        made = await asyncio.gather(
            *(opened[n % 3].create(f"collection {n}", f"client {n}") for n in range(12))
        )

        async def verify(number: int) -> None:
            expected, secret = made[number % len(made)]
            key = await opened[number % 3].verify(secret)
            assert key is not None
            assert (key.id, key.collection) == (expected.id, expected.collection)

        async def unknown(number: int) -> None:
            assert await opened[number % 3].verify(f"api_{number:032}") is None

        await asyncio.gather(
            *(verify(number) for number in range(400)),
            *(unknown(number) for number in range(100)),
            *(one.create("late", "Eve") for _ in range(10)),
            two.deactivate((await two.create("late", "Eve"))[0].id),
        )
        assert len(await three.list()) == 23


async def test_many_open_a_new_database_at_once(url: str) -> None:
    """Several openings of one new database all succeed and share its keys."""

    async def use() -> None:
        async with Keys(url) as keys:
            await keys.create("town", "Ann")

    await asyncio.gather(*(use() for _ in range(8)))
    async with Keys(url) as keys:
        assert len(await keys.list()) == 8


def test_many_processes_open_a_new_database_at_once(sqlite_url: str) -> None:
    """Several processes that start together share one new file."""
    script = (
        "import asyncio, sys; from orbit_server.auth.keys import Keys\n"
        "async def main():\n"
        "    async with Keys(sys.argv[1]) as keys:\n"
        "        for _ in range(5):\n"
        "            _, secret = await keys.create('town', 'Ann')\n"
        "            assert await keys.verify(secret)\n"
        "asyncio.run(main())"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, sqlite_url]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]

    async def count() -> int:
        async with Keys(sqlite_url) as keys:
            return len(await keys.list())

    assert asyncio.run(count()) == 15


async def test_cancelled_calls_give_their_connection_back(sqlite_url: str) -> None:
    """Clients that leave in the middle of a verify do not use the connections up."""
    async with Keys(sqlite_url, remember_seconds=0) as keys:
        _, secret = await keys.create("town", "Ann")
        for steps in range(40):
            calls = [asyncio.create_task(keys.verify(secret)) for _ in range(5)]
            for _ in range(steps):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert all(await asyncio.gather(*(keys.verify(secret) for _ in range(50))))


@pytest.mark.skipif(not POSTGRES_URL, reason="needs POSTGRES_URL: a PostgreSQL server")
async def test_postgresql_keeps_the_time_zone() -> None:
    """On PostgreSQL, where the tests above then run as well, times are stored with their zone."""
    async with Keys(POSTGRES_URL):
        engine = create_async_engine(POSTGRES_URL)
        async with engine.connect() as connection:
            columns = await connection.run_sync(
                lambda sync: sa.inspect(sync).get_columns("api_keys")
            )
        await engine.dispose()
    times = [column["type"] for column in columns if column["name"].endswith("_at")]
    assert [getattr(kind, "timezone", None) for kind in times] == [True, True, True]


# The last use


async def test_the_last_use_is_noted_once_a_minute(url: str, time: Time) -> None:
    """However many calls and processes, one note a minute reaches the database."""
    noted = []
    async with Keys(url, now=time.now) as keys:
        key, secret = await keys.create("town", "Ann")
    for seconds in (10, 69, 70, 129, 131):
        time.seconds = seconds
        async with Keys(url, now=time.now) as one, Keys(url, now=time.now) as two:
            for keys in (one, two):
                assert all(await asyncio.gather(*(keys.verify(secret) for _ in range(20))))
        async with Keys(url) as keys:
            found = await keys.find(key.id)
            assert found is not None
            assert found.last_used_at is not None
            noted.append((found.last_used_at - START).total_seconds())
    assert noted == [10, 10, 70, 70, 131]


async def test_a_last_use_that_cannot_be_noted_harms_nobody(
    sqlite_url: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While another process holds the file for writing, verify answers all the same."""
    caplog.set_level("DEBUG", logger="orbit_server.auth")
    async with Keys(sqlite_url, timeout=1) as keys:
        _, secret = await keys.create("town", "Ann")
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert await keys.verify(secret)
            await keys.__aexit__()
    assert "the last use of 1 keys could not be stored" in caplog.text


# Files


async def test_the_file_is_private(sqlite_url: str, path: Path) -> None:
    """A new database is readable by its owner only, and so are the files beside it."""
    async with Keys(sqlite_url) as keys:
        await keys.create("town", "Ann")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"orbit.db": 0o600, "orbit.db-wal": 0o600, "orbit.db-shm": 0o600}


def test_nothing_is_opened_before_it_is_entered(sqlite_url: str, path: Path) -> None:
    """Keys are made without a loop and without touching the disk."""
    Keys(sqlite_url)
    assert not path.parent.exists()


@each_method
async def test_closed_keys_say_so(
    method: Callable[[Keys], Awaitable[object]], sqlite_url: str
) -> None:
    """Before it is entered and after it was left, every method says that it is not open."""
    keys = Keys(sqlite_url)
    with pytest.raises(NotStarted):
        await method(keys)
    async with keys:
        await keys.ping()
    with pytest.raises(NotStarted):
        await method(keys)


def as_another_user(script: str, folder: Path, spare: Path) -> str:
    """Run ``main()`` of ``script`` in a process without root's rights; return what it prints.

    A first database is opened while the process still may read everything, so that all imports are
    done when it may no longer.
    """
    program = f"""
import asyncio, os, sys
from orbit_server.errors import KeysUnavailable
from orbit_server.auth.keys import Keys

async def warm_up():
    async with Keys(sys.argv[2]) as keys:
        await keys.verify((await keys.create("town", "Ann"))[1])

asyncio.run(warm_up())
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
{script}
asyncio.run(main())
"""
    urls = [f"sqlite+aiosqlite:///{file}/orbit.db" for file in (folder, spare)]
    process = subprocess.run(
        [sys.executable, "-c", program, *urls],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.stderr == ""
    return process.stdout.strip()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users reach (pytest's own belong to one user)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def test_a_read_only_database_still_verifies(shared_folder: Path, tmp_path: Path) -> None:
    """Who may only read the file checks keys, and cannot make one."""

    async def make() -> str:
        async with Keys(f"sqlite+aiosqlite:///{shared_folder}/orbit.db") as keys:
            return (await keys.create("town", "Ann"))[1]

    secret = asyncio.run(make())
    (shared_folder / "orbit.db").chmod(0o444)
    script = f"""
async def main():
    async with Keys(sys.argv[1]) as keys:
        print((await keys.verify("{secret}")).collection)
        try:
            await keys.create("town", "Eve")
        except KeysUnavailable as error:
            print(error)
"""
    printed = as_another_user(script, shared_folder, tmp_path)
    assert printed == "town\nOperationalError: attempt to write a readonly database"


def test_a_forbidden_folder_is_an_outage(shared_folder: Path, tmp_path: Path) -> None:
    """A folder that may not be read or written is reported when Keys is opened."""
    (shared_folder / "closed").mkdir(mode=0o000)
    script = """
async def main():
    try:
        async with Keys(sys.argv[1]):
            pass
    except KeysUnavailable as error:
        print(error)
"""
    printed = as_another_user(script, shared_folder / "closed", tmp_path)
    assert printed.startswith("PermissionError: ")


# Outages


def garble(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 1000)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def change(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return run


RENAME = "ALTER TABLE api_keys RENAME COLUMN {0} TO old_{0}"
DAMAGES = {
    "no table": change("DROP TABLE api_keys"),
    "other columns": change(*map(RENAME.format, ("id", "collection", "active"))),
}
SEVERE_DAMAGES = {"corrupt": garble, "folder": replace_by_folder, **DAMAGES}


@each_method
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_an_outage_is_never_an_unknown_key(
    method: Callable[[Keys], Awaitable[object]],
    damage: Callable[[Path], None],
    sqlite_url: str,
    path: Path,
) -> None:
    """A table that is gone or different while the server runs is an outage in every method."""
    async with Keys(sqlite_url) as keys:
        damage(path)
        with pytest.raises(KeysUnavailable, match="OperationalError"):
            await method(keys)


@pytest.mark.parametrize("name", ["corrupt", "folder", "other columns"])
async def test_a_damaged_database_is_not_opened(name: str, sqlite_url: str, path: Path) -> None:
    """What cannot serve is found out when Keys is opened, and nothing stays open behind it."""
    async with Keys(sqlite_url):
        pass
    SEVERE_DAMAGES[name](path)
    keys = Keys(sqlite_url)
    with pytest.raises(KeysUnavailable):
        await keys.__aenter__()
    with pytest.raises(NotStarted):
        await keys.ping()


async def test_a_damaged_row_is_an_outage(sqlite_url: str) -> None:
    """A value that cannot be read back is reported, not passed over."""
    async with Keys(sqlite_url) as keys:
        _, secret = await keys.create("town", "Ann")
        await execute(sqlite_url, "UPDATE api_keys SET created_at = 'yesterday'")
        for call in (keys.verify(secret), keys.find(secret), keys.list(), keys.delete(secret)):
            with pytest.raises(KeysUnavailable, match="ValueError"):
                await call


async def test_a_locked_database_is_an_outage(sqlite_url: str, path: Path) -> None:
    """When another process keeps the lock, a change fails as an outage and reading goes on."""
    async with Keys(sqlite_url, timeout=0.05) as keys:
        key, secret = await keys.create("town", "Ann")
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            for change in (
                keys.create("town", "Bob"),
                keys.deactivate(key.id),
                keys.delete(key.id),
            ):
                with pytest.raises(KeysUnavailable, match="locked"):
                    await change
            assert await keys.find(secret)
        assert await keys.delete(key.id)


@each_method
@pytest.mark.parametrize(
    "error",
    [
        sa.exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError("disk I/O error")),
        sa.exc.DBAPIError("SELECT 1", {}, Exception("the driver's own")),
        sa.exc.TimeoutError("no connection is free"),
        sa.exc.ResourceClosedError("closed"),
        sa.exc.NoSuchColumnError("hash"),
        sa.exc.StatementError("cannot bind", "SELECT 1", {}, ValueError("not a time")),
        sqlite3.DatabaseError("malformed"),
        sqlite3.InterfaceError("bad parameter"),
        ConnectionRefusedError(111, "Connect call failed"),
        TimeoutError(),
        OSError(28, "No space left on device"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_every_foreign_error_is_translated(
    method: Callable[[Keys], Awaitable[object]], error: Exception, sqlite_url: str
) -> None:
    """Whatever the library, its driver or the system raises, every method says "unavailable"."""

    def fail(*_arguments: object) -> None:
        raise error

    async with Keys(sqlite_url) as keys:
        sa.event.listen(sa.Engine, "before_cursor_execute", fail)
        try:
            with pytest.raises(KeysUnavailable) as caught:
                await method(keys)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", fail)
    assert caught.value.body() == {"detail": KeysUnavailable.sentence, "code": "keys_unavailable"}
    assert "SELECT" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+asyncpg://orbit:s3cr3t@127.0.0.1:1/orbit",
        "postgresql+asyncpg://orbit:pa@ss:s3cr3t@127.0.0.1/orbit",
        "postgresql+asyncpg://orbit:s3cr3t@127.0.0.1:port/orbit",
        "nosuchdatabase://orbit:s3cr3t@127.0.0.1/orbit",
        "sqlite:///s3cr3t/orbit.db/orbit.db",
        "s3cr3t",
        "",
    ],
)
async def test_an_address_without_a_database_is_an_outage(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unusable address is reported when Keys is opened, without its password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeysUnavailable) as caught:
        await Keys(address).__aenter__()
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("address", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"])
def test_keys_are_not_kept_in_memory_alone(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that names no file is refused, and makes none."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeysUnavailable, match="names no file"):
        asyncio.run(Keys(address).__aenter__())
    assert list(tmp_path.iterdir()) == []


# Expiry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", START + timedelta(days=90)),
        (" 12h ", START + timedelta(hours=12)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T18:30", datetime(2027, 1, 31, 18, 30, tzinfo=UTC)),
        ("2027-01-31T18:30:00Z", datetime(2027, 1, 31, 18, 30, tzinfo=UTC)),
        ("2027-01-31T18:30+02:00", datetime(2027, 1, 31, 16, 30, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_read(text: str, expected: datetime) -> None:
    """Spans count from now; dates begin at midnight, UTC unless they say otherwise."""
    expiry = parse_expiry(text, now=START)
    assert expiry == expected
    assert expiry.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text", ["", "d", "90", "-1d", "1.5h", "٣d", "soon", "2027-02-30", "9" * 30 + "d", "9" * 5000]
)
def test_no_expiry_is_guessed(text: str) -> None:
    """Anything else is refused with a sentence that shows the forms."""
    with pytest.raises(ValueError, match=r"is not an expiry: give 90d, 12h, 2027-01-31"):
        parse_expiry(text, now=START)


@pytest.mark.parametrize("text", ["0d", "2026-03-01", "2026-03-01T12:00Z", "2020-01-01"])
def test_a_past_expiry_is_refused(text: str) -> None:
    """A key that would be dead on arrival is not made."""
    with pytest.raises(ValueError, match="is in the past"):
        parse_expiry(text, now=START)


def test_an_expiry_counts_from_the_present() -> None:
    """Without a given present the real one counts."""
    assert parse_expiry("1h") > datetime.now(UTC)


async def test_a_key_is_read_once_for_all_who_ask_at_once(url: str) -> None:
    """A crowd with one key costs one read; who gives up takes nothing from the others."""
    async with PausedReads(url) as keys:
        keys.go_on = asyncio.Event()
        keys.go_on.set()
        keys.read = asyncio.Event()
        _, secret = await keys.create("docs", "crowd")
        keys.pause()
        reads = 0
        stored = keys._stored

        async def counted(digest: str) -> Key | None:
            nonlocal reads
            reads += 1
            return await stored(digest)

        keys._stored = counted  # type: ignore[method-assign]
        crowd = [asyncio.create_task(keys.verify(secret)) for _ in range(300)]
        await keys.read.wait()
        crowd[0].cancel()
        keys.go_on.set()
        answers = await asyncio.gather(*crowd[1:])
        assert all(key is not None for key in answers)
        assert reads == 1
