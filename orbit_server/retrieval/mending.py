"""The word index of a collection is a cache of Chroma, and is mended from it.

It may be lost, damaged, of another version, or behind on another host. A part of an index finds far
worse than none, so until it is complete its collection is searched by meaning alone.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from cachetools import TTLCache

from ..errors import OrbitError, SearchError
from .bm25 import Bm25Index
from .chroma.protocol import Chroma, Collection, Record

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000


class Reindexed(NamedTuple):
    """How far the word index has been written anew; ``done`` equals ``total`` at the end.

    ``removed`` passages were in it without being in Chroma; it is known at the end.
    """

    done: int
    total: int
    removed: int = 0


class IndexMender:
    """Knows which word indexes are complete, and mends the others in the background.

    Mends in ``async with`` only; outside of it, it tells but does nothing. ``writing`` is held
    while an index is written, so that an index in the middle of being mended does not lose what is
    just being stored. ``incomplete`` says of collections, by name, how their index falls short.
    A complete index is counted again after ``remember_seconds``, by the ``clock``.
    """

    def __init__(
        self,
        chroma: Chroma,
        lexical: Bm25Index,
        *,
        page: int = 2000,
        remember_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chroma = chroma
        self.lexical = lexical
        self.page = page
        self.writing = asyncio.Lock()
        self.incomplete: dict[str, str] = {}
        self._complete: TTLCache[str, bool] = TTLCache(_REMEMBERED, remember_seconds, clock)
        self._mending: dict[str, asyncio.Task[None]] | None = None

    async def __aenter__(self) -> Self:
        self._mending = {}
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks, self._mending = self._mending or {}, None
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def is_complete(self, collection: Collection) -> bool:
        """Tell whether the index holds every passage; if not, begin to mend it.

        Words are written before vectors and removed after them, so there are fewer of them only
        where an index was lost. Raises what ``chroma`` does.
        """
        if (remembered := self._complete.get(collection.id)) is not None:
            return remembered
        total = await self.chroma.count(collection.name)
        try:
            indexed = await self.lexical.count(collection.id)
            missing = f"{indexed} of {total} passages" if indexed < total else ""
        except SearchError as error:
            missing = str(error)
        self._complete[collection.id] = not missing
        if missing:
            self.distrust(collection, missing)
        else:
            self.incomplete.pop(collection.name, None)
        return not missing

    def distrust(self, collection: Collection, reason: str) -> None:
        """Search ``collection`` by meaning alone until its index is mended, which begins now."""
        self._complete[collection.id] = False
        if collection.name not in self.incomplete:
            logger.warning(
                "collection %s is searched by meaning alone until its word index is mended: %s",
                collection.name,
                reason,
            )
        self.incomplete[collection.name] = reason
        if self._mending is not None and collection.id not in self._mending:
            task = asyncio.create_task(self._mend(collection))
            self._mending[collection.id] = task

    async def _mend(self, collection: Collection) -> None:
        try:
            result = await self.reindex(collection.name)
            while result.done < result.total:
                result = await self.reindex(collection.name, result.done)
            logger.info(
                "collection %s: word index mended, %d passages", collection.name, result.done
            )
        except OrbitError as error:
            logger.warning("collection %s: word index not mended: %s", collection.name, error)
        finally:
            if self._mending is not None:
                del self._mending[collection.id]

    async def reindex(self, name: str, start: int = 0) -> Reindexed:
        """Write a page of the index anew from Chroma: the passages from ``start`` on.

        Call it again with ``start=done`` until all is done. Searches go on meanwhile.
        """
        stored = await self.chroma.collection(name)
        async with self.writing:
            if start == 0 and not await self.lexical.intact(stored.id):
                await self.lexical.drop(stored.id)
            page = await self.chroma.get(name, limit=self.page, offset=start)
            rows = [(record.id, words_of(record)) for record in page]
            await self.lexical.add(stored.id, rows)
            done = start + len(page)
            if len(page) == self.page:
                return Reindexed(done, max(await self.chroma.count(name), done + 1))
            removed = await self._forget_gone(name, stored.id, done)
            self._complete.pop(stored.id, None)
            self.incomplete.pop(name, None)
            return Reindexed(done, done, removed)

    async def _forget_gone(self, name: str, id: str, stored: int) -> int:
        indexed = await self.lexical.ids(id)
        if len(indexed) == stored:
            return 0
        gone: list[str] = []
        for first in range(0, len(indexed), self.page):
            ids = indexed[first : first + self.page]
            there = {record.id for record in await self.chroma.get(name, ids=ids)}
            gone += [id for id in ids if id not in there]
        await self.lexical.remove(id, gone)
        return len(gone)


def joined_words(*parts: object) -> str:
    """Return what the word index holds of a passage, from its texts.

    These are what the vector was made of, and the answer: people ask in the words of either.
    Nothing twice: BM25 would take it for a longer text about less.
    """
    kept: list[str] = []
    for part in filter(None, map(str, parts)):
        if not any(part in known for known in kept):
            kept.append(part)
    return "\n".join(kept)


def words_of(record: Record) -> str:
    """Return what the word index holds of a stored record."""
    known = record.metadata
    beside = (known.get(key) or "" for key in ("question", "answer", "heading", "title"))
    return joined_words(record.document or "", *beside)
