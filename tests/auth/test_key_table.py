"""The table of keys: one that an older version made gets what it lacks, whoever else starts."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from orbit_server.auth.key import Limits
from orbit_server.auth.keys import Keys

from ..support.postgres import missing, postgres

pytestmark = pytest.mark.anyio

BEFORE = """
CREATE TABLE api_keys (
    id VARCHAR NOT NULL, hash VARCHAR(64) NOT NULL, prefix VARCHAR NOT NULL,
    collection VARCHAR NOT NULL, client_name VARCHAR NOT NULL, notes VARCHAR NOT NULL,
    created_at {time} NOT NULL, expires_at {time}, active BOOLEAN NOT NULL,
    last_used_at {time}, stream_format VARCHAR, PRIMARY KEY (id)
)"""
SECRET = "api_" + "x" * 32
ROW = f"""
INSERT INTO api_keys (id, hash, prefix, collection, client_name, notes, created_at, active)
VALUES ('key_0123456789ab', '{sha256(SECRET.encode()).hexdigest()}', 'api_xxxx', 'town', 'Ann',
        '', '2026-01-02 03:04:05.000000', true)"""

OPEN = """
import asyncio, sys
from orbit_server.auth.keys import Keys

async def main():
    sys.stdin.readline()
    async with Keys(sys.argv[1]) as keys:
        key = await keys.verify(sys.argv[2])
        assert key and key.collection == "town"
        await keys.limit(key.id, {"streams": 3}, origins=["https://town.example"])

asyncio.run(main())
"""


async def opened_by_many(url: str) -> None:
    """Open an older table by several processes at once, and look at it afterwards."""
    command = [sys.executable, "-c", OPEN, url, SECRET]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]  # noqa: ASYNC220
    for process in running:
        assert process.stdin is not None
        process.stdin.close()  # all go on
    assert [process.wait(60) for process in running] == [0] * 4
    async with Keys(url) as keys:
        (key,) = await keys.list()
        assert key.limits == Limits(streams=3)
        assert key.origins == ("https://town.example",)
        assert (key.used, key.used_on, key.previous_until) == (0, None, None)
        assert await keys.verify(SECRET)


@pytest.mark.process
async def test_an_older_sqlite_file(tmp_path: Path) -> None:
    """Its keys stay, and get the new columns once, although several processes start together."""
    with closing(sqlite3.connect(tmp_path / "orbit.db")) as file, file:
        file.execute(BEFORE.format(time="DATETIME"))
        file.execute(ROW)
    await opened_by_many(f"sqlite+aiosqlite:///{tmp_path}/orbit.db")


@pytest.mark.process
@pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}")
async def test_an_older_table_in_postgresql() -> None:
    """The same there."""
    import asyncpg  # type: ignore[import-untyped]

    with postgres() as port:
        address = f"orbit:secret@127.0.0.1:{port}/orbit"
        connection = await asyncpg.connect(f"postgresql://{address}")
        await connection.execute(BEFORE.format(time="TIMESTAMP WITH TIME ZONE"))
        await connection.execute(ROW)
        await connection.close()
        await opened_by_many(f"postgresql+asyncpg://{address}?ssl=disable")


async def test_an_older_table_can_be_recognised(tmp_path: Path) -> None:
    """Whoever may change nothing, as ``doctor``, can tell it from a damaged one."""
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    outdated = []
    for statement in ("", BEFORE.format(time="DATETIME")):
        with closing(sqlite3.connect(tmp_path / "orbit.db")) as file, file:
            file.execute(statement)
        async with Keys(url, create=False) as keys:
            outdated.append(await keys.outdated())
    async with Keys(url) as keys:
        outdated.append(await keys.outdated())
    assert outdated == [False, True, False]


async def test_a_program_before_it_can_share_the_table(tmp_path: Path) -> None:
    """What it writes has none of the new columns."""
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    async with Keys(url) as keys:
        with closing(sqlite3.connect(tmp_path / "orbit.db")) as file, file:
            file.execute(ROW)
        key = await keys.verify(SECRET)
        assert key is not None
        assert (key.origins, key.limits, key.used) == ((), Limits(), 0)
