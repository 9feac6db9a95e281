"""BM25 beside Chroma: words that vectors miss, in SQLite FTS5, one index file a collection.

Several processes may use a file at once (write-ahead log). What happens in the files is in
``bm25_files.py``.
"""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from ..errors import NotStarted, SearchError, SearchUnavailable
from . import bm25_files
from .bm25_files import Hit, OpenFiles

__all__ = ["NO_INDEX", "Bm25Index", "Hit"]

T = TypeVar("T")

NO_INDEX = "-"  # the id of no collection: for coverage with words of equal weight
_THREADS = 4
_BROKEN = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Bm25Index:
    """The BM25 indexes of all collections, as ``<collection id>.sqlite3`` below ``directory``.

    Opens its threads in ``async with``; outside of it every call raises NotStarted. Reading never
    creates a file. A file that cannot be read raises SearchError, one that stays locked
    SearchUnavailable. ``patience`` is in seconds, for a file that another process holds locked.
    """

    def __init__(
        self,
        directory: Path,
        *,
        patience: float = 10.0,
        connect: bm25_files.Connect = bm25_files.connect,
    ) -> None:
        self.directory = directory
        self._connect = partial(connect, patience=patience)
        self._threads: ThreadPoolExecutor | None = None
        self._kept: list[OpenFiles] = []

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(
            _THREADS, thread_name_prefix="lexical", initializer=self._begin_thread
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        for kept in self._kept:
            kept.close()
        self._kept.clear()

    def _begin_thread(self) -> None:
        self._kept.append(bm25_files.begin_thread(self._connect))

    async def add(self, collection_id: str, rows: Sequence[tuple[str, str]]) -> None:
        """Store ``rows`` of (id, text) in one transaction; known ids get the new text."""
        await self._run(collection_id, lambda path: bm25_files.add(path, rows))

    async def remove(self, collection_id: str, ids: Sequence[str]) -> None:
        """Forget these passages; unknown ids, and collections without an index, are no error."""
        await self._run(collection_id, lambda path: bm25_files.remove(path, ids))

    async def drop(self, collection_id: str) -> None:
        """Delete the collection's index, also a broken one, if there is any."""
        await self._run(collection_id, bm25_files.drop)

    async def drop_others(self, collection_ids: Collection[str]) -> int:
        """Delete the indexes of all but these collections; the number of bytes freed."""
        if self._threads is None:
            raise NotStarted("the lexical index is used outside its `async with`")
        run = asyncio.get_running_loop().run_in_executor
        return await run(
            self._threads, bm25_files.drop_others, self.directory, frozenset(collection_ids)
        )

    async def search(self, collection_id: str, question: str, *, n: int) -> list[Hit]:
        """Return the ``n`` best passages that share a word with ``question``, best first.

        Nothing in ``question`` is read as query syntax. Without an index the list is empty.
        """
        return await self._run(collection_id, lambda path: bm25_files.search(path, question, n))

    async def coverage(
        self, collection_id: str, question: str, texts: Sequence[str]
    ) -> list[float]:
        """Return for each text the share (0 to 1) of the question's idf mass that it contains.

        A word's idf is ln(1 + (N - n + 0.5) / (n + 0.5)) when ``n`` of ``N`` indexed passages
        contain it; without an index all words weigh the same. The texts need not be indexed.
        """
        return await self._run(
            collection_id, lambda path: bm25_files.coverage(path, question, texts)
        )

    async def count(self, collection_id: str) -> int:
        """Return the number of indexed passages, 0 without an index."""
        return await self._run(collection_id, bm25_files.count)

    async def ids(self, collection_id: str) -> list[str]:
        """Return the ids of all indexed passages, none without an index."""
        return await self._run(collection_id, bm25_files.ids)

    async def intact(self, collection_id: str) -> bool:
        """Return whether the index can be used as it is; without one there is nothing broken.

        Reads all of it. Raises SearchUnavailable when it cannot be opened.
        """
        try:
            return await self._run(collection_id, bm25_files.intact)
        except SearchUnavailable:
            raise
        except SearchError:
            return False

    async def _run(self, collection_id: str, call: Callable[[Path], T]) -> T:
        if self._threads is None:
            raise NotStarted("the lexical index is used outside its `async with`")
        # The id becomes a file name, and it may come from a Chroma server that is not ours.
        if not re.fullmatch(r"[\w-]+", collection_id):
            raise SearchError(f"{collection_id!r} is not the id of a collection")
        path = self.directory / f"{collection_id}.sqlite3"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _translating, call, path)


def _translating(call: Callable[[Path], T], path: Path) -> T:
    try:
        return call(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _BROKEN:
            raise SearchError(
                f"The lexical index {path} cannot be used ({error}). Write it anew with"
                " `orbit collections reindex`."
            ) from error
        raise SearchUnavailable(f"The lexical index {path} is out of reach: {error}") from error
    except OSError as error:
        raise SearchUnavailable(f"The lexical index {path} is out of reach: {error}") from error
