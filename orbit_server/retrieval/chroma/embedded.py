"""Chroma in this process.

Chroma keeps every collection that was used in memory, with four open files each, in a cache of a
fixed size. A collection that drops out of this cache is not found again, or only without its last
records, until the process ends. So the cache never fills: after ``most_loaded`` collections Chroma
is closed and opened again, between two calls, which takes some hundredths of a second.
"""

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from ...errors import CollectionNotFound, NotStarted, OrbitError, SearchError, SearchUnavailable
from . import tables
from .bindings import DATABASE, OpenFolder
from .client import Body, Client
from .lock import lock
from .protocol import Record
from .replies import failure

THREADS = 4
WRITE_RECORDS = 16
WRITE_VALUES = 8 * 1024  # 8 records of 1,024 dimensions
WRITE_RECORDS_UNATTENDED = 256  # takes two thirds of the processor time of 32; more saves nothing
MOST_LOADED = 1000  # collections, of which each takes some megabytes of memory
FILES_OF_A_COLLECTION = 4

T = TypeVar("T")


_LOADING = {"count", "query", "get", "query_and_get", "upsert", "delete"}
_WRITING = {"upsert", "delete"}


class ChromaEmbedded(Client):
    """Chroma in this process, on the folder ``path``, which it makes and locks.

    A folder belongs to one process at a time: opening raises :class:`ChromaLocked` while another
    holds it. ``address`` is where this process can be asked instead; it is written into the lock
    for others to read. ``most_loaded`` collections are held in memory at once; their files are at
    most half of what this process may open unless it is given.

    Calls run in threads. A cancelled call returns at once; what its thread had begun is completed.
    Chroma lets no other thread run while it writes. So each write is short, and where somebody has
    searched in the last ``lately`` seconds, the next one begins after ``rest`` times as long.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        address: str | None = None,
        most_loaded: int | None = None,
        lately: float = 1.0,
        rest: float = 2.0,
    ) -> None:
        super().__init__()
        self._path = Path(path).absolute()
        self._address = address
        self._most_loaded = most_loaded
        self._lately = lately
        self._rest = rest
        self._rested = 0.0
        self._searched = float("-inf")
        self._lock_fd: int | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._open_folder: OpenFolder | None = None
        self._loaded: set[str] = set()
        self._running: set[Future[Any]] = set()
        self._reopening: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="chroma")
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._begin)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            if self._reopening is not None:
                await asyncio.wait([self._reopening])
            # Shielded: a second cancellation must not leave the folder open or its lock held.
            closing = asyncio.get_running_loop().run_in_executor(None, self._end, threads)
            await asyncio.shield(closing)

    async def heartbeat(self) -> None:
        await super().heartbeat()
        if not await self._beside(lambda path: (path / DATABASE).exists()):
            # What is open works on; documents that are loaded now are lost at the next start.
            raise SearchUnavailable(f"Chroma in {self._path}: {DATABASE} is gone.")

    async def drop(self, name: str) -> None:
        await super().drop(name)
        await self._beside(tables.remove_orphans)

    def _most_written(self, dimension: int) -> int:
        if not self.answers_meanwhile:
            return WRITE_RECORDS_UNATTENDED
        return min(WRITE_RECORDS, max(1, WRITE_VALUES // max(1, dimension)))

    async def stored_records(
        self, collection_id: str, *, after: int, limit: int
    ) -> list[tuple[int, Record]]:
        return await self._beside(tables.records, collection_id, after=after, limit=limit)

    async def stored_count(self, collection_id: str) -> int:
        return await self._beside(tables.record_count, collection_id)

    async def clean(self) -> int:
        def work() -> int:
            return tables.remove_orphans(self._path) + tables.compact(self._path)

        return await self._reopen(work)

    async def _call(
        self, operation: str, key: str = "", body: Body | None = None, request_id: str | None = None
    ) -> Any:
        if operation in _WRITING and self.answers_meanwhile:
            await self._give_way()
        while True:
            if self._reopening is not None:
                await asyncio.shield(self._reopening)
            elif self._open_folder is None or (operation in _LOADING and self._is_full_for(key)):
                await self._reopen(lambda: None)
            else:
                break
        if operation in _LOADING:
            self._loaded.add(key)
        began = time.monotonic()
        try:
            return await self._beside(self._do, operation, key, body or {})
        finally:
            if operation in _WRITING:
                ended = time.monotonic()
                self._rested = ended + self._rest * (ended - began)

    async def _query_and_get(
        self,
        name: str,
        query: Body,
        choice: Callable[[Any], Body | None],
        beside: Awaitable[object] | None,
        request_id: str | None,
    ) -> Any:
        self._searched = time.monotonic()
        if beside is not None:
            return await super()._query_and_get(name, query, choice, beside, request_id)
        # In one thread: going there and back costs as much as half of what is done there.
        return await self._records("query_and_get", name, {"query": query, "choice": choice})

    async def _give_way(self) -> None:
        now = time.monotonic()
        if now < self._rested and now - self._searched < self._lately:
            await asyncio.sleep(self._rested - now)

    def _is_full_for(self, collection_id: str) -> bool:
        most = self._most_loaded or 1
        return collection_id not in self._loaded and len(self._loaded) >= most

    def _do(self, _: Path, operation: str, key: str, body: Body) -> Any:
        with _translated_chromadb(self._path):
            if operation == "find" and self._is_missing(key):
                raise CollectionNotFound(f"Chroma in {self._path}: no collection {key!r}")
            return getattr(self._open_folder, operation)(key, body)

    def _is_missing(self, name: str) -> bool:
        """Tell without an exception of chromadb's: that package would be imported for it."""
        try:
            return not tables.has_collection(self._path, name)
        except SearchError:  # Chroma may know better
            return False

    async def _beside(self, call: Callable[..., T], *values: Any, **named: Any) -> T:
        """Return what ``call`` does with the folder, in a thread."""
        if self._threads is None:
            raise NotStarted("The Chroma folder is not open.")
        future = self._threads.submit(call, self._path, *values, **named)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(future)

    async def _reopen(self, between: Callable[[], T]) -> T:
        """Close Chroma when all calls have ended, and open it again; what ``between`` returns.

        Calls that come meanwhile wait. A caller that is cancelled does not stop it.
        """
        while self._reopening is not None:
            await asyncio.shield(self._reopening)
        if self._threads is None:
            raise NotStarted("The Chroma folder is not open.")

        def work(running: list[Future[Any]]) -> T:
            wait(running)
            self._close()
            try:
                return between()
            finally:
                self._loaded.clear()
                self._open()

        async def reopened() -> T:
            try:
                return await asyncio.to_thread(work, list(self._running))
            finally:
                self._reopening = None

        self._reopening = task = asyncio.create_task(reopened())
        return await asyncio.shield(task)

    def _begin(self) -> None:
        if self._most_loaded is None:
            self._most_loaded = _collections_that_fit()
        with _translated_chromadb(self._path):
            self._lock_fd = lock(self._path, self._address)
        self._open()
        with suppress(SearchError):  # whatever it is, the next call meets it too
            tables.remove_orphans(self._path, starting=True)

    def _open(self) -> None:
        with _translated_chromadb(self._path):
            self._open_folder = OpenFolder(self._path)

    def _close(self) -> None:
        folder, self._open_folder = self._open_folder, None
        if folder is not None:
            with _translated_chromadb(self._path):
                folder.close()

    def _end(self, threads: ThreadPoolExecutor) -> None:
        threads.shutdown()
        lock_fd, self._lock_fd = self._lock_fd, None
        self._remembered.clear()
        try:
            self._close()
        finally:
            if lock_fd is not None:
                os.close(lock_fd)


@contextmanager
def _translated_chromadb(path: Path) -> Iterator[None]:
    """Turn whatever chromadb raises into the error tree; for use in a worker thread.

    A panic in Chroma's Rust arrives as a ``BaseException``. Nobody interrupts or cancels a worker
    thread, so all of them are translated.
    """
    try:
        yield
    except OrbitError:
        raise
    except BaseException as error:
        code = getattr(error, "code", None)
        status = code() if callable(code) else 500
        raise failure(status, f"Chroma in {path}: {type(error).__name__}: {error}") from error


def _collections_that_fit() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_LOADED
    return max(1, min(MOST_LOADED, files // 2 // FILES_OF_A_COLLECTION))
