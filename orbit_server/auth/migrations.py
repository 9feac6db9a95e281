"""The schema of the database of the keys: each change of it is made once, whoever else starts.

A database before the first version that is written down holds any of the tables of earlier
programs, or nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from ..errors import KeysUnavailable
from .key_table import ADDED, API_KEYS, SECRETS, UtcDateTime

Migration = Callable[[AsyncConnection], Awaitable[None]]

# Any number, the same in every release: PostgreSQL keeps locks of programs apart by it.
_LOCK = 5_274_801_163_927_440_118
_PATIENCE = 1.0  # seconds, for SQLite
_VERSIONS = sa.Table(
    "schema_versions",
    sa.MetaData(),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("applied_at", UtcDateTime, nullable=False),
)


async def _keys_and_secrets(connection: AsyncConnection) -> None:
    """Make both tables, or add to an older one of the keys what it lacks."""
    for table in (API_KEYS, SECRETS):
        await connection.execute(CreateTable(table, if_not_exists=True))
    there = await connection.run_sync(lambda sync: sa.inspect(sync).get_columns(API_KEYS.name))
    names = {column["name"] for column in there}
    for column in ADDED:
        if column.name not in names:
            text = CreateColumn(column).compile(dialect=connection.dialect)
            await connection.exec_driver_sql(f"ALTER TABLE {API_KEYS.name} ADD COLUMN {text}")
    for index in API_KEYS.indexes:
        await connection.execute(CreateIndex(index, if_not_exists=True))


MIGRATIONS: tuple[Migration, ...] = (_keys_and_secrets,)
"""Version n of the schema is what the first n of them have made. Released ones never change.

A program of the version before may still run on the same database while replicas are replaced, so
what is added must not disturb it: a new column may be NULL.
"""


async def version(connection: AsyncConnection) -> int:
    """Return the version of the schema; 0 where none is written down."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table(_VERSIONS.name)):
        return 0
    return await connection.scalar(sa.select(sa.func.max(_VERSIONS.c.version))) or 0


async def migrate(
    connection: AsyncConnection, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Bring the database to the newest version; others may do the same meanwhile.

    All of it is in the transaction of ``connection``, which nothing may have begun before. Raises
    ``KeysUnavailable`` when the database is of a newer program.
    """
    if await is_newest(connection, migrations):
        return
    if connection.dialect.name == "sqlite":
        await _write_ahead(connection)
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # It ends with the transaction: PgBouncer gives the next one another connection.
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if await is_newest(connection, migrations):
        return
    await connection.execute(CreateTable(_VERSIONS, if_not_exists=True))
    done = await version(connection)
    for number, step in enumerate(migrations[done:], done + 1):
        await step(connection)
        row = {"version": number, "applied_at": datetime.now(UTC)}
        await connection.execute(sa.insert(_VERSIONS).values(row))


async def _write_ahead(connection: AsyncConnection) -> None:
    """Set a property of the file: readers no longer wait for a writer. Not possible later on.

    SQLite does not wait, whatever its timeout, while another connection is about to write.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except sa.exc.OperationalError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.02)
        else:
            return


async def is_newest(
    connection: AsyncConnection, migrations: Sequence[Migration] = MIGRATIONS
) -> bool:
    """Tell whether nothing is missing; raises ``KeysUnavailable`` for that of a newer program."""
    found = await version(connection)
    if found > len(migrations):
        raise KeysUnavailable(
            f"the database of the keys has schema {found} of a newer version of this program, which"
            f" knows schemas up to {len(migrations)}: install that version, or restore a backup"
        )
    return found == len(migrations)


async def describe(connection: AsyncConnection) -> tuple[str, list[str]]:
    """Return name and version of a PostgreSQL, and which rights its user lacks.

    https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-ACCESS
    """
    missing = []
    if not await is_newest(connection):
        may = sa.select(sa.func.has_schema_privilege(sa.func.current_schema(), "CREATE"))
        if not await connection.scalar(may):  # also NULL: there is no schema for it
            missing.append("CREATE in its schema")
    for table in (API_KEYS.name, SECRETS.name):
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            # NULL where there is no such table.
            may = sa.select(sa.func.has_table_privilege(sa.func.to_regclass(table), right))
            if await connection.scalar(may) is False:
                missing.append(f"{right} on {table}")
    return f"PostgreSQL {await connection.scalar(sa.text('SHOW server_version'))}", missing
