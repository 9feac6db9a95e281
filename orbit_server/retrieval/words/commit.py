"""What is written into a word index: one commit a call, and nothing of a call that fails.

A commit replaces ``meta.json`` when all its files are on the disk, so the last one is what is there
whatever is killed when. A passage that was deleted is still counted among those of a word until the
file that it is in is written anew: all of them are when a tenth is of that kind, or in a quiet
moment (``upkeep.py``). tantivy puts eight files of like size together; what a load leaves beside
each other after that becomes one at its end, since a question looks into each.
"""

import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import tantivy

from ...config import make_private_folder
from . import record
from .analyzer import Analyzer
from .record import META, Record, Unfit, digest
from .snapshot import Snapshot, Stored, document, schema

_HEAP_BYTES = 15_000_000  # the least that tantivy takes, and what a writer uses at most
_HEAP_OF_ALL = 60_000_000  # enough that 100,000 passages of some lines become one segment
_BLOCK_BYTES = 2048
_MOST_DELETED = 0.1
_MOST_SEGMENTS = 5
_LARGEST = 0.75  # is the share of the passages in one segment from which the others do not matter
_FOOTER_BYTES = 8


def add(folder: Path, rows: Sequence[tuple[str, str]], analyzer: Analyzer) -> None:
    """Store ``rows`` of (id, text); known ids get the new text.

    In an index of another analyzer nothing else is left, since terms of two kinds do not mix.
    """
    before = record.read(folder)
    index = _opened(folder, analyzer)
    anew = before is not None and before.analyzer != analyzer.name
    texts = dict(rows)
    known = {} if anew else Snapshot.of(index).digests(list(texts))
    changed = {id: new for id, text in texts.items() if known.get(id) != (new := digest(text))}
    if changed or anew:
        stored = (
            Stored(id, " ".join(analyzer.terms(texts[id])), new) for id, new in changed.items()
        )
        _commit(index, stored, gone=changed.keys() & known.keys(), anew=anew)
        _compact(folder, index)
    if anew:  # last, so that it never claims the terms of another
        record.write(folder, Record(analyzer.name))


def remove(folder: Path, ids: Collection[str]) -> None:
    """Forget these passages; unknown ids, and a folder without an index, are no error."""
    if record.read(folder) is None:
        return
    index = tantivy.Index.open(str(folder))
    if known := Snapshot.of(index).digests(list(ids)):
        _commit(index, [], gone=known)
        _compact(folder, index)


def deleted(folder: Path) -> int:
    """Return how many passages are still counted though they were deleted; 0 without an index."""
    if record.read(folder) is None:
        return 0
    return sum((each["deletes"] or {}).get("num_deleted_docs", 0) for each in _segments(folder))


def compact(folder: Path) -> None:
    """Write all files anew if passages in them were deleted, so that every word's count is right.

    The score of a passage then follows from the passages alone, whatever was written when.
    """
    if deleted(folder):
        _rewrite(tantivy.Index.open(str(folder)))


def merge(folder: Path) -> None:
    """Write all files anew if passages are in many, none of which has most of them."""
    if record.read(folder) is None:
        return
    sizes = [each["max_doc"] for each in _segments(folder)]
    if len(sizes) > _MOST_SEGMENTS and max(sizes) < _LARGEST * sum(sizes):
        _rewrite(tantivy.Index.open(str(folder)))


def sound(folder: Path) -> bool:
    """Return whether an index, if there is one, can be used as it is; reads all of its files."""
    try:
        if record.read(folder) is None:
            return True
        Snapshot.of(tantivy.Index.open(str(folder)))
        names = {segment["segment_id"].replace("-", "") for segment in _segments(folder)}
        files = [path for path in folder.iterdir() if path.name.partition(".")[0] in names]
        return all(map(_has_its_checksum, files))
    except (Unfit, ValueError, LookupError, TypeError, AttributeError):
        return False


def _opened(folder: Path, analyzer: Analyzer) -> tantivy.Index:
    if (folder / META).exists():
        return tantivy.Index.open(str(folder))
    make_private_folder(folder)
    record.write(folder, Record(analyzer.name))
    return _created(folder)


def _created(folder: Path) -> tantivy.Index:
    """Create an index whose stored passages lie in small blocks: one is unpacked to read one.

    tantivy keeps this setting with the index, but its Python package has no argument for it.
    """
    tantivy.Index(schema(), path=str(folder))
    meta, new = folder / META, folder / f"{META}.new"
    content = orjson.loads(meta.read_bytes())
    content["index_settings"]["docstore_blocksize"] = _BLOCK_BYTES
    new.write_bytes(orjson.dumps(content))
    new.replace(meta)
    return tantivy.Index.open(str(folder))


def _commit(
    index: tantivy.Index,
    rows: Iterable[Stored],
    *,
    gone: Iterable[str] = (),
    anew: bool = False,
    heap: int = _HEAP_BYTES,
) -> None:
    writer = index.writer(heap, 1)
    if anew:
        writer.delete_all_documents()
    for id in gone:
        writer.delete_documents_by_term("id", id)
    for row in rows:
        writer.add_document(document(row))
    writer.commit()
    writer.wait_merging_threads()


def _compact(folder: Path, index: tantivy.Index) -> None:
    if deleted(folder) > _MOST_DELETED * sum(each["max_doc"] for each in _segments(folder)):
        _rewrite(index)


def _rewrite(index: tantivy.Index) -> None:
    living = (row for page in Snapshot.of(index).pages() for row in page)
    _commit(index, living, anew=True, heap=_HEAP_OF_ALL)


def _segments(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((folder / META).read_bytes())["segments"]
    return found


def _has_its_checksum(path: Path) -> bool:
    # At the end of a file: a JSON object, its length, and a number that is always the same.
    content = memoryview(path.read_bytes())
    length = int.from_bytes(content[-_FOOTER_BYTES:][:4], "little")
    body, footer = content[: -_FOOTER_BYTES - length], content[-_FOOTER_BYTES - length :]
    found = orjson.loads(footer[:-_FOOTER_BYTES])["crc"]
    return bool(zlib.crc32(body) == found)
