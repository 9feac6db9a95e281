"""When keys were last used, and how often on a day: written to the table behind the requests."""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..errors import KeysUnavailable
from .database import Database
from .key import day_of
from .key_table import API_KEYS, NOTE_USE

logger = logging.getLogger(__name__)

NOTED_EVERY = timedelta(minutes=1)
_CLOSING_SECONDS = 5.0
_COUNT_USES = (
    sa.update(API_KEYS)
    .where(API_KEYS.c.id == sa.bindparam("key_id"))
    .values(
        used=sa.case(
            (API_KEYS.c.used_on == sa.bindparam("day"), API_KEYS.c.used + sa.bindparam("times")),
            else_=sa.bindparam("times"),
        ),
        used_on=sa.bindparam("day"),
    )
)


class KeyUses:
    """Notes uses of keys in ``database``, in the background; what fails harms no request.

    The time of a last use is written at once, counted uses after ``count_seconds``.
    """

    def __init__(self, database: Database, *, count_seconds: float) -> None:
        self._database = database
        self._count_seconds = count_seconds
        self._last: dict[str, datetime] = {}
        self._counts: Counter[tuple[str, str]] = Counter()  # by id and day
        self._due = False
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def note(self, key_id: str, now: datetime) -> None:
        """Note ``now`` as the last use of a key, unless that is already known to the minute."""
        self._last[key_id] = now
        self._start()

    def count(self, key_id: str, now: datetime) -> None:
        """Count one request with a key."""
        self._counts[key_id, day_of(now)] += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._count_seconds, self._start)

    async def close(self) -> None:
        """Write what is left, unless that takes too long."""
        if self._counts:
            self._start()
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(writer, _CLOSING_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self._due = True  # also for a writer that is at work
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        # What is only counted meanwhile waits for its time: else a busy server never stops writing.
        while self._due:
            self._due = False
            last, self._last = self._last, {}
            counts, self._counts = self._counts, Counter()
            # Sorted, so that writers cannot deadlock.
            uses = [
                {"key_id": key_id, "used_at": used, "used_before": used - NOTED_EVERY}
                for key_id, used in sorted(last.items())
            ]
            counted = [
                {"key_id": key_id, "day": day, "times": times}
                for (key_id, day), times in sorted(counts.items())
            ]
            try:
                async with self._database.transaction() as connection:
                    if uses:
                        await connection.execute(NOTE_USE, uses)
                    if counted:
                        await connection.execute(_COUNT_USES, counted)
            except KeysUnavailable as error:
                keys = {row["key_id"] for row in (*uses, *counted)}
                logger.debug("the last use of %d keys could not be stored: %s", len(keys), error)
                self._counts.update(counts)  # written with the next
                return
