"""What is known of all keys together, read every few seconds instead of for each request."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Generic, TypeVar

import sqlalchemy as sa

from ..errors import OrbitError
from .database import Database
from .key import could_be_key, hash_of
from .key_table import API_KEYS
from .origins import is_one_of

T = TypeVar("T")


class KnownKeys:
    """The hashes of usable keys and the origins of active ones, as of ``seconds`` ago.

    ``now`` tells the time of day, ``clock`` counts seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        seconds: float = 5.0,
    ) -> None:
        self._database = database
        self._now = now
        self._hashes = Snapshot(self._all_hashes, seconds=seconds, clock=clock)
        self._origins = Snapshot(self._all_origins, seconds=seconds, clock=clock)

    async def include(self, secret: str) -> bool:
        """Tell whether ``secret`` may be a key; raises ``KeysUnavailable``."""
        return could_be_key(secret) and hash_of(secret) in await self._hashes.get()

    async def name_origin(self, origin: str) -> bool:
        """Tell whether a key is for pages of ``origin``; also while that cannot be known.

        Raises nothing: the answer to the page will say what is wrong.
        """
        try:
            return is_one_of(origin, await self._origins.get())
        except OrbitError:
            return True

    def clear(self) -> None:
        """Let the next question read the table again."""
        self._hashes.clear()
        self._origins.clear()

    async def _all_hashes(self) -> frozenset[str]:
        # Expired ones too are wrong keys: the old one of a public page is in everybody's hands.
        keys, now = API_KEYS.c, self._now()
        usable = sa.and_(keys.active, sa.or_(keys.expires_at.is_(None), keys.expires_at > now))
        hashes = sa.union_all(
            sa.select(keys.hash).where(usable),
            sa.select(keys.previous_hash).where(usable, keys.previous_until > now),
        )
        async with self._database.transaction(in_time=True) as connection:
            return frozenset(await connection.scalars(hashes))

    async def _all_origins(self) -> frozenset[str]:
        named = API_KEYS.c.origins.is_not(None)
        origins = sa.select(API_KEYS.c.origins).where(API_KEYS.c.active, named).distinct()
        async with self._database.transaction(in_time=True) as connection:
            rows = await connection.scalars(origins)
            return frozenset(origin for found in rows for origin in found)


class Snapshot(Generic[T]):
    """What ``read`` returns, for ``seconds`` of the ``clock``; all who wait share one reading."""

    def __init__(
        self, read: Callable[[], Awaitable[T]], *, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._reading = asyncio.Lock()
        self._until = float("-inf")
        self._value: T | None = None
        self._failure: Exception | None = None

    async def get(self) -> T:
        """Return the view; raises what ``read`` raises, to all who waited for it."""
        known = self._failure
        async with self._reading:
            if self._failure is not None and self._failure is not known:
                # Each of a crowd would wait for a time-out of its own, one after the other.
                raise self._failure
            now = self._clock()
            if self._value is None or now >= self._until:
                self._until = now + self._seconds
                self._value = None
                try:
                    self._value = await self._read()
                except Exception as error:
                    self._failure = error
                    raise
                self._failure = None
            return self._value

    def clear(self) -> None:
        """Let the next ``get`` read again."""
        self._until = float("-inf")
