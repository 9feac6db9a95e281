"""Chroma in this process, through the ``chromadb`` package."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from ...errors import NotStarted, OrbitError
from .client import Body, Client, failure
from .lock import lock

THREADS = 4
MAX_WRITE_RECORDS = 16


# Records go through the methods below chromadb's own Collection: they take the UUID, and do not try
# to build the embedding function that somebody else may have made the collection with.
_IN_PROCESS: dict[str, Callable[[Any, str, Any], Any]] = {
    "heartbeat": lambda client, _, __: client.heartbeat(),
    "list": lambda client, _, __: [_described(each) for each in client.list_collections()],
    "create": lambda client, _, body: _described(
        client.create_collection(**body, embedding_function=None)
    ),
    "find": lambda client, key, _: _described(client.get_collection(key, embedding_function=None)),
    "drop": lambda client, key, _: client.delete_collection(key),
    "modify": lambda client, key, body: client._modify(UUID(key), **body),
    "count": lambda client, key, _: client._count(UUID(key)),
    "query": lambda client, key, body: client._query(UUID(key), **body),
    "get": lambda client, key, body: client._get(UUID(key), **body),
    "upsert": lambda client, key, body: client._upsert(UUID(key), **body),
    "delete": lambda client, key, body: client._delete(UUID(key), **body),
}


class ChromaEmbedded(Client):
    """Chroma in this process, on the folder ``path``, which it makes and locks.

    A folder belongs to one process at a time: opening raises :class:`ChromaLocked` while another
    holds it. ``address`` is where this process can be asked instead; it is written into the lock
    for others to read.

    Calls run in threads. A cancelled call returns at once; what its thread had begun is completed.
    """

    # While chromadb takes over vectors, no other thread runs: a write is many short ones, between
    # which answers go on.
    most_records = MAX_WRITE_RECORDS

    def __init__(self, path: str | Path, *, address: str | None = None) -> None:
        super().__init__()
        self._path = Path(path).absolute()
        self._address = address
        self._lock_fd: int | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._client: Any = None

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="chroma")
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._open)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            # Shielded: a second cancellation must not leave the folder open or its lock held.
            closing = asyncio.get_running_loop().run_in_executor(None, self._close, threads)
            await asyncio.shield(closing)

    async def _call(
        self, operation: str, key: str = "", body: Body | None = None, request_id: str | None = None
    ) -> Any:
        threads, client = self._threads, self._client
        if threads is None:
            raise NotStarted("The Chroma folder is not open.")

        def work() -> Any:
            with _translated_chromadb(self._path):
                return _IN_PROCESS[operation](client, key, body or {})

        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def _open(self) -> None:
        with _translated_chromadb(self._path):
            self._lock_fd = lock(self._path, self._address)

            import chromadb
            from chromadb.config import Settings

            # Constructed rather than called: calling it reads the environment and ``.env``, where
            # names as plain as ALLOW_RESET or MIGRATIONS would change how the folder is opened.
            settings = Settings.model_construct(anonymized_telemetry=False)
            self._client = chromadb.PersistentClient(self._path, settings=settings)

    def _close(self, threads: ThreadPoolExecutor) -> None:
        threads.shutdown()
        client, self._client = self._client, None
        lock_fd, self._lock_fd = self._lock_fd, None
        self._remembered.clear()
        try:
            if client is not None:
                with _translated_chromadb(self._path):
                    client.close()
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


def _described(collection: Any) -> Any:
    return collection.get_model().model_dump()
