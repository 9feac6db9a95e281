"""The files of the word indexes: SQLite FTS5, read and written by the threads of ``Bm25Index``.

Each thread keeps the files open that it has read; one that another process has replaced since is
opened again. Splitting into words is ours and the same for passages and questions; FTS5 folds
accents and stems. See https://sqlite.org/fts5.html, sections 3, 4.3 and 5.
"""

import math
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..config import make_private_folder
from .words.tokenizer import folded, words

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
_LONGEST_QUERY = 32
_MOST_OPEN = 16  # a thread keeps so many files open


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that shares words with the question.

    ``score`` is its BM25, higher is better, comparable only within one answer.
    """

    id: str
    score: float


Connect = Callable[..., sqlite3.Connection]


def connect(path: Path | str, mode: str, *, patience: float) -> sqlite3.Connection:
    """Return a connection that one thread uses, and another may close when that has ended."""
    uri = f"{path.absolute().as_uri()}?mode={mode}" if isinstance(path, Path) else path
    return sqlite3.connect(
        uri,
        uri=isinstance(path, Path),
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )


class OpenFiles:
    """What a thread keeps open: indexes it has read, by path, and a table to look words up."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
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
                known = (stat.st_dev, stat.st_ino), self.connect(path, "rw")
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
            self.memory = self.connect(":memory:", "memory")
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


def begin_thread(connect: Connect) -> OpenFiles:
    """Let this thread read and write indexes; return what it will have to close."""
    _of_thread.kept = OpenFiles(connect)
    kept: OpenFiles = _of_thread.kept
    return kept


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    kept: OpenFiles = _of_thread.kept
    index = kept.index(path)
    try:
        yield index if index is not None and _version(index) else None
    except sqlite3.DatabaseError:
        kept.drop(path)
        raise


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    make_private_folder(path.parent)
    with closing(_of_thread.kept.connect(path, "rwc")) as index:
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


def add(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Store ``rows`` of (id, text); known ids get the new text."""
    with _writing(path) as index:
        index.executemany(
            "INSERT INTO passages(id, words) VALUES (?, ?) ON CONFLICT(id)"
            " DO UPDATE SET words = excluded.words WHERE words != excluded.words",
            [(id, " ".join(_words(text))) for id, text in rows],
        )


def remove(path: Path, ids: Sequence[str]) -> None:
    """Forget these passages."""
    if path.is_file():
        with _writing(path) as index:
            index.executemany("DELETE FROM passages WHERE id = ?", [(id,) for id in ids])


def drop(path: Path) -> None:
    """Delete the index, also a broken one."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def drop_others(directory: Path, known: frozenset[str]) -> int:
    """Delete the indexes of all but the ``known`` collections; the number of bytes freed."""
    freed = 0
    for path in directory.glob("*.sqlite3"):
        if path.stem not in known:
            freed += path.stat().st_size
            drop(path)
    return freed


def count(path: Path) -> int:
    """Return the number of indexed passages."""
    with _reading(path) as index:
        return _size(index) if index else 0


def ids(path: Path) -> list[str]:
    """Return the ids of all indexed passages."""
    with _reading(path) as index:
        return [id for (id,) in index.execute("SELECT id FROM passages")] if index else []


def intact(path: Path) -> bool:
    """Return whether the index can be used as it is; reads all of it."""
    with _reading(path) as index:
        if index is not None:
            index.execute("INSERT INTO bm25(bm25, rank) VALUES ('integrity-check', 1)")
            return bool(index.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    return True


def search(path: Path, question: str, n: int) -> list[Hit]:
    """Return the ``n`` best passages that share a word with ``question``, best first."""
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


def coverage(path: Path, question: str, texts: Sequence[str]) -> list[float]:
    """Return for each text the share of the question's idf mass that it contains."""
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
    kept: OpenFiles = _of_thread.kept
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
