"""The table of API keys, the same on SQLite and on PostgreSQL."""

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from .key import LIMITS, Key, Limits


class _UtcDateTime(sa.TypeDecorator[datetime]):
    """PostgreSQL keeps the time zone, SQLite drops it: stored as UTC, both give back the same."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class _Words(sa.TypeDecorator[tuple[str, ...]]):
    """Words without spaces, in one text; none of them is NULL."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> str | None:
        return " ".join(value or ()) or None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> tuple[str, ...]:
        return tuple((value or "").split())


# A column that is added later may be NULL: a program before it may share the table.
_ADDED: tuple[sa.Column[Any], ...] = (
    sa.Column("origins", _Words),
    *(sa.Column(name, sa.Integer) for name in LIMITS),
    sa.Column("previous_hash", sa.String(64), index=True),
    sa.Column("previous_until", _UtcDateTime),
    sa.Column("used_on", sa.String(10)),
    sa.Column("used", sa.Integer),
)
API_KEYS = sa.Table(
    "api_keys",
    sa.MetaData(),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True, index=True),
    sa.Column("prefix", sa.String, nullable=False, index=True),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("client_name", sa.String, nullable=False),
    sa.Column("notes", sa.String, nullable=False),
    sa.Column("created_at", _UtcDateTime, nullable=False),
    sa.Column("expires_at", _UtcDateTime),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("last_used_at", _UtcDateTime),
    sa.Column("stream_format", sa.String),
    *_ADDED,
)
_SECRET = {"hash", "previous_hash"}
KEYS = sa.select(*(column for column in API_KEYS.c if column.name not in _SECRET))
_USED_BEFORE = sa.bindparam("used_before", type_=_UtcDateTime)
NOTE_USE = (
    sa.update(API_KEYS)
    .where(API_KEYS.c.id == sa.bindparam("key_id"))
    .where(API_KEYS.c.last_used_at.is_(None) | (API_KEYS.c.last_used_at <= _USED_BEFORE))
    .values(last_used_at=sa.bindparam("used_at"))
)


def key_of(row: sa.RowMapping) -> Key:
    """Return the key that a row of ``KEYS`` holds."""
    values = {each.name: row[each.name] for each in fields(Key) if each.name != "limits"}
    values["used"] = values["used"] or 0
    return Key(**values, limits=Limits(**{name: row[name] for name in LIMITS}))


def row_of(key: Key) -> dict[str, Any]:
    """Return the columns of a key, without its hash."""
    row = asdict(key)
    limits: dict[str, int | None] = row.pop("limits")
    return row | limits


async def create_table(connection: AsyncConnection) -> None:
    """Make the table, or add to an older one what it lacks; others may do the same meanwhile."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        # A property of the file: readers no longer wait for a writer.
        await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    await connection.execute(CreateTable(API_KEYS, if_not_exists=True))
    if await missing_columns(connection):
        if sqlite:  # it has no IF NOT EXISTS for a column, so nobody else may add one meanwhile
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        unless = "" if sqlite else "IF NOT EXISTS "
        for column in await missing_columns(connection):
            text = CreateColumn(column).compile(dialect=connection.dialect)
            await connection.exec_driver_sql(f"ALTER TABLE api_keys ADD COLUMN {unless}{text}")
    for index in API_KEYS.indexes:
        await connection.execute(CreateIndex(index, if_not_exists=True))


async def missing_columns(connection: AsyncConnection) -> list[sa.Column[Any]]:
    """Return the columns that the table of an older version lacks."""
    there = await connection.run_sync(lambda sync: sa.inspect(sync).get_columns("api_keys"))
    names = {column["name"] for column in there}
    return [column for column in _ADDED if column.name not in names]
