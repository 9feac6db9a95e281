"""BM25 beside Chroma: words that vectors miss, in SQLite FTS5, one index file a collection.

Several processes may use a file at once (write-ahead log). Each thread keeps the files open that it
has read; one that another process has replaced since is opened anew.
Splitting into words is ours and the same for passages and questions; FTS5 folds accents and stems.
See https://sqlite.org/fts5.html, sections 3, 4.3 and 5.
"""

import asyncio
import math
import re
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from ..config import make_private_folder
from ..errors import NotStarted, SearchError, SearchUnavailable
from .tokenizer import folded, words

T = TypeVar("T")

_TOKENIZER = "porter unicode61 remove_diacritics 2 categories 'L* N* M* Co'"
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE passages (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, words TEXT)",
    "CREATE VIRTUAL TABLE bm25 USING fts5("
    f'words, content=passages, content_rowid=number, tokenize="{_TOKENIZER}")',
    "CREATE TRIGGER added AFTER INSERT ON passages BEGIN"
    " INSERT INTO bm25(rowid, words) VALUES (new.number, new.words); END",
    "CREATE TRIGGER removed AFTER DELETE ON passages BEGIN"
    " INSERT INTO bm25(bm25, rowid, words) VALUES ('delete', old.number, old.words); END",
    "CREATE TRIGGER changed AFTER UPDATE ON passages BEGIN"
    " INSERT INTO bm25(bm25, rowid, words) VALUES ('delete', old.number, old.words);"
    " INSERT INTO bm25(rowid, words) VALUES (new.number, new.words); END",
    f"PRAGMA user_version = {_VERSION}",
)
NO_INDEX = "-"  # the id of no collection: for coverage with words of equal weight
_LONGEST_QUERY = 32
_PATIENCE = 10.0
_THREADS = 4
_MOST_OPEN = 16  # a thread keeps so many files open
_BROKEN = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that shares words with the question.

    ``score`` is its BM25, higher is better, comparable only within one answer.
    """

    id: str
    score: float


class Bm25Index:
    """The BM25 indexes of all collections, as ``<collection id>.sqlite3`` below ``directory``.

    Opens its threads in ``async with``; outside of it every call raises NotStarted. Reading never
    creates a file. A file that cannot be read raises SearchError, one that stays locked
    SearchUnavailable.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._threads: ThreadPoolExecutor | None = None
        self._kept: list[_Kept] = []

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
        _of_thread.kept = _Kept()
        self._kept.append(_of_thread.kept)

    async def add(self, collection_id: str, rows: Sequence[tuple[str, str]]) -> None:
        """Store ``rows`` of (id, text) in one transaction; known ids get the new text."""
        await self._run(collection_id, lambda path: _add(path, rows))

    async def remove(self, collection_id: str, ids: Sequence[str]) -> None:
        """Forget these passages; unknown ids, and collections without an index, are no error."""
        await self._run(collection_id, lambda path: _remove(path, ids))

    async def drop(self, collection_id: str) -> None:
        """Delete the collection's index, also a broken one, if there is any."""
        await self._run(collection_id, _drop)

    async def drop_others(self, collection_ids: Collection[str]) -> int:
        """Delete the indexes of all but these collections; the number of bytes freed."""
        if self._threads is None:
            raise NotStarted("the lexical index is used outside its `async with`")
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._threads, _drop_others, self.directory, frozenset(collection_ids))

    async def search(self, collection_id: str, question: str, *, n: int) -> list[Hit]:
        """Return the ``n`` best passages that share a word with ``question``, best first.

        Nothing in ``question`` is read as query syntax. Without an index the list is empty.
        """
        return await self._run(collection_id, lambda path: _search(path, question, n))

    async def coverage(
        self, collection_id: str, question: str, texts: Sequence[str]
    ) -> list[float]:
        """Return for each text the share (0 to 1) of the question's idf mass that it contains.

        A word's idf is ln(1 + (N - n + 0.5) / (n + 0.5)) when ``n`` of ``N`` indexed passages
        contain it; without an index all words weigh the same. The texts need not be indexed.
        """
        return await self._run(collection_id, lambda path: _coverage(path, question, texts))

    async def count(self, collection_id: str) -> int:
        """Return the number of indexed passages, 0 without an index."""
        return await self._run(collection_id, _count)

    async def ids(self, collection_id: str) -> list[str]:
        """Return the ids of all indexed passages, none without an index."""
        return await self._run(collection_id, _ids)

    async def exists(self, collection_id: str) -> bool:
        """Return whether the collection has an index."""
        return await self._run(collection_id, _exists)

    async def intact(self, collection_id: str) -> bool:
        """Return whether the index can be used as it is; without one there is nothing broken.

        Reads all of it. Raises SearchUnavailable when it cannot be opened.
        """
        try:
            return await self._run(collection_id, _intact)
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


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with closing(_connected(path, mode)) as connection:
        yield connection


def _connected(path: Path | str, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}" if isinstance(path, Path) else path
    return sqlite3.connect(
        uri,
        uri=isinstance(path, Path),
        timeout=_PATIENCE,
        isolation_level=None,
        check_same_thread=False,  # used by one thread, closed by another when that has ended
    )


class _Kept:
    """What a thread keeps open: indexes it has read, by path, and a table to look words up."""

    def __init__(self) -> None:
        self.indexes: OrderedDict[Path, tuple[tuple[int, int], sqlite3.Connection]] = OrderedDict()
        self.memory: sqlite3.Connection | None = None

    def index(self, path: Path) -> sqlite3.Connection | None:
        """Return the open index at ``path``; ``None`` where there is none."""
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            stat = None
        known = self.indexes.pop(path, None)
        if stat is None or known is None or known[0] != (stat.st_dev, stat.st_ino):
            if known is not None:
                known[1].close()
            if stat is None or not path.is_file():
                return None
            try:
                known = (stat.st_dev, stat.st_ino), _connected(path, "rw")
            except sqlite3.OperationalError:
                if path.exists():
                    raise
                return None  # its collection was deleted in this very moment
        self.indexes[path] = known
        if len(self.indexes) > _MOST_OPEN:
            self.indexes.popitem(last=False)[1][1].close()
        return known[1]

    def drop(self, path: Path) -> None:
        """Close the index at ``path``, which has turned out to be broken."""
        if known := self.indexes.pop(path, None):
            known[1].close()

    def table(self) -> sqlite3.Connection:
        """Return a database in memory with an empty table ``bm25`` like that of an index."""
        if self.memory is None:
            self.memory = _connected(":memory:", "memory")
            self.memory.execute(
                "CREATE VIRTUAL TABLE bm25 USING"
                f" fts5(words, content='', tokenize=\"{_TOKENIZER}\")"
            )
        else:
            self.memory.execute("INSERT INTO bm25(bm25) VALUES ('delete-all')")
        return self.memory

    def close(self) -> None:
        """Close everything of this thread."""
        for _, index in self.indexes.values():
            index.close()
        self.indexes.clear()
        if self.memory is not None:
            self.memory.close()
            self.memory = None


_of_thread = threading.local()


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    kept: _Kept = _of_thread.kept
    index = kept.index(path)
    try:
        yield index if index is not None and _version(index) else None
    except sqlite3.DatabaseError:
        kept.drop(path)
        raise


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    make_private_folder(path.parent)
    with _opened(path, "rwc") as index:
        # Two processes that switch a new file at once lock each other out without waiting; one of
        # them, or the next writer, gets it done, and all is correct until then.
        with suppress(sqlite3.OperationalError):
            index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")
        with index:
            index.execute("BEGIN IMMEDIATE")
            if not _version(index):
                for statement in _SCHEMA:
                    index.execute(statement)
            yield index


def _version(index: sqlite3.Connection) -> int:
    version = int(index.execute("PRAGMA user_version").fetchone()[0])
    if version not in (0, _VERSION):
        raise sqlite3.DatabaseError(f"written as version {version}, not {_VERSION}")
    return version


def _add(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with _writing(path) as index:
        index.executemany(
            "INSERT INTO passages(id, words) VALUES (?, ?) ON CONFLICT(id)"
            " DO UPDATE SET words = excluded.words WHERE words != excluded.words",
            [(id, " ".join(_words(text))) for id, text in rows],
        )


def _remove(path: Path, ids: Sequence[str]) -> None:
    if path.is_file():
        with _writing(path) as index:
            index.executemany("DELETE FROM passages WHERE id = ?", [(id,) for id in ids])


def _drop(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _drop_others(directory: Path, known: frozenset[str]) -> int:
    freed = 0
    for path in directory.glob("*.sqlite3"):
        if path.stem not in known:
            freed += path.stat().st_size
            _drop(path)
    return freed


def _count(path: Path) -> int:
    with _reading(path) as index:
        return _size(index) if index else 0


def _ids(path: Path) -> list[str]:
    with _reading(path) as index:
        return [id for (id,) in index.execute("SELECT id FROM passages")] if index else []


def _intact(path: Path) -> bool:
    with _reading(path) as index:
        if index is not None:
            index.execute("INSERT INTO bm25(bm25, rank) VALUES ('integrity-check', 1)")
            return bool(index.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    return True


def _exists(path: Path) -> bool:
    with _reading(path) as index:
        return index is not None


def _search(path: Path, question: str, n: int) -> list[Hit]:
    with _reading(path) as index:
        if index is None:
            return []
        size = _size(index)
        frequencies = _frequencies(index, question)
        known = sorted((count, word) for word, count in frequencies.items() if count)
        # A word of every other passage adds nothing to BM25, but makes it score them all.
        telling = [(count, word) for count, word in known if count <= size / 2] or known
        if not telling:
            return []
        rows = index.execute(
            "SELECT id, -score FROM passages JOIN"
            " (SELECT rowid AS number, rank AS score FROM bm25 WHERE bm25 MATCH ?"
            "  ORDER BY rank LIMIT ?) USING (number) ORDER BY score, number",
            (" OR ".join(f'"{word}"' for _, word in telling[:_LONGEST_QUERY]), n),
        ).fetchall()
    return [Hit(id, score) for id, score in rows]


def _coverage(path: Path, question: str, texts: Sequence[str]) -> list[float]:
    with _reading(path) as index:
        if index is None:
            idf = dict.fromkeys(_words(question), 1.0)
        else:
            idf = _idf(_frequencies(index, question), _size(index))
    return _shares(idf, [" ".join(_words(text)) for text in texts])


def _size(index: sqlite3.Connection) -> int:
    return int(index.execute("SELECT count(*) FROM passages").fetchone()[0])


def _frequencies(index: sqlite3.Connection, question: str) -> dict[str, int]:
    matching = "SELECT count(*) FROM bm25 WHERE bm25 MATCH ?"
    return {
        word: index.execute(matching, (f'"{word}"',)).fetchone()[0]
        for word in dict.fromkeys(_words(question))
    }


def _idf(frequencies: dict[str, int], size: int) -> dict[str, float]:
    return {
        word: math.log(1 + (size - count + 0.5) / (count + 0.5))
        for word, count in frequencies.items()
    }


def _shares(idf: dict[str, float], passages: Sequence[str]) -> list[float]:
    mass = sum(idf.values()) or 1.0
    shares = [0.0] * len(passages)
    kept: _Kept = _of_thread.kept
    memory = kept.table()
    memory.execute("BEGIN")
    memory.executemany("INSERT INTO bm25(rowid, words) VALUES (?, ?)", enumerate(passages))
    memory.execute("COMMIT")
    for word, weight in idf.items():
        containing = memory.execute("SELECT rowid FROM bm25 WHERE bm25 MATCH ?", (f'"{word}"',))
        for (number,) in containing:
            shares[number] += weight / mass
    return shares


def _words(text: str) -> list[str]:
    return words(folded(text))
