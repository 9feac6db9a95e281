"""The word index of a collection is a cache of Chroma, and is mended from it.

It may be lost, damaged, of another version, made for other languages, or behind on another host. A
part of an index finds far worse than none, so until it is whole its collection is searched by
meaning alone.

Chroma has no transactions, and other hosts and programs may fill a collection. An index is whole
when three things agree: the analyzer; the number of passages; and of each folder of indexes that
wrote to the collection its last write, which stands in the collection's metadata, and which the
index remembers when it has taken it in. A write to the metadata may lose that of another host. The
host whose entry was lost sees it, catches up and enters itself again; and of an index that seems
whole a page is compared with Chroma each time that it is asked for, so that in the end everything
is.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Self

from cachetools import TTLCache

from ...errors import OrbitError, SearchError
from ..chroma.protocol import Chroma, Collection
from .analyzer import Analyzer, analyzer
from .collection_language import languages_of, update_language
from .errors import WordsUnavailable
from .protocol import Words, WordsWriting

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000
_ENTRY = "orbit_words_"
_MOST_ENTRIES = 50
_REST = 5  # times as long as mending took, until the same index is mended again
_COMPARED = 200  # passages, each time that an index is found whole
_PAUSE = 0.05


class Reindexed(NamedTuple):
    """How far the word index has been written anew; ``done`` equals ``total`` at the end.

    ``removed`` passages were in it without being in Chroma; it is known at the end.
    """

    done: int
    total: int
    removed: int = 0


class _Known(NamedTuple):
    """What an index was found to be when the collection told of these writes."""

    whole: bool
    writes: Mapping[str, int]


class IndexMender:
    """Knows which word indexes are whole, and mends the others in the background.

    Mends in ``async with`` only; outside of it, it tells but does nothing. ``incomplete`` says of
    collections, by name, how their index falls short. A whole index is counted again after
    ``remember_seconds``, by the ``clock``. At most ``at_once`` are mended at a time, and of each a
    page of passages is held in memory.
    """

    def __init__(
        self,
        chroma: Chroma,
        lexical: Words,
        *,
        page: int = 2000,
        remember_seconds: float = 30.0,
        at_once: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chroma = chroma
        self.lexical = lexical
        self.page = page
        self.incomplete: dict[str, str] = {}
        self._known: TTLCache[str, _Known] = TTLCache(_REMEMBERED, remember_seconds, clock)
        self._clock = clock
        self._begun: TTLCache[str, Mapping[str, int]] = TTLCache(_REMEMBERED, 3600, clock)
        self._compared: TTLCache[str, int] = TTLCache(_REMEMBERED, 86400, clock)
        self._resting: TTLCache[str, float] = TTLCache(_REMEMBERED, 86400, clock)
        self._turn = asyncio.Semaphore(at_once)
        self._tasks: dict[str, asyncio.Task[None]] | None = None

    async def __aenter__(self) -> Self:
        self._tasks = {}
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks, self._tasks = self._tasks or {}, None
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def is_complete(self, collection: Collection) -> bool:
        """Tell whether the index is whole; if not, begin to mend it.

        What is remembered holds until ``collection`` tells of a write that came later. Raises what
        ``chroma`` does.
        """
        known, told = self._known.get(collection.id), writes_of(collection)
        if known is not None and not any(
            write > known.writes.get(writer, 0) for writer, write in told.items()
        ):
            return known.whole
        reason = await self.shortfall(collection)
        self._known[collection.id] = _Known(not reason, told)
        if reason:
            self.distrust(collection, reason)
        else:
            self.incomplete.pop(collection.name, None)
            self._begin(collection.id, self._compare_some(collection))
        return not reason

    async def shortfall(self, collection: Collection) -> str:
        """Return how the index falls short of the collection, nothing if it is whole.

        While a writer of this host is at work, its words may be ahead of Chroma, as they are when
        it is done with less.
        """
        async with self.lexical.idle(collection.id) as idle:
            total = await self.chroma.count(collection.name)
            try:
                found = await self._shortfall(collection, total, idle=bool(idle))
                if found:  # what is known of the collection may be half a minute old
                    collection = await self.chroma.collection(collection.name, fresh=True)
                    found = await self._shortfall(collection, total, idle=bool(idle))
            except WordsUnavailable:
                raise
            except SearchError as error:
                return str(error)
        return found

    async def _shortfall(self, collection: Collection, total: int, *, idle: bool) -> str:
        indexed, known = await self.lexical.state(collection.id)
        if indexed < total or (indexed > total and idle):
            return f"{indexed} of {total} passages"
        if known is None:
            return ""
        if known.analyzer != analyzer_of(collection).name:
            return "the languages of the collection have changed"
        own, writes = await self.lexical.writer(), writes_of(collection)
        missed = {each for each, write in writes.items() if known.seen.get(each) != write}
        if missed - {own}:
            return "another host has loaded documents"
        if idle and writes.get(own) != known.seen.get(own):
            return "the index or the collection was replaced"
        return ""

    def distrust(self, collection: Collection, reason: str) -> None:
        """Search ``collection`` by meaning alone until its index is mended, which begins now."""
        self._mark(collection, reason)
        if self._resting.get(collection.id, 0.0) <= self._clock():
            self._begin(collection.id, self._mend(collection))

    async def announce(self, stored: Collection, words: WordsWriting) -> None:
        """Write into the metadata that this folder of indexes has written, and that it knows it.

        Call it when all is written, under the lock. Raises what ``chroma`` does.
        """
        own = await self.lexical.writer()
        known = (await self.lexical.state(stored.id)).record
        seen = dict(known.seen) if known else {}
        write = max(time.time_ns() // 1_000_000, seen.get(own, 0) + 1)
        oldest = sorted(writes_of(stored).items(), key=lambda entry: entry[1])[:-_MOST_ENTRIES]
        forgotten = {f"{_ENTRY}{writer}": None for writer, _ in oldest}
        await self.chroma.annotate(stored, {**forgotten, f"{_ENTRY}{own}": write})
        await words.note(seen | {own: write})

    async def reindex(self, name: str, start: int = 0) -> Reindexed:
        """Bring a page of the index up to what Chroma holds: the passages from ``start`` on.

        Call it again with ``start=done`` until all is done. Searches go on meanwhile.
        """
        if start == 0:  # a collection that was made without it learns its language
            stored = await update_language(self.chroma, name)
        else:
            stored = await self.chroma.collection(name)
        async with self.lexical.writing(stored.id) as words:
            if start == 0:
                self._begun[stored.id] = writes_of(stored)
                await words.begin(analyzer_of(stored))
            page = await self.chroma.get(name, limit=self.page, offset=start)
            rows = [(record.id, words_of(record.document, record.metadata)) for record in page]
            await words.add(rows, analyzer_of(stored))
            done = start + len(page)
            if len(page) == self.page:
                return Reindexed(done, max(await self.chroma.count(name), done + 1))
            await words.finish()
            removed = await self._forget_gone(stored, words, done)
            await self._take_in(name, words)
            self._known.pop(stored.id, None)
            self.incomplete.pop(name, None)
            return Reindexed(done, done, removed)

    async def _forget_gone(self, stored: Collection, words: WordsWriting, done: int) -> int:
        if (await self.lexical.state(stored.id)).passages == done:
            return 0
        gone: list[str] = []
        async for ids in self.lexical.ids(stored.id):
            there = await self.chroma.ids(stored.name, ids=ids)
            gone += [id for id in ids if id not in there]
        await words.remove(gone)
        return len(gone)

    async def _take_in(self, name: str, words: WordsWriting) -> None:
        """Remember the writes that were announced when the comparison began."""
        stored = await self.chroma.collection(name, fresh=True)
        known = (await self.lexical.state(stored.id)).record
        begun = self._begun.pop(stored.id, None)
        if known is None or begun is None:
            return  # begun elsewhere: the next comparison is whole
        own, now = await self.lexical.writer(), writes_of(stored)
        if own not in known.seen or now.get(own, 0) >= known.seen[own]:
            await words.note(begun)
        else:
            await words.note({**begun, own: known.seen[own]})
            await self.announce(stored, words)  # it got lost

    async def mended(self, collection_id: str) -> None:
        """Return when nothing is done any more to the index of this collection."""
        if self._tasks and (task := self._tasks.get(collection_id)):
            await asyncio.wait([task])

    async def _mend(self, collection: Collection) -> None:
        try:
            async with self._turn, self.lexical.alone(collection.id, "mending") as alone:
                if alone:  # else another process that has the same indexes is at it
                    await self._mend_now(collection)
        except OrbitError as error:
            logger.warning("collection %s: word index not repaired: %s", collection.name, error)

    async def _mend_now(self, collection: Collection) -> None:
        started = self._clock()
        try:
            result = await self.reindex(collection.name)
            while result.done < result.total:
                await asyncio.sleep(_PAUSE)  # others may write
                result = await self.reindex(collection.name, result.done)
            logger.info(
                "collection %s: word index repaired, %d passages", collection.name, result.done
            )
        except OrbitError as error:
            logger.warning("collection %s: word index not repaired: %s", collection.name, error)
        ended = self._clock()
        self._resting[collection.id] = ended + _REST * (ended - started)

    async def _compare_some(self, collection: Collection) -> None:
        offset = self._compared.get(collection.id, 0)
        try:
            async with self.lexical.idle(collection.id) as idle:
                if not idle:
                    return
                page = await self.chroma.get(collection.name, limit=_COMPARED, offset=offset)
                texts = {record.id: words_of(record.document, record.metadata) for record in page}
                changed = await self.lexical.changed(collection.id, texts)
        except OrbitError as error:
            logger.warning("collection %s: words not compared: %s", collection.name, error)
            return
        self._compared[collection.id] = offset + len(page) if len(page) == _COMPARED else 0
        if changed:
            self._mark(collection, f"{len(changed)} of {len(page)} passages have different words")
            await self._mend(collection)

    def _mark(self, collection: Collection, reason: str) -> None:
        self._known[collection.id] = _Known(False, writes_of(collection))
        if collection.name not in self.incomplete:
            logger.warning(
                "collection %s is searched by meaning alone until its word index is repaired: %s",
                collection.name,
                reason,
            )
        self.incomplete[collection.name] = reason

    def _begin(self, id: str, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background, one thing at a time for a collection."""
        if self._tasks is None or id in self._tasks:
            work.close()
            return
        tasks, task = self._tasks, asyncio.create_task(work)
        tasks[id] = task
        task.add_done_callback(lambda _: tasks.pop(id, None))


def writes_of(collection: Collection) -> dict[str, int]:
    """Return the last write of each folder of word indexes that has told of one."""
    return {
        key.removeprefix(_ENTRY): write
        for key, write in collection.metadata.items()
        if key.startswith(_ENTRY) and isinstance(write, int)
    }


def without_entries(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata for a copy of a collection, whose words are written anew."""
    return {key: value for key, value in metadata.items() if not key.startswith(_ENTRY)}


def analyzer_of(collection: Collection) -> Analyzer:
    """Return what makes terms of the texts of a collection, and of questions to it."""
    return analyzer(languages_of(collection.metadata))


def words_of(text: str | None, metadata: Mapping[str, Any]) -> str:
    """Return what the word index holds of a passage, from what Chroma holds of it.

    Question and answer, headings and text: people ask in the words of any. Nothing twice: BM25
    would take it for a longer text about less.
    """
    kept: list[str] = []
    beside = (metadata.get(key) or "" for key in ("question", "answer", "heading", "title"))
    for part in filter(None, map(str, (text or "", *beside))):
        if not any(part in known for known in kept):
            kept.append(part)
    return "\n".join(kept)
