"""API keys: kept as SHA-256, bound to one collection, expiring and revocable.

A key is shown once, when it is created. The database knows its hash, its first characters and what
it may do. The same code runs on SQLite (the default) and on PostgreSQL: only ``database.url``
differs. Whatever goes wrong with the database is ``KeysUnavailable``, never "no such key".
"""

import asyncio
import builtins
import hashlib
import logging
import secrets
import string
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from ..errors import Conflict, KeysUnavailable, Unprocessable
from ..types import StreamFormat
from .database import Database, database_file
from .key import Key
from .key_cache import KeyCache
from .key_table import API_KEYS, KEYS, NOTE_USE

logger = logging.getLogger(__name__)

_ALPHABET = string.ascii_letters + string.digits
_RANDOM = 32  # characters after the prefix
_LONGEST_KEY = 256
_CLOSING_SECONDS = 5.0
_USE_NOTED_EVERY = timedelta(minutes=1)


class Keys:
    """The keys in one database; open between ``__aenter__`` and ``__aexit__``.

    ``url`` is an SQLAlchemy address with an async driver (``sqlite+aiosqlite:///data/orbit.db``,
    ``postgresql+asyncpg://…``), ``prefix`` the beginning of new keys, ``remember_seconds`` how long
    a verified key is answered from memory (0: never). ``clock`` counts seconds for that memory,
    ``now`` tells the time of day for everything stored. With ``create`` false nothing is created
    that is not there. ``timeout`` in seconds is for everything that may have to be waited for.
    Every method raises ``KeysUnavailable`` when the database fails, and ``NotStarted`` while the
    object is not open.
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
        timeout: float = 5.0,
        most_remembered: int = 10_000,
    ) -> None:
        self._url = url
        self._inspect_seconds = inspect_seconds
        self._inspected = float("-inf")
        self._prefix = prefix
        self._remember_seconds = remember_seconds
        self._clock = clock
        self._now = now
        self._create = create
        self.database = Database(url, timeout=timeout)
        self._remembered = KeyCache(most=most_remembered, clock=clock)
        self._reading: dict[tuple[str, int], asyncio.Task[Key | None]] = {}
        self._uses: dict[str, datetime] = {}
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.database.open, create=self._create)
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
        self.forget()
        try:
            if self._writer is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._writer, _CLOSING_SECONDS)
        finally:
            self._writer = None
            await self.database.close()

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
        async with self.database.transaction() as connection:
            await connection.execute(sa.insert(API_KEYS).values(hash=_hash(secret), **asdict(key)))
        return key, secret

    async def list(self) -> builtins.list[Key]:
        """Return every key, the newest last."""
        async with self.database.transaction() as connection:
            rows = await connection.execute(KEYS.order_by(API_KEYS.c.created_at, API_KEYS.c.id))
            return [Key(**row) for row in rows.mappings()]

    async def find(self, ref: str) -> Key | None:
        """Return the key that ``ref`` means: the whole key, its id or its visible prefix.

        Raises ``Conflict`` when several keys begin with that prefix.
        """
        ref = ref.removesuffix("…")  # as the prefix is displayed
        if not _could_be_key(ref):
            return None
        table = API_KEYS.c
        meant = sa.or_(table.id == ref, table.prefix == ref)
        if len(ref) >= _RANDOM:
            # Perhaps a whole key, which must not leave: drivers and servers log what they are sent.
            meant = table.hash == _hash(ref)
        async with self.database.transaction() as connection:
            rows = await connection.execute(KEYS.where(meant))
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
        change = sa.update(API_KEYS).where(API_KEYS.c.id == key.id).values(active=False)
        return replace(key, active=False) if await self._revoke(change) else None

    async def delete(self, ref: str) -> bool:
        """Remove the key that ``ref`` means (see ``find``); False if there is none."""
        key = await self.find(ref)
        return key is not None and await self._revoke(
            sa.delete(API_KEYS).where(API_KEYS.c.id == key.id)
        )

    async def verify(self, secret: str) -> Key | None:
        """Return the usable key that ``secret`` is; None if unknown, expired or inactive."""
        if not _could_be_key(secret):
            return None
        # The database compares hashes, not keys. How long that takes can only tell how a hash
        # begins, and nobody can choose a key by the beginning of its hash: no timing leak.
        digest = _hash(secret)
        started, generation = self._clock(), self._remembered.generation
        until, key = self._remembered.get(digest) or (started, None)
        if key is None:
            until, key = started + self._remember_seconds, await self._read(digest)
        now = self._now()
        if key is None or not key.usable(now):
            return None
        if key.last_used_at is None or now - key.last_used_at >= _USE_NOTED_EVERY:
            key = replace(key, last_used_at=now.astimezone(UTC))
            self._note_use(key.id, now)
        self._remembered.put(digest, key, until=until, generation=generation)
        return key

    def forget(self) -> None:
        """Answer nothing from memory any more; each key is read from the database again."""
        self._remembered.clear()

    async def exists(self) -> bool:
        """Tell whether the table has been made."""
        async with self.database.transaction() as connection:
            return await connection.run_sync(lambda sync: sa.inspect(sync).has_table("api_keys"))

    async def ping(self) -> None:
        """Return if the database answers, is undamaged, and the table is as expected.

        The pages of an SQLite file are read from the disk at most every ``inspect_seconds``.
        """
        async with self.database.transaction() as connection:
            await connection.execute(KEYS.limit(1))
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
        async with self.database.transaction() as connection:
            if connection.dialect.name == "sqlite":
                # A property of the file: readers no longer wait for a writer.
                await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            await connection.execute(CreateTable(API_KEYS, if_not_exists=True))
            for index in API_KEYS.indexes:
                await connection.execute(CreateIndex(index, if_not_exists=True))

    async def _read(self, digest: str) -> Key | None:
        """Read a key once for all who ask for it at the same moment."""
        # Whoever asks after a revocation must not be given what was read before it.
        asked = digest, self._remembered.generation
        reading = self._reading.get(asked)
        if reading is None:
            reading = self._reading[asked] = asyncio.create_task(self._stored(digest))

            def forget(task: asyncio.Task[Key | None]) -> None:
                del self._reading[asked]
                if not task.cancelled():
                    task.exception()  # retrieve it, or asyncio warns

            reading.add_done_callback(forget)
        return await asyncio.shield(reading)

    async def _stored(self, digest: str) -> Key | None:
        async with self.database.transaction(watched=True) as connection:
            rows = await connection.execute(KEYS.where(API_KEYS.c.hash == digest))
            return next((Key(**row) for row in rows.mappings()), None)

    async def _revoke(self, change: Any) -> bool:
        try:
            async with self.database.transaction() as connection:
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
                async with self.database.transaction() as connection:
                    await connection.execute(NOTE_USE, rows)
            except KeysUnavailable as error:
                logger.debug("the last use of %d keys is not noted: %s", len(rows), error)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _could_be_key(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_KEY and text.isascii() and text.isprintable()


def _storable(text: str) -> bool:
    return "\0" not in text and text == text.encode(errors="ignore").decode()
