"""The tables of the API keys and of the secrets, the same on SQLite and on PostgreSQL."""

from collections.abc import Collection
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from .key import LIMITS, Key, Limits


class UtcDateTime(sa.TypeDecorator[datetime]):
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


# What the table of the first program lacks; it may be NULL, since that one may share the table.
ADDED: tuple[sa.Column[Any], ...] = (
    sa.Column("origins", _Words),
    *(sa.Column(name, sa.Integer) for name in LIMITS),
    sa.Column("previous_hash", sa.String(64), index=True),
    sa.Column("previous_until", UtcDateTime),
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
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("stream_format", sa.String),
    *ADDED,
)
SECRETS = sa.Table(
    "installation_secrets",
    sa.MetaData(),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
HASHES = ("hash", "previous_hash")
KEYS = sa.select(*(column for column in API_KEYS.c if column.name not in HASHES))
WITH_HASHES = KEYS.add_columns(API_KEYS.c.hash, API_KEYS.c.previous_hash)
_USED_BEFORE = sa.bindparam("used_before", type_=UtcDateTime)
NOTE_USE = (
    sa.update(API_KEYS)
    .where(API_KEYS.c.id == sa.bindparam("key_id"))
    .where(API_KEYS.c.last_used_at.is_(None) | (API_KEYS.c.last_used_at <= _USED_BEFORE))
    .values(last_used_at=sa.bindparam("used_at"))
)


def key_of(row: sa.RowMapping) -> Key:
    """Return the key that a row of ``KEYS`` holds."""
    values = {each.name: row[each.name] for each in fields(Key) if each.name in row}
    values["used"] = values["used"] or 0
    return Key(**values, limits=Limits(**{name: row[name] for name in LIMITS}))


def verified_key(row: sa.RowMapping, digest: str) -> Key:
    """Return the key of a row of ``WITH_HASHES`` as one of its secrets opens it.

    The secret before a rotation ends earlier than the key.
    """
    key = replace(key_of(row), digest=digest)
    if row["hash"] == digest:
        return key
    ends = [moment for moment in (key.expires_at, key.previous_until) if moment]
    return replace(key, expires_at=min(ends)) if ends else key


def has_hash(digests: Collection[str]) -> sa.ColumnElement[bool]:
    """Return the condition that one of the secrets of a key has one of these hashes."""
    return sa.or_(API_KEYS.c.hash.in_(digests), API_KEYS.c.previous_hash.in_(digests))


def row_of(key: Key) -> dict[str, Any]:
    """Return the columns of a key, without its hash."""
    row = asdict(key)
    del row["digest"]
    limits: dict[str, int | None] = row.pop("limits")
    return row | limits
