"""The table of API keys, the same on SQLite and on PostgreSQL."""

from dataclasses import fields
from datetime import UTC, datetime

import sqlalchemy as sa

from .key import Key


class _UtcDateTime(sa.TypeDecorator[datetime]):
    """PostgreSQL keeps the time zone, SQLite drops it: stored as UTC, both give back the same."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


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
)
KEYS = sa.select(*(API_KEYS.c[field.name] for field in fields(Key)))
_USED_BEFORE = sa.bindparam("used_before", type_=_UtcDateTime)
NOTE_USE = (
    sa.update(API_KEYS)
    .where(API_KEYS.c.id == sa.bindparam("key_id"))
    .where(API_KEYS.c.last_used_at.is_(None) | (API_KEYS.c.last_used_at <= _USED_BEFORE))
    .values(last_used_at=sa.bindparam("used_at"))
)
