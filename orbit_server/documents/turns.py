"""Loads of one collection take turns: what one replaces, no other replaces at the same time.

Two that store the same file at once would each take the other's passages for outdated ones. The
lock is a file, so it holds among all processes of a machine that use the same folder.
"""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ..errors import CollectionNotFound, Conflict, SearchUnavailable
from ..retrieval.chroma.protocol import Chroma
from ..retrieval.words.file_lock import locked

# Whoever waits looks every 20 ms, and must not always find that the next turn has begun.
_PAUSE = 0.04


@asynccontextmanager
async def locked_collection(
    folder: Path, name: str, *, patience: float = math.inf
) -> AsyncIterator[None]:
    """Hold the lock of the collection ``name``; ``Conflict`` when that takes too many seconds."""
    path = folder / f"{sha256(name.encode()).hexdigest()[:32]}.lock"
    try:
        descriptor = await locked(path, patience=patience)
    except OSError as error:
        raise SearchUnavailable(f"The lock {path} cannot be used: {error}") from error
    if descriptor is None:
        raise Conflict(f"Collection {name!r} is being loaded. Try again when that is done.")
    try:
        yield
    finally:
        os.close(descriptor)


class Turns:
    """The turns of one load at its collection."""

    def __init__(self, chroma: Chroma, name: str, folder: Path) -> None:
        self._chroma = chroma
        self._name = name
        self._folder = folder
        self._id: str | None = None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Have the collection alone, after those who had it before.

        Raises ``Conflict`` where it was deleted since the turn before: the rest of the documents
        must not bring it back.
        """
        async with locked_collection(self._folder, self._name):
            if self._id is not None and await self._current() != self._id:
                raise Conflict(f"Collection {self._name!r} was deleted while it was being loaded.")
            yield
            self._id = await self._current()
        await asyncio.sleep(_PAUSE)

    async def _current(self) -> str | None:
        with suppress(CollectionNotFound):
            return (await self._chroma.collection(self._name, fresh=True)).id
        return None
