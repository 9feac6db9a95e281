"""Files become chunks, and chunks become what a collection holds; resumable, in batches."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ..errors import UnreadableDocument
from .collection_store import Store, Stored
from .discovery import File, discover, source_name
from .model import Chunk
from .reading import Chunks, ReadFile, Reading

# With the longest chunk it stays below what a server takes in one request, 8 MiB of JSON.
_BATCH_BYTES = 2 * 1024 * 1024
_FIRST_BATCH = 16
_QUICK_SECONDS = 5.0
_SECONDS, _OCR_SECONDS = 60.0, 3600.0  # for a file


@dataclass(slots=True)
class FileResult:
    """What became of one file.

    ``error`` is a sentence, empty when all went well; ``notes`` say what was left out or changed.
    """

    source: str
    chunks: int = 0
    stored: int = 0
    removed: int = 0
    left_out: int = 0
    error: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What became of all files, which were not understood, and which sources were pruned.

    ``links`` lead out of the named folders and were not followed.
    """

    files: list[FileResult] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any file, or a passage of one, could not be loaded, or there was none at all."""
        return not self.files or any(result.error or result.left_out for result in self.files)


class _Batches:
    """The chunks of many files on their way into a collection.

    The first batches are small, because they tell how long the rest will take. They grow as long
    as one is done in a few seconds: each is one commit of the word index.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        batch: int,
        languages: Sequence[str],
        advanced: Callable[[int, int], None],
    ) -> None:
        self._store = store
        self._languages = languages
        self._collection = collection
        self._batch = batch
        self._limit = min(batch, _FIRST_BATCH)
        self._advanced = advanced
        self._begin()

    def _begin(self) -> None:
        self._chunks: list[Chunk] = []
        self._results: list[FileResult] = []  # one a chunk
        self._remove: list[str] = []
        self._size = 0  # of the chunks, as JSON
        self._weight = 0  # of their files, as far as they are in

    async def add(self, chunks: Chunks, result: FileResult, weight: int) -> None:
        """Store what of a file the collection lacks, and then remove what the file lacks.

        ``weight`` are the bytes of the file.
        """
        known = await self._store.ids(self._collection, result.source)
        result.chunks = count = len(chunks)
        stale = set(known)
        for number, chunk in enumerate(chunks, start=1):
            stale.discard(chunk.id)
            self._weight += weight * number // count - weight * (number - 1) // count
            if chunk.id not in known:
                self._chunks.append(chunk)
                self._results.append(result)
                self._size += _size(chunk)
                result.stored += 1
                if len(self._chunks) >= self._limit or self._size >= _BATCH_BYTES:
                    await self.flush()
        result.removed = len(stale)
        self._remove += sorted(stale)
        if not self._chunks and not self._remove:
            self._advanced(self._weight, 0)
            self._weight = 0

    async def flush(self) -> None:
        """Store what is waiting."""
        began = time.monotonic()
        stored = await self._store.put(
            self._collection, self._chunks, self._remove, languages=self._languages
        )
        for chunk, result in zip(self._chunks, self._results, strict=True):
            _take_note(chunk, stored, result)
        self._advanced(self._weight, len(self._chunks))
        if time.monotonic() - began < _QUICK_SECONDS:
            self._limit = min(self._batch, 2 * self._limit)
        self._begin()


async def ingest(
    paths: Sequence[Path],
    collection: str,
    store: Store,
    *,
    chunk_chars: int,
    chunk_overlap: int,
    batch: int = 512,
    languages: Sequence[str] = (),
    prune: bool = False,
    follow_links: bool = False,
    question_column: str | None = None,
    answer_column: str | None = None,
    ocr: bool = False,
    started: Callable[[int], None] = lambda size: None,
    advanced: Callable[[int, int], None] = lambda size, chunks: None,
) -> Report:
    """Load the files at ``paths`` into ``collection`` and say what happened to each.

    Only chunks that the collection does not hold are embedded, so a second run changes nothing and
    an interrupted one continues where it stopped. Old chunks of an edited file go when its new ones
    are in. ``prune`` also removes the sources under ``paths`` whose file is gone. Links that lead
    out of a folder are followed with ``follow_links`` only. A file that cannot be read is reported
    and left as it was. The columns are those of question/answer tables, where they have unusual
    names; with ``ocr`` the text of scanned pages is recognized. ``started(bytes)`` tells the
    total, ``advanced(bytes, chunks)`` what of it is done.
    Raises what ``store`` raises: no later file would fare better.
    """
    report = Report()
    found = list(discover(paths, follow_links=follow_links))
    sizes = {entry.path: _size_of_file(entry) for entry in found}
    report.ignored = [entry.source for entry in found if entry.outcome == "ignored"]
    report.links = [entry.source for entry in found if entry.outcome == "link"]
    started(sum(sizes.values()))
    batches = _Batches(store, collection, batch, languages, advanced)
    options = {
        "chunk_chars": chunk_chars,
        "chunk_overlap": chunk_overlap,
        "question_column": question_column,
        "answer_column": answer_column,
        "ocr_languages": list(languages) if ocr else None,
    }
    documents = [entry for entry in found if entry.outcome in ("document", "error")]
    reading = Reading(seconds=_OCR_SECONDS if ocr else _SECONDS)
    async with reading, aclosing(_read(documents, reading, options)) as files:
        async for entry, file in files:
            result = FileResult(entry.source)
            report.files.append(result)
            try:
                chunks, notes, left_out = await file
            except UnreadableDocument as error:
                result.error = str(error)
                advanced(sizes[entry.path], 0)
                continue
            result.notes += [*notes, *left_out]
            result.left_out += len(left_out)
            await batches.add(chunks, result, sizes[entry.path])
    await batches.flush()
    # Writes what the word index lacks, in the languages that all of the passages are in.
    await store.put(collection, [], [], languages=languages)
    if prune:
        report.pruned = await _prune(paths, collection, store, found)
    return report


async def _read(
    entries: Sequence[File], reading: Reading, options: dict[str, Any]
) -> AsyncGenerator[tuple[File, "asyncio.Task[ReadFile]"]]:
    """Yield the files in order, each being read, and read the next ones meanwhile."""

    async def read(entry: File) -> ReadFile:
        if entry.outcome == "error":
            raise UnreadableDocument(entry.problem)
        return await reading.read(entry.path, entry.source, **options)

    ahead: deque[tuple[File, asyncio.Task[ReadFile]]] = deque()
    try:
        for entry in entries:
            ahead.append((entry, asyncio.create_task(read(entry))))
            if len(ahead) > reading.processes:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        tasks = [task for _, task in ahead]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _take_note(chunk: Chunk, stored: Stored, result: FileResult) -> None:
    page = chunk.metadata.get("page")
    where = f"passage {int(chunk.metadata['position']) + 1}{f' (page {page})' if page else ''}"
    if reason := stored.left_out.get(chunk.id):
        result.stored -= 1
        result.left_out += 1
        result.notes.append(f"{where} is left out, the embedding model refuses it: {reason}.")
    elif chars := stored.shortened.get(chunk.id):
        result.notes.append(
            f"{where} is too much for the embedding model: it is found by the meaning of its first"
            f" {chars} of {len(chunk.embed)} characters, and by all of its words."
        )


def _size_of_file(entry: File) -> int:
    try:
        return entry.path.stat().st_size if entry.outcome == "document" else 0
    except OSError:  # gone since it was found; reading it will say so
        return 0


def _size(chunk: Chunk) -> int:
    return len(orjson.dumps(chunk))


async def _prune(
    paths: Sequence[Path], collection: str, store: Store, found: Sequence[File]
) -> list[str]:
    roots = [source_name(path) for path in paths]
    present = {entry.source for entry in found}
    # What cannot be opened, or was not followed, is not gone: a folder may just not be mounted.
    closed = [entry.source for entry in found if entry.outcome in ("error", "link")]
    gone = [
        source
        for source in await store.sources(collection)
        if source not in present and _below(source, roots) and not _below(source, closed)
    ]
    for source in gone:
        await store.put(collection, [], sorted(await store.ids(collection, source)))
    return gone


def _below(source: str, places: Sequence[str]) -> bool:
    return any(
        place in ("", ".") or source == place or source.startswith(place + "/") for place in places
    )
