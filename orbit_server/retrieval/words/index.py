"""The word indexes of all collections: words that vectors miss, found by BM25 beside Chroma.

An index is a folder, named after the id of its collection. Questions are answered on the event
loop: what they ask takes less than going to a thread and back. Writing happens in a thread, under
the lock of the collection, which one task of one process holds at a time. A commit of whoever it
was is seen by the next question.
"""

import asyncio
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import (
    AsyncIterator,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import UUID

from ...config import make_private_folder
from ...errors import NotStarted, SearchError, SearchUnavailable
from . import record
from .analyzer import Analyzer
from .errors import translated
from .file_lock import locked
from .protocol import FoundWords, IndexState
from .question import plain_terms, question_terms
from .record import META, Record
from .writing import Writing

if TYPE_CHECKING:  # which loads tantivy: in a thread, and only where indexes are used
    from .snapshot import OpenIndex, Snapshot

_FOLDER, _LOCK, _WRITER = ".words", ".lock", "writer"
_OLD = (".sqlite3", ".sqlite3-wal", ".sqlite3-shm")  # of the word indexes before these
_THREADS = 2
_CLOSED = "The word index is used outside its `async with`."


class WordIndex:
    """The word indexes in ``directory``; ``async with`` opens the threads that write.

    Outside of it every call raises ``NotStarted``. Reading never creates a file. An index that
    cannot be read raises ``SearchError``, one that another holds locked for longer than
    ``patience`` seconds ``SearchUnavailable``. ``most_open`` indexes are held open at once.
    """

    remote = False

    def __init__(self, directory: Path, *, patience: float = 30.0, most_open: int = 32) -> None:
        self.directory = directory
        self._patience = patience
        self._most_open = most_open
        self._path = lru_cache(maxsize=1024)(self._path_of)
        self._open: OrderedDict[str, OpenIndex] = OrderedDict()
        self._threads: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="words")
        await asyncio.get_running_loop().run_in_executor(
            self._threads, import_module, f"{__package__}.commit"
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        self._open.clear()

    @contextmanager
    def reading(self, collection_id: str) -> Iterator["Snapshot | None"]:
        """Read an index as it was at its last commit; there may be none."""
        if self._threads is None:
            raise NotStarted(_CLOSED)
        path = self._path(collection_id)
        with translated(path):
            try:
                yield self._snapshot(collection_id, path)
            except BaseException:
                self._open.pop(collection_id, None)
                raise

    def count(self, collection_id: str) -> int:
        """Return the number of indexed passages, 0 without an index."""
        with self.reading(collection_id) as snapshot:
            return snapshot.count if snapshot else 0

    async def find(
        self, collection_id: str, text: str, analyzer: Analyzer, *, n: int
    ) -> FoundWords:
        """Return what the question ``text`` looks for, and its ``n`` best passages."""
        with self.reading(collection_id) as snapshot:
            if snapshot is None:
                return FoundWords(plain_terms(text, analyzer), [])
            terms = question_terms(text, snapshot, analyzer)
            return FoundWords(terms, snapshot.search(terms.weights(), n))

    async def ping(self) -> None:
        """Return: files answer, or the disk is full or broken, which is looked at elsewhere."""

    def limited(self) -> nullcontext[None]:
        """Bound nothing: what is asked of files takes less than a millisecond."""
        return nullcontext()

    def terms_of(self, collection_id: str, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the terms of these passages, with repetitions, as far as they are indexed."""
        with self.reading(collection_id) as snapshot:
            return snapshot.terms_of(ids) if snapshot else {}

    async def state(self, collection_id: str) -> IndexState:
        """Return what is in the index of a collection."""
        return IndexState(self.count(collection_id), self.record(collection_id))

    async def changed(self, collection_id: str, texts: Mapping[str, str]) -> list[str]:
        """Return the ids in ``texts`` that are indexed with another text, or not at all."""
        with self.reading(collection_id) as snapshot:
            return snapshot.changed(texts) if snapshot else list(texts)

    async def ids(self, collection_id: str) -> AsyncIterator[list[str]]:
        """Iterate over the ids of all indexed passages, some thousands at a time."""
        with self.reading(collection_id) as snapshot:
            pages = snapshot.pages() if snapshot else iter(())
        run = partial(asyncio.get_running_loop().run_in_executor, self._threads)
        while page := await run(next, pages, None):
            yield [stored.id for stored in page]

    def record(self, collection_id: str) -> Record | None:
        """Return what the index was made of, ``None`` where there is none."""
        path = self._path(collection_id)
        with translated(path):
            return record.read(path)

    async def writer(self) -> str:
        """Return the name under which this folder of indexes writes, made up at the first call."""
        path = self.directory / _WRITER
        with translated(path):
            if not path.exists():
                make_private_folder(self.directory)
                new = path.with_name(f"{_WRITER}.{secrets.token_hex(4)}")
                new.write_text(secrets.token_hex(4))
                with suppress(FileExistsError):  # another process was faster
                    os.link(new, path)
                new.unlink()
            return path.read_text()

    @asynccontextmanager
    async def writing(self, collection_id: str) -> AsyncIterator["Writing"]:
        """Hold the lock of the collection's index.

        Raises ``SearchUnavailable`` when another holds it for too long.
        """
        async with self._locked(collection_id, self._patience) as words:
            if words is None:
                raise SearchUnavailable(
                    f"The word index {self._path(collection_id)} is locked: another process has"
                    f" been writing for more than {self._patience:g} s. Try again."
                )
            yield words

    @asynccontextmanager
    async def idle(self, collection_id: str) -> AsyncIterator[bool]:
        """Hold the lock if nobody else has it, and tell whether that is so."""
        async with self._locked(collection_id, 0) as words:
            yield words is not None

    @asynccontextmanager
    async def alone(self, collection_id: str, purpose: str) -> AsyncIterator[bool]:
        """Be the only one with this folder that does something for a collection, if nobody is."""
        path = self._beside(collection_id, f".{purpose}")
        with translated(path):
            lock = await locked(path, patience=0)
        if lock is None:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
            os.close(lock)

    async def compact(self, collection_id: str, *, quiet_seconds: float) -> None:
        """Write an index anew in which deleted passages still count, so that counts are right.

        One that is locked, or that was written to in the last ``quiet_seconds``, stays as it is.
        """
        path = self._path(collection_id)
        with translated(path):
            if not (path / META).exists() or self._age(collection_id) < quiet_seconds:
                return
        async with self._locked(collection_id, 0) as words:
            if words is not None:
                await words.compact()

    async def merge(self, collection_id: str) -> None:
        """Put the files of an index together after a load, unless another writes to it already."""
        async with self._locked(collection_id, 0) as words:
            if words is not None:
                await words.merge()

    async def leftovers(self, collection_ids: Collection[str]) -> list[str]:
        """Return the ids of collections that have an index and are none of these."""
        return sorted(self._ids(_FOLDER, *_OLD) - frozenset(collection_ids))

    def outdated(self) -> list[str]:
        """Return the ids of collections that have a word index of the kind before this one."""
        return sorted(self._ids(*_OLD))

    async def drop(self, collection_id: str) -> int:
        """Delete the collection's index, also a broken one, if there is any; the bytes freed."""
        if collection_id not in self._ids(_FOLDER, _LOCK, *_OLD):
            return 0
        async with self.writing(collection_id) as words:
            freed = await words.drop() + await words.drop_outdated()
            self._beside(collection_id, _LOCK).unlink(missing_ok=True)
        return freed

    async def drop_others(self, collection_ids: Collection[str]) -> int:
        """Delete the indexes of all but these collections; the number of bytes freed."""
        return sum([await self.drop(id) for id in await self.leftovers(collection_ids)])

    def _snapshot(self, collection_id: str, path: Path) -> "Snapshot | None":
        try:
            found = os.stat(f"{path}/{META}")  # noqa: PTH116 - takes a third of it
        except (FileNotFoundError, NotADirectoryError):
            self._open.pop(collection_id, None)
            return None
        state = found.st_ino, found.st_mtime_ns, found.st_size  # another with every commit
        known = self._open.get(collection_id)
        if known is None:
            record.read(path)
            from .snapshot import OpenIndex

            known = self._open[collection_id] = OpenIndex(path)
            if len(self._open) > self._most_open:
                self._open.popitem(last=False)
        self._open.move_to_end(collection_id)
        return known.snapshot(state)

    @asynccontextmanager
    async def _locked(self, collection_id: str, patience: float) -> AsyncIterator["Writing | None"]:
        if self._threads is None:
            raise NotStarted(_CLOSED)
        path = self._path(collection_id)
        with translated(path):
            descriptor = await locked(self._beside(collection_id, _LOCK), patience=patience)
        if descriptor is None:
            yield None
            return
        outdated = [self._beside(collection_id, suffix) for suffix in _OLD]
        words = Writing(path, outdated, self._threads.submit)
        try:
            yield words
        finally:
            words.unlock(descriptor)

    def _path_of(self, collection_id: str) -> Path:
        # The id becomes a file name, and it may come from a Chroma server that is not ours.
        if not re.fullmatch(r"[\w-]+", collection_id):
            raise SearchError(f"{collection_id!r} is not the id of a collection")
        return self._beside(collection_id, _FOLDER)

    def _beside(self, collection_id: str, suffix: str) -> Path:
        return self.directory / f"{collection_id}{suffix}"

    def _age(self, collection_id: str) -> float:
        paths = (self._beside(collection_id, suffix) for suffix in (_FOLDER, *_OLD))
        return time.time() - max(
            (path.stat().st_mtime for path in paths if path.exists()), default=0.0
        )

    def _ids(self, *suffixes: str) -> set[str]:
        entries = list(self.directory.iterdir()) if self.directory.is_dir() else []
        found = {path.stem for path in entries if path.suffix in {*suffixes} - {*_OLD}}
        old = {path.stem for path in entries if path.suffix in {*suffixes} & {*_OLD}}
        return found | {id for id in old if _is_uuid(id)}


def _is_uuid(text: str) -> bool:
    """Tell an index of ours from another database, such as Chroma's, which may lie beside it."""
    with suppress(ValueError):
        return str(UUID(text)) == text
    return False
