"""What is read of files becomes what a collection holds: in batches, and each file whole."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson

from ..errors import CollectionNotFound, NotFound, UnreadableDocument
from ..retrieval.words.languages import detected
from .collection_store import Store, Stored
from .discovery import File
from .finishing import finished
from .model import Chunk
from .reading import Chunks, ReadFile, Reading
from .source_list import LANGUAGES, LOADED, WARNINGS, bounded

# With the longest chunk it stays below what a server takes in one request, 8 MiB of JSON.
_BATCH_BYTES = 2 * 1024 * 1024
_FIRST_BATCH = 16
_QUICK_SECONDS = 5.0
_SECONDS, _OCR_SECONDS = 60.0, 3600.0  # for a file
_SAMPLE = 16  # chunks that tell the language of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How files are read, and stored ``batch`` chunks at a time.

    The columns are those of question/answer tables, where they have unusual names; with ``ocr`` the
    text of scanned pages is recognized. ``languages`` are those of the documents, detected where
    there are none.
    """

    chunk_chars: int
    chunk_overlap: int
    languages: Sequence[str] = ()
    question_column: str | None = None
    answer_column: str | None = None
    ocr: bool = False
    batch: int = 512

    def of_reader(self) -> dict[str, Any]:
        """Return the options of ``readers.read.read``."""
        return {
            "chunk_chars": self.chunk_chars,
            "chunk_overlap": self.chunk_overlap,
            "question_column": self.question_column,
            "answer_column": self.answer_column,
            "ocr_languages": list(self.languages) if self.ocr else None,
        }


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


def _ignore(*_: object) -> None: ...


async def load(
    files: Sequence[File],
    collection: str,
    store: Store,
    options: LoadOptions,
    *,
    undo: bool = False,
    read: Callable[[FileResult], None] = _ignore,
    done: Callable[[FileResult], None] = _ignore,
    advanced: Callable[[int, int], None] = _ignore,
) -> list[FileResult]:
    """Load ``files`` into ``collection`` and say what happened to each, in their order.

    Only chunks that the collection does not hold are embedded. Old chunks of an edited file go when
    its new ones are in. A file that cannot be read is reported and left as it was. When the load
    ends early, what is stored of a file stays, so that the next run continues there; with ``undo``
    it is taken out again, so that each file is there as it was or as it is. A file is ``read``,
    and then ``done``; ``advanced(bytes, chunks)`` tells what is done of all of them.
    Raises what ``store`` raises: no later file would fare better.
    """
    results = []
    batches = Batches(store, collection, options, undo, done, advanced)
    reading = Reading(seconds=_OCR_SECONDS if options.ocr else _SECONDS)
    async with reading, aclosing(_read(files, reading, options.of_reader())) as tasks:
        async for entry, task in tasks:
            result = FileResult(entry.source)
            results.append(result)
            size = size_of(entry)
            try:
                chunks, notes, left_out, _ = await task
            except UnreadableDocument as error:
                result.error = str(error)
                advanced(size, 0)
                done(result)
                continue
            result.chunks = len(chunks)
            result.notes += [*notes, *left_out]
            result.left_out += len(left_out)
            read(result)
            await batches.add(Waiting(result, chunks, size))
    await batches.finish()
    return results


def size_of(entry: File) -> int:
    """Return the bytes of a file that is to be read, 0 of another."""
    try:
        return entry.path.stat().st_size if entry.outcome == "document" else 0
    except OSError:  # gone since it was found; reading it will say so
        return 0


async def remove_all(sources: Sequence[str], collection: str, store: Store) -> None:
    """Remove what was loaded from ``sources``, where it is there; raises what ``store`` does."""
    for source in sources:
        with suppress(NotFound):
            await store.remove(collection, source)


@dataclass(slots=True)
class Waiting:
    """A file that was read, on its way into the collection; ``weight`` are its bytes."""

    result: FileResult
    chunks: Chunks | Sequence[Chunk]
    weight: int
    loaded: str = ""  # when, once that is written anywhere
    new: set[str] = field(default_factory=set)  # ids that the collection did not hold
    stale: list[str] = field(default_factory=list)
    kept: Chunk | None = None  # one that is stored
    refused: bool = False  # some of it by the embedding model
    whole: bool = False  # all of the new ones are in


class Batches:
    """The chunks of many files on their way into a collection.

    The first batches are small, because they tell how long the rest will take. They grow as long
    as one is done in a few seconds: each is one commit of the word index.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        options: LoadOptions,
        undo: bool = False,
        done: Callable[[FileResult], None] = _ignore,
        advanced: Callable[[int, int], None] = _ignore,
    ) -> None:
        self._store = store
        self._collection = collection
        self._languages = options.languages
        self._batch = options.batch
        self._limit = min(options.batch, _FIRST_BATCH)
        self._undo = undo
        self._done = done
        self._advanced = advanced
        self._turn = store.loading(collection)
        self._waiting: list[Waiting] = []
        self._begin()

    def _begin(self) -> None:
        self._chunks: list[tuple[Chunk, Waiting]] = []
        self._size = 0  # of the chunks, as JSON
        self._weight = 0  # of their files, as far as they are in

    async def add(self, file: Waiting) -> None:
        """Store ``file`` as soon as there is enough for a batch."""
        self._waiting.append(file)
        if sum(len(each.chunks) for each in self._waiting) >= self._limit:
            await self.store()

    async def store(self) -> None:
        """Store the files that are waiting, in one turn."""
        files, self._waiting = self._waiting, []
        if not files:
            return
        async with self._turn():
            try:
                await self._store_all(files)
            except BaseException:
                if self._undo:
                    await finished(self._take_back(files))
                raise
        for file in files:
            self._done(file.result)

    async def finish(self) -> None:
        """Store what is waiting yet, and end the load."""
        await self.store()
        # Writes what the word index lacks, in the languages that all of the passages are in.
        await self._store.put(self._collection, [], [], languages=self._languages)

    async def _store_all(self, files: Sequence[Waiting]) -> None:
        for file in files:
            await self._add(file)
        await self._flush()
        refused = [file for file in files if file.refused]
        if noted := [_with_notes(each.kept, each.result) for each in refused if each.kept]:
            await self._put(noted)
        for file in files:
            file.whole = True
        if stale := [id for file in files for id in file.stale]:
            await finished(self._store.put(self._collection, [], stale))

    async def _add(self, file: Waiting) -> None:
        """Store what of a file the collection lacks, and note what the file lacks."""
        result, weight, count = file.result, file.weight, len(file.chunks)
        known = await self._store.ids(self._collection, result.source)
        stale = set(known)
        for number, chunk in enumerate(file.chunks, start=1):
            stale.discard(chunk.id)
            self._weight += weight * number // count - weight * (number - 1) // count
            if chunk.id in known:
                continue
            chunk = self._dated(chunk, file, first=not file.new)
            file.new.add(chunk.id)
            await self._take(chunk, file)
            result.stored += 1
        file.stale = sorted(stale)
        result.removed = len(stale)
        if stale and not file.new:
            # One must say when the file was loaded as it is now.
            await self._take(self._dated(next(iter(file.chunks)), file, first=True), file)
        if not self._chunks:
            self._advanced(self._weight, 0)
            self._weight = 0

    async def _take(self, chunk: Chunk, file: Waiting) -> None:
        self._chunks.append((chunk, file))
        self._size += len(orjson.dumps(chunk))
        if len(self._chunks) >= self._limit or self._size >= _BATCH_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        """Store what is waiting."""
        if not self._chunks:
            return
        began = time.monotonic()
        stored = await self._put([chunk for chunk, _ in self._chunks])
        for chunk, file in self._chunks:
            _take_note(chunk, stored, file)
        self._advanced(self._weight, sum(chunk.id in file.new for chunk, file in self._chunks))
        if time.monotonic() - began < _QUICK_SECONDS:
            self._limit = min(self._batch, 2 * self._limit)
        self._begin()

    async def _put(self, chunks: Sequence[Chunk]) -> Stored:
        return await self._store.put(self._collection, chunks, [], languages=self._languages)

    async def _take_back(self, files: Iterable[Waiting]) -> None:
        new = [id for file in files if not file.whole for id in file.new]
        with suppress(CollectionNotFound):  # nothing was stored: why is said by what goes on
            if new:
                await self._store.put(self._collection, [], new)

    def _dated(self, chunk: Chunk, file: Waiting, *, first: bool) -> Chunk:
        """Return ``chunk`` with the time, and the ``first`` of a load with what is said of it."""
        if not file.loaded:
            file.loaded = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        chunk = replace(chunk, metadata=chunk.metadata | {LOADED: file.loaded})
        if not first:
            return chunk
        sample = islice(file.chunks, _SAMPLE)
        languages = self._languages or detected(each.embed for each in sample)
        chunk.metadata[LANGUAGES] = ",".join(languages)
        return _with_notes(chunk, file.result)


def _with_notes(chunk: Chunk, result: FileResult) -> Chunk:
    # Empty ones too: what was said of it before would stay in the database.
    return replace(chunk, metadata=chunk.metadata | {WARNINGS: "\n".join(bounded(result.notes))})


def _take_note(chunk: Chunk, stored: Stored, file: Waiting) -> None:
    result, page = file.result, chunk.metadata.get("page")
    where = f"passage {int(chunk.metadata['position']) + 1}{f' (page {page})' if page else ''}"
    if reason := stored.left_out.get(chunk.id):
        file.refused = True
        result.stored -= 1
        result.left_out += 1
        result.notes.append(f"{where} is left out, the embedding model refuses it: {reason}.")
        return
    file.kept = file.kept or chunk
    if chars := stored.shortened.get(chunk.id):
        file.refused = True
        result.notes.append(
            f"{where} is too much for the embedding model: it is found by the meaning of its first"
            f" {chars} of {len(chunk.embed)} characters, and by all of its words."
        )


async def _read(
    entries: Sequence[File], reading: Reading, options: dict[str, Any]
) -> AsyncGenerator[tuple[File, "asyncio.Task[ReadFile]"]]:
    """Yield the files in order, each being read, and read the next ones meanwhile."""

    async def read(entry: File) -> ReadFile:
        if entry.outcome != "document":
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
