"""Keys in a real PostgreSQL, directly and behind PgBouncer; outages; a driver that is missing."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

import pytest

from orbit_server.auth.answer_ids import AnswerIds
from orbit_server.auth.key import Key
from orbit_server.auth.key_watch import KeyWatch
from orbit_server.auth.keys import Keys
from orbit_server.config.addresses import database_url
from orbit_server.errors import KeysUnavailable

from ..support.postgres import missing, pgbouncer, postgres, postgres_process
from .test_keys import statements

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with postgres() as port:
        yield port


@pytest.fixture(scope="module", params=["directly", "through PgBouncer"])
def url(request: pytest.FixtureRequest, server: int) -> Iterator[str]:
    if request.param == "directly":
        yield database_url(f"postgres://orbit:secret@127.0.0.1:{server}/orbit?sslmode=disable")
    else:
        with pgbouncer(server) as port:
            yield database_url(f"postgresql://orbit:secret@127.0.0.1:{port}/orbit?sslmode=disable")


async def test_a_life_of_a_key(url: str) -> None:
    """Created, listed, verified, found, deactivated, deleted."""
    async with Keys(url, remember_seconds=0) as keys:
        key, secret = await keys.create("town", "Ann", stream_format="cumulative")
        verified = await keys.verify(secret)
        assert verified is not None
        assert (verified.id, verified.stream_format) == (key.id, "cumulative")
        assert key.id in [each.id for each in await keys.list()]
        assert (await keys.find(key.prefix)) is not None
        assert await keys.deactivate(key.id)
        assert await keys.verify(secret) is None
        assert await keys.delete(secret)
        assert await keys.find(key.id) is None


async def test_many_requests_at_once(url: str) -> None:
    """More requests than connections, of two replicas, all get their own key."""
    async with Keys(url, remember_seconds=0) as one, Keys(url, remember_seconds=0) as two:
        made = [await one.create(f"town-{n}", "Ann") for n in range(8)]

        async def ask(keys: Keys, n: int) -> bool:
            found = await keys.verify(made[n][1])
            return found is not None and found.collection == f"town-{n}"

        asked = [ask(keys, n) for keys in (one, two) for n in range(8) for _ in range(10)]
        assert all(await asyncio.gather(*asked))
        for key, _ in made:
            await one.delete(key.id)


async def test_replicas_start_at_once(url: str) -> None:
    """Several that find no table all create it, and all start."""
    opened = [Keys(url) for _ in range(4)]
    await asyncio.gather(*(keys.__aenter__() for keys in opened))
    await asyncio.gather(*(keys.ping() for keys in opened))
    await asyncio.gather(*(keys.__aexit__() for keys in opened))


async def test_replicas_know_the_ids_of_each_other(url: str) -> None:
    """Of several that start at once one makes the secret, and all of them read it."""
    async with AsyncExitStack() as stack:

        async def start() -> AnswerIds:
            keys = await stack.enter_async_context(Keys(url))
            return await stack.enter_async_context(AnswerIds(keys.database))

        replicas = await asyncio.gather(*(start() for _ in range(4)))
        made = [ids.new("key_1") for ids in replicas]
        assert all(ids.knows(each, "key_1") for ids in replicas for each in made)
        assert not any(ids.knows(each, "key_2") for ids in replicas for each in made)


async def test_an_outage_is_one_line(caplog: pytest.LogCaptureFixture, tmp_path: object) -> None:
    """Not one a request; and one when it is over."""
    caplog.set_level(logging.INFO, logger="orbit_server.auth")
    with postgres() as port:
        url = f"postgresql+asyncpg://orbit:secret@127.0.0.1:{port}/orbit?ssl=disable"
        keys = Keys(url, remember_seconds=0, timeout=2)
        await keys.__aenter__()
        _, secret = await keys.create("town", "Ann")
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            await keys.verify(secret)
    await keys.__aexit__()
    lines = [record.message for record in caplog.records if "key database" in record.message]
    assert len(lines) == 1
    assert "does not work" in lines[0]
    assert "secret" not in caplog.text


async def test_a_wrong_password_is_said_without_it(server: int) -> None:
    """The sentence says what PostgreSQL said."""
    keys = Keys(f"postgresql+asyncpg://orbit:wrong-one@127.0.0.1:{server}/orbit")
    with pytest.raises(KeysUnavailable, match="password authentication failed") as refused:
        await keys.__aenter__()
    assert "wrong-one" not in str(refused.value)


async def test_a_url_as_providers_write_it(server: int) -> None:
    """What asyncpg does not know is left out, or told to the server."""
    parameters = "sslmode=disable&channel_binding=require&connect_timeout=9&application_name=orbit"
    url = database_url(f"postgresql://orbit:secret@127.0.0.1:{server}/orbit?{parameters}")
    async with Keys(url) as keys, keys.database.transaction() as connection:
        name = await connection.exec_driver_sql("SHOW application_name")
        assert name.scalar() == "orbit"


async def test_a_parameter_that_is_not_possible(server: int) -> None:
    """It is named, instead of an error of the driver, and the password is not."""
    url = f"postgresql+asyncpg://orbit:secret@127.0.0.1:{server}/orbit?sslrootcert=ca.pem"
    with pytest.raises(KeysUnavailable, match="sslrootcert is not supported") as refused:
        await Keys(url).__aenter__()
    assert "secret" not in str(refused.value)


async def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names the extra that has it."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(KeysUnavailable, match=r"pip install 'orbit-server\[postgres\]'"):
        await Keys("postgresql+asyncpg://orbit@127.0.0.1:1/orbit").__aenter__()


async def test_a_thousand_requests_are_one_read(url: str) -> None:
    """Of a key that is not in memory, or no longer."""
    now = 0.0
    async with Keys(url, clock=lambda: now) as keys:
        _, secret = await keys.create("town", "Ann")
        with statements() as seen:
            for now in (1.0, 1.7, 1.9):  # noqa: B007 - the clock's
                found = await asyncio.gather(*(keys.verify(secret) for _ in range(1000)))
                assert all(found)
            reads = [each for each in seen if each.startswith("SELECT api_keys.id")]
        assert len(reads) == 2


@pytest.mark.parametrize("end", ["deactivate", "delete", "rotate"])
async def test_a_key_ends_in_every_replica(url: str, end: str) -> None:
    """Within a second: by then none answers it from memory; and its running answers are told."""
    now = 0.0
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Keys(url, clock=lambda: now)) for _ in range(3)]
        _, secret = await replicas[0].create("town", "Ann")
        told: list[int] = []
        for number, keys in enumerate(replicas):
            key = await keys.verify(secret)
            assert key is not None
            watch = await stack.enter_async_context(KeyWatch(keys.usable, seconds=0.05))
            stack.enter_context(watch.using(key, lambda number=number: told.append(number)))  # type: ignore[misc]
        now = 0.1
        await getattr(replicas[0], end)(secret)
        now = 1.1
        assert await asyncio.gather(*(keys.verify(secret) for keys in replicas)) == [None] * 3
        async with asyncio.timeout(30):
            while len(told) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert sorted(told) == [0, 1, 2]


async def test_a_slow_read_is_not_believed_for_longer(url: str) -> None:
    """Whoever asks when a read has hung for a second does not get what it began with."""
    now = 0.0

    class Hanging(Keys):
        async def _stored(self, digest: str) -> Key | None:
            found = await super()._stored(digest)
            if now < 1.0:
                read.set()
                await go_on.wait()
            return found

    read, go_on = asyncio.Event(), asyncio.Event()
    async with Hanging(url, clock=lambda: now) as slow, Keys(url) as elsewhere:
        key, secret = await slow.create("town", "Ann")
        early = asyncio.create_task(slow.verify(secret))
        await read.wait()
        await elsewhere.deactivate(key.id)
        now = 1.2
        assert await slow.verify(secret) is None
        go_on.set()
        assert await early is not None  # it has asked before
        assert await slow.verify(secret) is None


@pytest.mark.slow
async def test_a_server_that_hangs_and_one_that_restarts(caplog: pytest.LogCaptureFixture) -> None:
    """Every request ends in time, with 503; then it works again by itself."""
    caplog.set_level(logging.INFO, logger="orbit_server.auth")
    with postgres_process() as server, pgbouncer(server.port) as bouncer:
        for port in (server.port, bouncer):
            url = f"postgresql+asyncpg://orbit:secret@127.0.0.1:{port}/orbit?ssl=disable"
            async with Keys(url, remember_seconds=0.05, timeout=1.5) as keys:
                _, secret = await keys.create("town", "Ann")
                assert await keys.verify(secret)
                server.pause()
                await asyncio.sleep(0.1)
                for _ in range(3):
                    async with asyncio.timeout(20):
                        asked = [keys.verify(each) for each in (secret, "api_" + "x" * 32) * 20]
                        answers = await asyncio.gather(*asked, return_exceptions=True)
                    assert {type(each) for each in answers} == {KeysUnavailable}
                    assert answers[0].headers()["Retry-After"]  # type: ignore[union-attr]
                server.go_on()
                await until_verified(keys, secret)
                server.restart()
                await until_verified(keys, secret)
    lines = [record.message for record in caplog.records if "key database" in record.message]
    assert lines[:2] == [lines[0], "the key database works again"]


async def until_verified(keys: Keys, secret: str) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(KeysUnavailable):
                assert await keys.verify(secret)
                return
            await asyncio.sleep(0.05)
