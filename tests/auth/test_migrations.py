"""The schema: changed once, by one of many that start together, and never by an older program."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from orbit_server.auth.answer_ids import AnswerIds
from orbit_server.auth.database import Database
from orbit_server.auth.key import Limits
from orbit_server.auth.keys import Keys
from orbit_server.auth.migrations import MIGRATIONS, migrate, version
from orbit_server.errors import KeysUnavailable

from ..support.postgres import missing, pgbouncer, postgres

pytestmark = pytest.mark.anyio

# What programs before the first numbered schema have made, in their order.
FIRST = """
CREATE TABLE api_keys (
    id VARCHAR NOT NULL, hash VARCHAR(64) NOT NULL, prefix VARCHAR NOT NULL,
    collection VARCHAR NOT NULL, client_name VARCHAR NOT NULL, notes VARCHAR NOT NULL,
    created_at {time} NOT NULL, expires_at {time}, active BOOLEAN NOT NULL,
    last_used_at {time}, stream_format VARCHAR, PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_api_keys_hash ON api_keys (hash);
CREATE INDEX ix_api_keys_prefix ON api_keys (prefix);
"""
WITH_LIMITS = """
ALTER TABLE api_keys ADD COLUMN origins VARCHAR;
ALTER TABLE api_keys ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE api_keys ADD COLUMN requests_per_day INTEGER;
ALTER TABLE api_keys ADD COLUMN streams INTEGER;
ALTER TABLE api_keys ADD COLUMN visitor_per_minute INTEGER;
ALTER TABLE api_keys ADD COLUMN previous_hash VARCHAR(64);
ALTER TABLE api_keys ADD COLUMN previous_until {time};
ALTER TABLE api_keys ADD COLUMN used_on VARCHAR(10);
ALTER TABLE api_keys ADD COLUMN used INTEGER;
CREATE INDEX ix_api_keys_previous_hash ON api_keys (previous_hash);
"""
WITH_SECRETS = """
CREATE TABLE installation_secrets (
    name VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (name)
);
INSERT INTO installation_secrets VALUES ('answer_ids', '{secret}');
"""
SCHEMAS = {
    "empty": "",
    "first": FIRST,
    "with limits": FIRST + WITH_LIMITS,
    "with secrets": FIRST + WITH_LIMITS + WITH_SECRETS,
}
SECRET = "api_" + "x" * 32
ROW = f"""
INSERT INTO api_keys (id, hash, prefix, collection, client_name, notes, created_at, active)
VALUES ('key_0123456789ab', '{sha256(SECRET.encode()).hexdigest()}', 'api_xxxx', 'town', 'Ann',
        '', '2026-01-02 03:04:05.000000', true);
UPDATE api_keys SET stream_format = 'cumulative';
"""
INSTALLATION = "ab" * 32

OPEN = """
import asyncio, sys
from orbit_server.auth.answer_ids import AnswerIds
from orbit_server.auth.keys import Keys

async def main():
    async with Keys(sys.argv[1]) as keys, AnswerIds(keys.database) as ids:
        print("ready", ids._secret.hex(), flush=True)

sys.stdin.readline()
asyncio.run(main())
"""


def before(schema: str, time: str) -> str:
    """Return the statements that make a database of an earlier program, with a key in it."""
    text = SCHEMAS[schema].format(time=time, secret=INSTALLATION)
    return text + (ROW if text else "")


def start_together(url: str, number: int = 8) -> set[str]:
    """Open one database in many processes at once; the secrets of the installation they read."""
    command = [sys.executable, "-c", OPEN, url]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    said = [process.communicate("\n", timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * number
    return {line.split()[1] for line in said}


async def check(url: str, schema: str, secrets: set[str]) -> None:
    """Nothing was lost, everything is there, and each change was made once."""
    assert len(secrets) == 1
    if schema == "with secrets":
        assert secrets == {INSTALLATION}
    async with Keys(url) as keys, AnswerIds(keys.database):
        async with keys.database.transaction() as connection:
            rows = await connection.execute(sa.text("SELECT version FROM schema_versions"))
            assert [row[0] for row in rows] == list(range(1, len(MIGRATIONS) + 1))
        if schema != "empty":
            verified = await keys.verify(SECRET)
            assert verified is not None
            assert (verified.id, verified.collection) == ("key_0123456789ab", "town")
            assert (verified.stream_format, verified.limits) == ("cumulative", Limits())
            await keys.limit(verified.id, {"streams": 3}, origins=["https://town.example"])
            new = await keys.rotate(verified.id)
            assert new and await keys.verify(new[1])
            keys.count_use(verified)
        made, _ = await keys.create("town", "Bob")
        assert made in await keys.list()


async def make_sqlite(folder: Path, schema: str) -> str:
    """Make the file of an earlier program; its URL."""
    with closing(sqlite3.connect(folder / "orbit.db")) as file:
        file.executescript(before(schema, "DATETIME"))
    return f"sqlite+aiosqlite:///{folder}/orbit.db"


async def make_postgres(port: int, schema: str) -> None:
    """Make the tables of an earlier program, in a database that is otherwise empty."""
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(f"postgresql://orbit:secret@127.0.0.1:{port}/orbit")
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    if schema != "empty":
        await connection.execute(before(schema, "TIMESTAMP WITH TIME ZONE"))
    await connection.close()


async def secrets_in(url: str) -> set[str]:
    """Open a database here; the secret of the installation."""
    async with Keys(url) as keys, AnswerIds(keys.database) as ids:
        return {ids._secret.hex()}


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_every_earlier_schema_on_sqlite(tmp_path: Path, schema: str) -> None:
    """Nothing in it is lost."""
    url = await make_sqlite(tmp_path, schema)
    await check(url, schema, await secrets_in(url))


@pytest.mark.process
@pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}")
async def test_every_earlier_schema_on_postgresql() -> None:
    """Directly and through PgBouncer in transaction mode."""
    with postgres() as server, pgbouncer(server) as bouncer:
        for port in (server, bouncer):
            for schema in SCHEMAS:
                await make_postgres(server, schema)
                url = f"postgresql+asyncpg://orbit:secret@127.0.0.1:{port}/orbit?ssl=disable"
                await check(url, schema, await secrets_in(url))


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("schema", ["empty", "first"])
async def test_eight_start_at_once_on_sqlite(tmp_path: Path, schema: str) -> None:
    """Each change is made once, with a new file and with that of the first program."""
    url = await make_sqlite(tmp_path, schema)
    await check(url, schema, await asyncio.to_thread(start_together, url))


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}")
async def test_eight_start_at_once_on_postgresql() -> None:
    """The same, directly and through PgBouncer."""
    with postgres() as server, pgbouncer(server) as bouncer:
        for port, schema in ((server, "empty"), (bouncer, "first")):
            await make_postgres(server, schema)
            url = f"postgresql+asyncpg://orbit:secret@127.0.0.1:{port}/orbit?ssl=disable"
            await check(url, schema, await asyncio.to_thread(start_together, url))


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite+aiosqlite:///{folder}/orbit.db", timeout=30)
    opened.open(create=True)
    yield opened
    await opened.close()


async def test_another_that_is_about_to_write_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not wait for it when the kind of journal changes, whatever its timeout."""
    with closing(sqlite3.connect(tmp_path / "orbit.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.3, other.execute, "ROLLBACK")
        async with database(tmp_path) as opened, opened.transaction() as connection:
            await migrate(connection)
            assert await version(connection) == len(MIGRATIONS)


async def test_each_change_is_made_once(tmp_path: Path) -> None:
    """By one of those that come at once; later ones add what a newer program brings."""

    async def table(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("CREATE TABLE made (number INTEGER)")

    async def row(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("INSERT INTO made VALUES (1)")

    async def begin(steps: list[Any]) -> None:
        async with opened.transaction() as connection:
            await migrate(connection, steps)

    async with database(tmp_path) as opened:
        for steps in ([table, row], [table, row, row]):
            await asyncio.gather(*(begin(steps) for _ in range(4)))
            async with opened.transaction() as connection:
                rows = await connection.scalar(sa.text("SELECT count(*) FROM made"))
                assert (rows, await version(connection)) == (len(steps) - 1, len(steps))


async def test_a_change_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither it nor those that were made with it; the next program begins where it began."""

    async def table(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("CREATE TABLE made (number INTEGER)")

    async def broken(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    async with database(tmp_path) as opened:
        with pytest.raises(KeysUnavailable, match="nowhere"):
            async with opened.transaction() as connection:
                await migrate(connection, [table, broken])
        async with opened.transaction() as connection:
            assert await version(connection) == 0
            await migrate(connection, [table])


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """In one sentence, and untouched."""
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    async with Keys(url):
        pass
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(tmp_path / "orbit.db")) as file, file:
        file.execute(f"INSERT INTO schema_versions VALUES ({newer}, '2030-01-01 00:00:00')")
    with pytest.raises(KeysUnavailable, match=f"schema {newer} of a newer version") as refused:
        await Keys(url).__aenter__()
    assert "\n" not in str(refused.value)


async def test_an_older_table_can_be_recognised(tmp_path: Path) -> None:
    """Whoever may change nothing, as ``doctor``, can tell it from a damaged one."""
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    outdated = []
    for statement in ("", FIRST.format(time="DATETIME")):
        with closing(sqlite3.connect(tmp_path / "orbit.db")) as file:
            file.executescript(statement)
        async with Keys(url, create=False) as keys:
            outdated.append(await keys.outdated())
    async with Keys(url) as keys:
        outdated.append(await keys.outdated())
    assert outdated == [False, True, False]
