"""Keys in a real PostgreSQL, directly and behind PgBouncer; outages; a driver that is missing."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from orbit_server.auth.answer_ids import AnswerIds
from orbit_server.auth.keys import Keys
from orbit_server.config.addresses import database_url
from orbit_server.errors import KeysUnavailable

from ..support.postgres import missing, pgbouncer, postgres

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
    with pytest.raises(KeysUnavailable, match="sslrootcert is not possible here") as refused:
        await Keys(url).__aenter__()
    assert "secret" not in str(refused.value)


async def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names the extra that has it."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(KeysUnavailable, match=r"pip install 'orbit-server\[postgres\]'"):
        await Keys("postgresql+asyncpg://orbit@127.0.0.1:1/orbit").__aenter__()
