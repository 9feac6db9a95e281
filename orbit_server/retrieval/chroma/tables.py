"""Chroma's own tables and folders: what its interface neither shows nor does.

The layout is private to Chroma; ``tests/retrieval/chroma/test_tables.py`` fails when a version of
chromadb moves it. Tables are only read, but for ``compact``, for which Chroma has to be closed.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import UUID

from ...errors import SearchError
from .protocol import Record

_PATIENCE = 10.0
_DOCUMENT = "chroma:document"


def orphans(folder: Path) -> list[Path]:
    """Return the vector folders below ``folder`` whose collection has been deleted.

    Chroma leaves them behind. A collection gets its row before its folder, so that a folder without
    a row is always an orphan.
    """
    folders = [each for each in folder.iterdir() if each.is_dir() and _is_uuid(each.name)]
    if not folders:
        return []
    with _reading(folder) as tables:
        known = {id for (id,) in tables.execute("SELECT id FROM segments")}
    return sorted(each for each in folders if each.name not in known)


def remove_orphans(folder: Path, *, starting: bool = False) -> int:
    """Delete the folders that ``orphans`` names; the number of bytes that they held.

    Chroma may still have their files open, so they are emptied before they are unlinked. When
    ``starting``, nothing is deleted where there is no collection at all: perhaps the database was
    lost, and will be restored.
    """
    if starting and not _any_segment(folder):
        return 0
    freed = 0
    for orphan in orphans(folder):
        for file in orphan.iterdir():
            with suppress(OSError):
                freed += file.stat().st_size
                file.write_bytes(b"")
        shutil.rmtree(orphan, ignore_errors=True)
    return freed


def has_collection(folder: Path, name: str) -> bool:
    """Tell whether there is a collection of this name."""
    with _reading(folder) as tables:
        found = tables.execute("SELECT 1 FROM collections WHERE name = ?", (name,))
        return found.fetchone() is not None


def _any_segment(folder: Path) -> bool:
    with _reading(folder) as tables:
        return tables.execute("SELECT 1 FROM segments LIMIT 1").fetchone() is not None


def free_bytes(folder: Path) -> int:
    """Return how much of Chroma's database file holds nothing but what has been deleted."""
    with _reading(folder) as tables:
        [free] = tables.execute("PRAGMA freelist_count").fetchone()
        [size] = tables.execute("PRAGMA page_size").fetchone()
    return int(free) * int(size)


def compact(folder: Path) -> int:
    """Rewrite Chroma's database without what has been deleted; the number of bytes freed.

    No Chroma may have the folder open. Needs free disk space of up to twice the size of the file.
    The log keeps a deleted record until a thousand more are written; its text is taken out now.
    """
    file = folder / "chroma.sqlite3"
    before = file.stat().st_size
    with _translated(folder), closing(sqlite3.connect(file, _PATIENCE)) as tables:
        with tables:
            tables.execute(
                "UPDATE embeddings_queue SET metadata = '{}' WHERE metadata != '{}'"
                " AND seq_id <= (SELECT max_seq_id.seq_id FROM segments"
                "  JOIN max_seq_id ON max_seq_id.segment_id = segments.id"
                "  WHERE scope = 'METADATA' AND topic LIKE '%/' || segments.collection)"
                " AND NOT EXISTS (SELECT 1 FROM segments"
                "  JOIN embeddings ON embeddings.segment_id = segments.id"
                "  WHERE scope = 'METADATA' AND topic LIKE '%/' || segments.collection"
                "  AND embeddings.embedding_id = embeddings_queue.id)"
            )
            tables.execute(
                "INSERT INTO embedding_fulltext_search(embedding_fulltext_search)"
                " VALUES ('optimize')"
            )
        tables.execute("VACUUM")
    return max(0, before - file.stat().st_size)


def records(
    folder: Path, collection_id: str, *, after: int, limit: int
) -> list[tuple[int, Record]]:
    """Return up to ``limit`` records of a collection, each with its row number above ``after``.

    They are read beside Chroma, so also where its index of vectors is damaged. What a write had
    only put into Chroma's log when it was interrupted is not among them.
    """
    with _reading(folder) as tables:
        rows = tables.execute(
            "SELECT embeddings.id, embeddings.embedding_id FROM embeddings"
            " JOIN segments ON segments.id = embeddings.segment_id"
            " WHERE segments.collection = ? AND segments.scope = 'METADATA' AND embeddings.id > ?"
            " ORDER BY embeddings.id LIMIT ?",
            (collection_id, after, limit),
        ).fetchall()
        found = []
        for number, id in rows:
            metadata = dict(_metadata(tables, number))
            document = metadata.pop(_DOCUMENT, None)
            found.append(
                (number, Record(id, None if document is None else str(document), metadata))
            )
    return found


def record_count(folder: Path, collection_id: str) -> int:
    """Return the number of records of a collection, counted beside Chroma."""
    with _reading(folder) as tables:
        [count] = tables.execute(
            "SELECT count(*) FROM embeddings JOIN segments ON segments.id = embeddings.segment_id"
            " WHERE segments.collection = ? AND segments.scope = 'METADATA'",
            (collection_id,),
        ).fetchone()
    return int(count)


def _metadata(
    tables: sqlite3.Connection, number: int
) -> Iterator[tuple[str, str | int | float | bool]]:
    rows = tables.execute(
        "SELECT key, string_value, int_value, float_value, bool_value FROM embedding_metadata"
        " WHERE id = ?",
        (number,),
    )
    for key, text, whole, real, truth in rows:
        if truth is not None:
            yield key, bool(truth)
        else:
            yield key, next((value for value in (text, whole, real) if value is not None), "")


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{(folder / 'chroma.sqlite3').absolute().as_uri()}?mode=ro"
    with _translated(folder), closing(sqlite3.connect(uri, _PATIENCE, uri=True)) as tables:
        yield tables


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SearchError(f"Chroma's tables in {folder} cannot be used: {error}") from error


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
