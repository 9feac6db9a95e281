"""API keys: kept as SHA-256, bound to one collection, expiring and revocable.

A key is shown once, when it is created. The database knows its hash, its first characters and what
it may do. The same code runs on SQLite (the default) and on PostgreSQL: only ``database.url``
differs. Whatever goes wrong with the database is ``KeysUnavailable``, never "no such key".
"""

import asyncio
import builtins
import secrets
import string
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

import sqlalchemy as sa

from ..errors import Conflict, KeysUnavailable, Unprocessable
from ..types import StreamFormat
from .database import Database, database_file
from .key import Key, Limits, could_be_key, hash_of
from .key_cache import KeyCache
from .key_table import API_KEYS, HASHES, KEYS, WITH_HASHES, has_hash, key_of, row_of, verified_key
from .key_uses import NOTED_EVERY, KeyUses
from .known_keys import KnownKeys
from .migrations import is_newest, migrate

_ALPHABET = string.ascii_letters + string.digits
_RANDOM = 32  # characters after the prefix
_Reading = tuple[float, asyncio.Task[Key | None]]


class Keys:
    """The keys in one database; open between ``__aenter__`` and ``__aexit__``.

    ``url`` is an SQLAlchemy address with an async driver (``sqlite+aiosqlite:///data/orbit.db``,
    ``postgresql+asyncpg://…``), ``prefix`` the beginning of new keys, ``remember_seconds`` how long
    a verified key is answered from memory (0: never): less than a second, since a key that is ended
    elsewhere must be ended here within one. ``clock`` counts seconds for that memory, ``now`` tells
    the time of day for everything stored. With ``create`` false nothing is created that is not
    there. ``timeout`` in seconds is for everything that may have to be waited for, and for all of
    it together where a request waits. What was used of a key is written every ``count_seconds``.
    Every method raises ``KeysUnavailable`` when the database fails, and ``NotStarted`` while the
    object is not open.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "api_",
        remember_seconds: float = 0.8,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        create: bool = True,
        inspect_seconds: float = 30.0,
        timeout: float = 5.0,
        most_remembered: int = 10_000,
        count_seconds: float = 10.0,
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
        self._reading: dict[tuple[str, int], _Reading] = {}
        self._uses = KeyUses(self.database, count_seconds=count_seconds)
        self.known = KnownKeys(self.database, clock=clock, now=now)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.database.open, create=self._create)
        if not self._create:
            return self
        try:
            try:
                await self._migrate()
            except KeysUnavailable:
                # Others may be doing the same, longer than one waits for them. By the second
                # attempt it is done, or the attempt fails for the real reason.
                await self._migrate()
            await self.ping()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.forget()
        try:
            await self._uses.close()
        finally:
            await self.database.close()

    async def create(
        self,
        collection: str,
        client_name: str,
        notes: str = "",
        expires_at: datetime | None = None,
        stream_format: StreamFormat | None = None,
        origins: Iterable[str] = (),
        limits: Limits | None = None,
    ) -> tuple[Key, str]:
        """Store a new key and return it with its secret, which nobody can read again later.

        ``expires_at`` is an aware time, ``origins`` are as ``parse_origin`` gives them. Raises
        ``Unprocessable`` for text that no database keeps.
        """
        if expires_at is not None:
            if expires_at.tzinfo is None:
                raise ValueError("expires_at needs a time zone")
            expires_at = expires_at.astimezone(UTC)
        if not all(map(_storable, (collection, client_name, notes))):
            raise Unprocessable("Collection, name and notes must be plain Unicode text.")
        secret = self._new_secret()
        key = Key(
            id=f"key_{secrets.token_hex(6)}",
            prefix=self._visible(secret),
            collection=collection,
            client_name=client_name,
            notes=notes,
            created_at=self._now().astimezone(UTC),
            expires_at=expires_at,
            active=True,
            last_used_at=None,
            stream_format=stream_format,
            origins=tuple(origins),
            limits=limits or Limits(),
        )
        async with self.database.transaction() as connection:
            await connection.execute(
                sa.insert(API_KEYS).values(hash=hash_of(secret), **row_of(key))
            )
        self.known.clear()  # or an address that has guessed too much could not use it yet
        return key, secret

    async def limit(
        self,
        ref: str,
        limits: Mapping[str, int | None],
        *,
        origins: Iterable[str] | None = None,
    ) -> Key | None:
        """Change those of the ``Limits`` that are named, and ``origins`` unless ``None``.

        Returns the key that ``ref`` means (see ``find``), ``None`` if there is none.
        """
        changes: dict[str, Any] = dict(limits)
        if origins is not None:
            changes["origins"] = tuple(origins)
        return await self._change(ref, changes)

    async def rotate(self, ref: str, *, until: datetime | None = None) -> tuple[Key, str] | None:
        """Give the key that ``ref`` means a new secret; ``None`` if there is no such key.

        The old secret works until the aware time ``until``, or no longer; one that was replaced
        before ends at once. All else stays.
        """
        secret = self._new_secret()
        changes = {
            "previous_hash": None if until is None else API_KEYS.c.hash,
            "previous_until": until,
            "hash": hash_of(secret),
            "prefix": self._visible(secret),
        }
        key = await self._change(ref, changes)
        return None if key is None else (key, secret)

    async def list(self) -> builtins.list[Key]:
        """Return every key, the newest last."""
        async with self.database.transaction() as connection:
            rows = await connection.execute(KEYS.order_by(API_KEYS.c.created_at, API_KEYS.c.id))
            return [key_of(row) for row in rows.mappings()]

    async def find(self, ref: str) -> Key | None:
        """Return the key that ``ref`` means: the whole key, its id or its visible prefix.

        Raises ``Conflict`` when several keys begin with that prefix.
        """
        ref = ref.removesuffix("…")  # as the prefix is displayed
        if not could_be_key(ref):
            return None
        table = API_KEYS.c
        meant = sa.or_(table.id == ref, table.prefix == ref)
        if len(ref) >= _RANDOM and not (ref.startswith(self._prefix) and ref == self._visible(ref)):
            # Perhaps a whole key, which must not leave: drivers and servers log what they are sent.
            meant = has_hash([hash_of(ref)])
        async with self.database.transaction() as connection:
            rows = await connection.execute(KEYS.where(meant))
            found = [key_of(row) for row in rows.mappings()]
        if len(found) > 1:
            raise Conflict("Several keys begin like this. Name the one you mean by its id.")
        return found[0] if found else None

    async def deactivate(self, ref: str) -> Key | None:
        """End the key that ``ref`` means (see ``find``); None if there is none.

        A key that was inactive before is returned as well. In this process it ends at once, in
        others when they have forgotten it, which is within a second.
        """
        return await self._change(ref, {"active": False})

    async def delete(self, ref: str) -> bool:
        """Remove the key that ``ref`` means (see ``find``); False if there is none."""
        key = await self.find(ref)
        if key is None:
            return False
        return await self._apply(sa.delete(API_KEYS).where(API_KEYS.c.id == key.id))

    async def verify(self, secret: str) -> Key | None:
        """Return the usable key that ``secret`` is; None if unknown, expired or inactive."""
        if not could_be_key(secret):
            return None
        # The database compares hashes, not keys. How long that takes can only tell how a hash
        # begins, and nobody can choose a key by the beginning of its hash: no timing leak.
        digest = hash_of(secret)
        generation = self._remembered.generation
        until, known = self._remembered.get(digest) or (0.0, None)
        key = known
        if key is None:
            started, key = await self._read(digest)
            until = started + self._remember_seconds
        now = self._now()
        if key is None or not key.usable(now):
            return None
        if key.last_used_at is None or now - key.last_used_at >= NOTED_EVERY:
            key = replace(key, last_used_at=now.astimezone(UTC))
            self._uses.note(key.id, now)
        if key is not known:
            self._remembered.put(digest, key, until=until, generation=generation)
        return key

    def count_use(self, key: Key) -> None:
        """Count a request that ``key`` was let in with; ``Key.used`` says how many there were."""
        self._uses.count(key.id, self._now())

    def forget(self) -> None:
        """Answer nothing from memory any more; each key is read from the database again."""
        self._remembered.clear()
        self.known.clear()

    def remembers(self, secret: str) -> bool:
        """Tell whether ``verify`` would answer from memory that this is a key."""
        return could_be_key(secret) and self._remembered.get(hash_of(secret)) is not None

    async def exists(self) -> bool:
        """Tell whether the table has been made."""
        async with self.database.transaction() as connection:
            return await connection.run_sync(lambda sync: sa.inspect(sync).has_table("api_keys"))

    async def outdated(self) -> bool:
        """Tell whether an older program made the table; opening it with ``create`` migrates it.

        Raises ``KeysUnavailable`` when a newer one did.
        """
        if not await self.exists():
            return False
        async with self.database.transaction() as connection:
            return not await is_newest(connection)

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

    async def _migrate(self) -> None:
        async with self.database.transaction() as connection:
            await migrate(connection)

    def _new_secret(self) -> str:
        return self._prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))

    def _visible(self, secret: str) -> str:
        return secret[: len(self._prefix) + 4]

    async def usable(self, digests: Collection[str]) -> builtins.list[str]:
        """Return those of the hashes of verified keys that still are one, in one read.

        If any is not, nothing is answered from memory any more.
        """
        async with self.database.transaction(in_time=True) as connection:
            rows = (await connection.execute(WITH_HASHES.where(has_hash(digests)))).mappings().all()
        now, asked = self._now(), set(digests)
        found = [verified_key(row, row[name]) for row in rows for name in HASHES]
        good = [key.digest for key in found if key.digest in asked and key.usable(now)]
        if len(good) < len(asked):
            self.forget()
        return good

    async def _read(self, digest: str) -> tuple[float, Key | None]:
        """Read a key once for all who ask for it at the same moment; since when that is known."""
        # Whoever asks after a revocation must not be given what was read before it, nor what the
        # database has kept us waiting for since a time when the key may still have been good.
        asked = digest, self._remembered.generation
        started, reading = self._reading.get(asked) or (float("-inf"), None)
        if reading is None or self._clock() - started > self._remember_seconds:
            started, reading = self._clock(), asyncio.create_task(self._stored(digest))
            self._reading[asked] = mine = started, reading

            def forget(task: asyncio.Task[Key | None]) -> None:
                if self._reading.get(asked) is mine:
                    del self._reading[asked]
                if not task.cancelled():
                    task.exception()  # retrieve it, or asyncio warns

            reading.add_done_callback(forget)
        return started, await asyncio.shield(reading)

    async def _stored(self, digest: str) -> Key | None:
        stored = WITH_HASHES.where(has_hash([digest]))
        transaction = self.database.transaction(watched=True, in_time=True)
        async with transaction as connection:
            row = (await connection.execute(stored)).mappings().first()
        return None if row is None else verified_key(row, digest)

    async def _change(self, ref: str, changes: Mapping[str, Any]) -> Key | None:
        key = await self.find(ref)
        if key is None:
            return None
        if changes:
            this = API_KEYS.c.id == key.id
            if not await self._apply(sa.update(API_KEYS).where(this).values(**changes)):
                return None
        return await self.find(key.id)

    async def _apply(self, change: Any) -> bool:
        try:
            async with self.database.transaction() as connection:
                result = await connection.execute(change)
                return bool(result.rowcount)
        finally:
            # Also when the outcome is unknown. Changes are rare and forgetting is cheap.
            self.forget()


def _storable(text: str) -> bool:
    return "\0" not in text and text == text.encode(errors="ignore").decode()
