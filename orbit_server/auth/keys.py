"""API keys: kept as SHA-256, bound to one collection, expiring and revocable.

A key is shown once, when it is made. The database knows its hash, its first characters and what it
may do. The same code runs on SQLite (the default) and on PostgreSQL: only ``database.url`` differs.
Whatever goes wrong with the database is ``KeysUnavailable``, never "no such key".
"""

import asyncio
import builtins
import hashlib
import logging
import re
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from ..config import make_private_folder
from ..errors import Conflict, KeysUnavailable, NotStarted, Unprocessable
from ..types import StreamFormat

logger = logging.getLogger(__name__)

_ALPHABET = string.ascii_letters + string.digits
_RANDOM = 32  # characters after the prefix
_LONGEST_KEY = 256
_MOST_REMEMBERED = 10_000
_USE_NOTED_EVERY = timedelta(minutes=1)
_TIMEOUT = 5.0  # seconds: for a lock, for a connection, for a free place in the pool


@dataclass(frozen=True, slots=True)
class Key:
    """What may be known about an API key: everything but the key itself.

    ``prefix`` is its visible beginning (the configured prefix and four more characters). Times are
    aware and in UTC.
    """

    id: str
    prefix: str
    collection: str
    client_name: str
    notes: str
    created_at: datetime
    expires_at: datetime | None
    active: bool
    last_used_at: datetime | None
    stream_format: StreamFormat | None

    def usable(self, now: datetime) -> bool:
        """Tell whether the key opens anything at ``now`` (an aware time)."""
        return self.active and (self.expires_at is None or now < self.expires_at)


class _UtcDateTime(sa.TypeDecorator[datetime]):
    """PostgreSQL keeps the time zone, SQLite drops it: stored as UTC, both give back the same."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


_API_KEYS = sa.Table(
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
_KEYS = sa.select(*(_API_KEYS.c[field.name] for field in fields(Key)))
_USED_BEFORE = sa.bindparam("used_before", type_=_UtcDateTime)
_NOTE_USE = (
    sa.update(_API_KEYS)
    .where(_API_KEYS.c.id == sa.bindparam("key_id"))
    .where(_API_KEYS.c.last_used_at.is_(None) | (_API_KEYS.c.last_used_at <= _USED_BEFORE))
    .values(last_used_at=sa.bindparam("used_at"))
)


class Keys:
    """The keys in one database; open between ``__aenter__`` and ``__aexit__``.

    ``url`` is an SQLAlchemy address with an async driver (``sqlite+aiosqlite:///data/orbit.db``,
    ``postgresql+asyncpg://…``), ``prefix`` the beginning of new keys, ``remember_seconds`` how long
    a verified key is answered from memory (0: never). ``clock`` counts seconds for that memory,
    ``now`` tells the time of day for everything stored. With ``create`` false nothing is made that
    is not there. Every method raises ``KeysUnavailable`` when the database does not do its part,
    and ``NotStarted`` while the object is not open.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "api_",
        remember_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        create: bool = True,
        inspect_seconds: float = 30.0,
    ) -> None:
        self._url = url
        self._inspect_seconds = inspect_seconds
        self._inspected = float("-inf")
        self._prefix = prefix
        self._remember_seconds = remember_seconds
        self._clock = clock
        self._now = now
        self._create = create
        self._engine: AsyncEngine | None = None
        self._remembered: OrderedDict[str, tuple[float, Key]] = OrderedDict()
        self._generation = 0
        self._reading: dict[tuple[str, int], asyncio.Task[Key | None]] = {}
        self._uses: dict[str, datetime] = {}
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        url = _parse_url(self._url)
        with _keys_unavailable():
            if self._create:
                await asyncio.to_thread(_create_file, url)
            self._engine = create_async_engine(url, **_engine_options(url))
        if not self._create:
            return self
        try:
            try:
                await self._create_table()
            except KeysUnavailable:
                # Another process may be doing the same this very moment. By the second attempt it
                # is done, or the attempt fails for the real reason.
                await self._create_table()
            await self.ping()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        engine, writer = self._engine, self._writer
        self.forget()
        try:
            if writer is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(writer, _TIMEOUT)
        finally:
            self._engine = self._writer = None
            if engine is not None:
                with _keys_unavailable():
                    await engine.dispose()

    async def create(
        self,
        collection: str,
        client_name: str,
        notes: str = "",
        expires_at: datetime | None = None,
        stream_format: StreamFormat | None = None,
    ) -> tuple[Key, str]:
        """Store a new key and return it with its secret, which nobody can read again later.

        ``expires_at`` is an aware time. Raises ``Unprocessable`` for text that no database keeps.
        """
        if expires_at is not None:
            if expires_at.tzinfo is None:
                raise ValueError("expires_at needs a time zone")
            expires_at = expires_at.astimezone(UTC)
        if not all(map(_storable, (collection, client_name, notes))):
            raise Unprocessable("Collection, name and notes must be plain Unicode text.")
        secret = self._prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
        key = Key(
            id=f"key_{secrets.token_hex(6)}",
            prefix=secret[: len(self._prefix) + 4],
            collection=collection,
            client_name=client_name,
            notes=notes,
            created_at=self._now().astimezone(UTC),
            expires_at=expires_at,
            active=True,
            last_used_at=None,
            stream_format=stream_format,
        )
        async with self._transaction() as connection:
            await connection.execute(sa.insert(_API_KEYS).values(hash=_hash(secret), **asdict(key)))
        return key, secret

    async def list(self) -> builtins.list[Key]:
        """Return every key, the newest last."""
        async with self._transaction() as connection:
            rows = await connection.execute(_KEYS.order_by(_API_KEYS.c.created_at, _API_KEYS.c.id))
            return [Key(**row) for row in rows.mappings()]

    async def find(self, ref: str) -> Key | None:
        """Return the key that ``ref`` means: the whole key, its id or its visible prefix.

        Raises ``Conflict`` when several keys begin with that prefix.
        """
        if not _could_be_key(ref):
            return None
        table = _API_KEYS.c
        meant = sa.or_(table.id == ref, table.prefix == ref)
        if len(ref) >= _RANDOM:
            # Perhaps a whole key, which must not leave: drivers and servers log what they are sent.
            meant = table.hash == _hash(ref)
        async with self._transaction() as connection:
            rows = await connection.execute(_KEYS.where(meant))
            found = [Key(**row) for row in rows.mappings()]
        if len(found) > 1:
            raise Conflict("Several keys begin like this. Name the one you mean by its id.")
        return found[0] if found else None

    async def deactivate(self, ref: str) -> Key | None:
        """End the key that ``ref`` means (see ``find``); None if there is none.

        A key that was inactive before is returned as well. In this process it ends at once, in
        others when they have forgotten it.
        """
        key = await self.find(ref)
        if key is None:
            return None
        change = sa.update(_API_KEYS).where(_API_KEYS.c.id == key.id).values(active=False)
        return replace(key, active=False) if await self._revoke(change) else None

    async def delete(self, ref: str) -> bool:
        """Remove the key that ``ref`` means (see ``find``); False if there is none."""
        key = await self.find(ref)
        return key is not None and await self._revoke(
            sa.delete(_API_KEYS).where(_API_KEYS.c.id == key.id)
        )

    async def verify(self, secret: str) -> Key | None:
        """Return the usable key that ``secret`` is; None if unknown, expired or inactive."""
        if not _could_be_key(secret):
            return None
        # The database compares hashes, not keys. How long that takes can only tell how a hash
        # begins, and nobody can choose a key by the beginning of its hash: no timing leak.
        digest = _hash(secret)
        started, generation = self._clock(), self._generation
        until, key = self._remembered.get(digest, (started, None))
        if key is None or started >= until:
            until, key = started + self._remember_seconds, await self._read(digest)
        now = self._now()
        if key is None or not key.usable(now):
            return None
        if key.last_used_at is None or now - key.last_used_at >= _USE_NOTED_EVERY:
            key = replace(key, last_used_at=now.astimezone(UTC))
            self._note_use(key.id, now)
        # What was read before a revocation in this process must not be remembered after it.
        if generation == self._generation:
            self._remembered[digest] = until, key
            self._remembered.move_to_end(digest)
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return key

    def forget(self) -> None:
        """Answer nothing from memory any more; each key is read from the database again."""
        self._generation += 1
        self._remembered.clear()

    async def exists(self) -> bool:
        """Tell whether the table has been made."""
        async with self._transaction() as connection:
            return await connection.run_sync(lambda sync: sa.inspect(sync).has_table("api_keys"))

    async def ping(self) -> None:
        """Return if the database answers, is undamaged, and the table is as expected.

        The pages of an SQLite file are read from the disk at most every ``inspect_seconds``.
        """
        async with self._transaction() as connection:
            await connection.execute(_KEYS.limit(1))
            file = database_file(self._url)
            if file is not None and not await asyncio.to_thread(file.exists):
                # This connection works on; the next one finds an empty database.
                raise KeysUnavailable(f"{file} is gone")
            if file is not None and self._clock() - self._inspected >= self._inspect_seconds:
                await connection.exec_driver_sql("PRAGMA shrink_memory")
                found = (await connection.exec_driver_sql("PRAGMA quick_check(1)")).scalar()
                if found != "ok":
                    raise KeysUnavailable(f"{file} is damaged: {found}")
                self._inspected = self._clock()

    async def _create_table(self) -> None:
        async with self._transaction() as connection:
            if connection.dialect.name == "sqlite":
                # A property of the file: readers no longer wait for a writer.
                await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            await connection.execute(CreateTable(_API_KEYS, if_not_exists=True))
            for index in _API_KEYS.indexes:
                await connection.execute(CreateIndex(index, if_not_exists=True))

    async def _read(self, digest: str) -> Key | None:
        """Read a key once for all who ask for it at the same moment."""
        # Whoever asks after a revocation must not be given what was read before it.
        asked = digest, self._generation
        reading = self._reading.get(asked)
        if reading is None:
            reading = self._reading[asked] = asyncio.create_task(self._stored(digest))

            def forget(task: asyncio.Task[Key | None]) -> None:
                del self._reading[asked]
                task.cancelled() or task.exception()  # nobody may be left to hear of it

            reading.add_done_callback(forget)
        return await asyncio.shield(reading)

    async def _stored(self, digest: str) -> Key | None:
        async with self._transaction() as connection:
            rows = await connection.execute(_KEYS.where(_API_KEYS.c.hash == digest))
            return next((Key(**row) for row in rows.mappings()), None)

    async def _revoke(self, change: Any) -> bool:
        try:
            async with self._transaction() as connection:
                result = await connection.execute(change)
                return bool(result.rowcount)
        finally:
            # Also when the outcome is unknown. Revoking is rare and forgetting is cheap.
            self.forget()

    def _note_use(self, key_id: str, now: datetime) -> None:
        self._uses[key_id] = now
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_uses())

    async def _write_uses(self) -> None:
        while self._uses:
            uses, self._uses = self._uses, {}
            rows = [
                {"key_id": key_id, "used_at": used, "used_before": used - _USE_NOTED_EVERY}
                for key_id, used in sorted(uses.items())  # one order: writers cannot deadlock
            ]
            try:
                async with self._transaction() as connection:
                    await connection.execute(_NOTE_USE, rows)
            except KeysUnavailable as error:
                logger.debug("the last use of %d keys is not noted: %s", len(rows), error)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        if self._engine is None:
            raise NotStarted("Keys is used outside of its async with block")
        with _keys_unavailable():
            async with self._engine.begin() as connection:
                yield connection


def database_file(url: str) -> Path | None:
    """Return the SQLite file that ``url`` names; ``None`` for a server and for what is no URL."""
    with suppress(KeysUnavailable):
        return _file(_parse_url(url))
    return None


def parse_expiry(text: str, *, now: datetime | None = None) -> datetime:
    """Return the UTC time that ``text`` means: ``90d``, ``12h``, ``2027-01-31``, an ISO date-time.

    A date is its first moment, and a time without a zone is read as UTC. Raises ``ValueError`` with
    a sentence for anything else and for what is not in the future of ``now``.
    """
    now = now or datetime.now(UTC)
    try:
        if span := re.fullmatch(r"([0-9]+)([dh])", text.strip()):
            amount = int(span[1])
            expiry = now + (timedelta(days=amount) if span[2] == "d" else timedelta(hours=amount))
        else:
            expiry = datetime.fromisoformat(text.strip())
            expiry = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
        expiry = expiry.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is not an expiry: give 90d, 12h, 2027-01-31 or 2027-01-31T18:00Z.'
        ) from None
    if expiry <= now:
        raise ValueError(f'"{text}" is in the past: a key must expire in the future.')
    return expiry


@contextmanager
def _keys_unavailable() -> Iterator[None]:
    """Translate whatever the database calls inside raise.

    Drivers raise trees of their own, a host that is gone an OSError, a damaged row a ValueError: a
    list of classes would let one of them pass for something else than an outage.
    """
    try:
        yield
    except Exception as error:
        reason = getattr(error, "orig", None) or error
        raise KeysUnavailable(f"{type(reason).__name__}: {reason}") from error


def _parse_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except Exception:
        # The parser's own message may quote a piece of the password.
        raise KeysUnavailable("database.url is not the address of a database") from None
    if url.get_backend_name() == "sqlite" and (url.database or ":memory:") == ":memory:":
        raise KeysUnavailable("database.url names no file, and keys must outlive the process")
    return url


def _engine_options(url: sa.URL) -> dict[str, Any]:
    options: dict[str, Any] = {"hide_parameters": True, "pool_timeout": _TIMEOUT}
    if url.get_backend_name() == "sqlite":
        # Each connection is a thread; a read takes well under a millisecond.
        return options | {"pool_size": 4, "max_overflow": 0, "connect_args": {"timeout": _TIMEOUT}}
    options |= {"pool_size": 5, "max_overflow": 5, "pool_pre_ping": True}
    if url.get_driver_name() == "asyncpg":
        options["connect_args"] = {"timeout": _TIMEOUT, "command_timeout": _TIMEOUT}
    return options


def _create_file(url: sa.URL) -> None:
    """Make SQLite's file before SQLite does, readable by its owner only (-wal and -shm inherit)."""
    if path := _file(url):
        make_private_folder(path.parent)
        with suppress(FileExistsError):
            path.touch(mode=0o600, exist_ok=False)


def _file(url: sa.URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        return None
    return Path(str(url.database))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _could_be_key(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_KEY and text.isascii() and text.isprintable()


def _storable(text: str) -> bool:
    return "\0" not in text and text == text.encode(errors="ignore").decode()
