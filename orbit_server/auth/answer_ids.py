"""Ids of answers that tell who got the answer and when, to this installation and to nobody else."""

import base64
import hmac
import secrets
import struct
import time
from collections.abc import Callable
from typing import Self

import sqlalchemy as sa

from .database import Database
from .key_table import SECRETS

_NAME = "answer_ids"
_KEEP = sa.text(
    "INSERT INTO installation_secrets (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"
)
_DAY = 86_400
_RANDOM = 7  # bytes behind four of time
_TAG = 10  # bytes of HMAC-SHA256: nobody tries 2**80 ids
_LENGTH = 28  # of all of that in base64


class AnswerIds:
    """Makes ids, and knows its own again: 28 letters, digits, ``-`` and ``_``.

    An id holds its time and a signature in which its owner is counted, so nothing has to be kept.
    The secret is in ``database``, made by whoever starts first: every process that shares the
    database knows the ids of all. It is read in ``async with``, behind the opening of the database;
    raises ``KeysUnavailable`` when that fails.
    """

    def __init__(
        self, database: Database, *, days: int = 30, now: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._seconds = days * _DAY
        self._now = now
        self._secret = b""

    async def __aenter__(self) -> Self:
        self._secret = await self._read()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._secret = b""

    def new(self, owner: str) -> str:
        """Return a new id for an answer that ``owner`` is given now."""
        head = struct.pack(">I", int(self._now())) + secrets.token_bytes(_RANDOM)
        return base64.urlsafe_b64encode(head + self._tag(head, owner)).decode()

    def knows(self, answer_id: str, owner: str) -> bool:
        """Tell whether ``answer_id`` was given to ``owner``, and in the last ``days``."""
        if len(answer_id) != _LENGTH or not self._secret:
            return False
        try:
            data = base64.b64decode(answer_id, altchars=b"-_", validate=True)
        except ValueError:
            return False
        head, tag = data[:-_TAG], data[-_TAG:]
        if not hmac.compare_digest(tag, self._tag(head, owner)):
            return False
        (made,) = struct.unpack_from(">I", head)
        return bool(self._now() - made < self._seconds)

    def _tag(self, head: bytes, owner: str) -> bytes:
        return hmac.digest(self._secret, head + owner.encode(), "sha256")[:_TAG]

    async def _read(self) -> bytes:
        async with self._database.transaction() as connection:
            await connection.execute(_KEEP, {"name": _NAME, "value": secrets.token_hex(32)})
            kept = sa.select(SECRETS.c.value).where(SECRETS.c.name == _NAME)
            return bytes.fromhex((await connection.execute(kept)).scalar_one())
