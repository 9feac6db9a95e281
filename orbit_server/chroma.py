"""Chroma: the vectors, over REST or in process, behind one protocol.

:class:`ChromaServer` speaks Chroma's REST interface, version 2; :class:`ChromaEmbedded` opens a
folder with the ``chromadb`` package. Both take vectors, never texts: for a text Chroma would
download a model.

Chroma finds a collection by name but its records by the collection's UUID. UUIDs are remembered by
name for some seconds; when one turns out to be gone, the name is resolved again and the call
repeated once.
"""

import asyncio
import base64
import fcntl
import math
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote
from uuid import UUID

import aiohttp
import orjson

from .errors import (
    CollectionNotFound,
    EmbedderMismatch,
    NotStarted,
    OrbitError,
    SearchError,
    SearchTimeout,
    SearchUnavailable,
    Unprocessable,
)

Body = dict[str, Any]
Vector = Sequence[float]
Metadata = Mapping[str, Any]

CONNECT_SECONDS = 3.0
WRITE_SECONDS = 60.0
REMEMBER_SECONDS = 30.0
MAX_BATCH_RECORDS = 5461  # what Chroma announces, and what it enforces in process
MAX_BATCH_BYTES = 8 * 1024 * 1024  # a fifth of what a server takes by default
THREADS = 4
LOCK_ATTEMPTS = 10

_NAME = re.compile(r"(?!.*\.\.)(?!(\d+\.){3}\d+$)[a-zA-Z0-9][\w.-]{1,510}[a-zA-Z0-9]", re.ASCII)
_NAME_RULE = (
    "has 3 to 512 letters, digits, dots, hyphens and underscores, begins and ends with a letter or"
    " digit, has no two dots in a row and is not an IP address"
)


@dataclass(frozen=True, slots=True)
class Collection:
    """What Chroma knows about one collection.

    ``space`` is the metric of its distances (``cosine``, ``l2`` for squared Euclidean, ``ip``);
    ``dimension`` is ``None`` until the first write and fixed after it.
    """

    id: str
    name: str
    space: str
    metadata: dict[str, Any]
    dimension: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record; ``distance`` is set in the results of a query only."""

    id: str
    document: str | None
    metadata: dict[str, Any]
    distance: float | None = None


class ChromaLocked(SearchError):
    """Another process works on this folder: ``pid`` at ``address``, as far as it has said so."""

    def __init__(self, path: Path, pid: int | None, address: str | None) -> None:
        self.path, self.pid, self.address = path, pid, address
        who = "another process" if pid is None else f"process {pid}"
        where = "" if address is None else f", which answers at {address}"
        super().__init__(f"The Chroma folder {path} is in use by {who}{where}.")


class Chroma(Protocol):
    """What the rest of the server needs of Chroma.

    Every call raises the :class:`SearchError` family, :class:`NotStarted` outside ``async with``,
    and :class:`Unprocessable` for a name that no collection can have.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def heartbeat(self) -> None:
        """Return when Chroma answers."""

    async def collection(self, name: str) -> Collection:
        """Return the collection, remembered for some seconds; else ``CollectionNotFound``."""

    async def collections(self) -> list[Collection]:
        """Return every collection, by name."""

    async def create(self, name: str, metadata: dict[str, Any]) -> Collection:
        """Make a cosine collection, or find the one of this name; return what is stored.

        Chroma leaves an existing collection as it is, so the result may have other metadata and
        another space than asked for.
        """

    async def modify(self, collection: Collection, metadata: dict[str, Any]) -> None:
        """Replace the metadata of exactly this collection, by at least one key."""

    async def drop(self, name: str) -> None:
        """Delete the collection and its records; ``CollectionNotFound`` when there is none."""

    async def count(self, name: str) -> int:
        """Return the number of records."""

    async def query(
        self,
        name: str,
        vector: Vector,
        *,
        n: int,
        ids: Sequence[str] | None = None,
        request_id: str | None = None,
    ) -> list[Record]:
        """Return the ``n`` >= 1 nearest records (or all, if fewer) by ascending distance.

        With ``ids`` only these are looked at.
        """

    async def get(
        self,
        name: str,
        *,
        ids: Sequence[str] | None = None,
        where: dict[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
        request_id: str | None = None,
    ) -> list[Record]:
        """Return stored records; ids that are not there are left out. Without a limit: all."""

    async def upsert(
        self,
        name: str,
        *,
        ids: Sequence[str],
        vectors: Sequence[Vector],
        documents: Sequence[str | None],
        metadatas: Sequence[Metadata | None],
    ) -> None:
        """Add records or replace those with the same id, in batches that Chroma takes.

        Metadata keys of an existing record that are not given stay. Raise ``ValueError``, before
        anything is written, for lists of unequal length or metadata that is not scalar.
        """

    async def delete(self, name: str, *, ids: Sequence[str]) -> None:
        """Delete these records; ids that are not there are no error."""


class _Client(ABC):
    """Names, remembered UUIDs, batches and checks: everything but the way a call takes."""

    def __init__(self) -> None:
        self._remembered: dict[str, tuple[Collection, float]] = {}

    @abstractmethod
    async def _call(
        self, operation: str, key: str = "", body: Body | None = None, request_id: str | None = None
    ) -> Any:
        """Do one operation of the tables below on the collection of this name or UUID."""

    def forget(self, name: str) -> None:
        """Ask Chroma again when this collection is next used."""
        self._remembered.pop(name, None)

    async def heartbeat(self) -> None:
        await self._call("heartbeat")

    async def collection(self, name: str) -> Collection:
        collection, until = self._remembered.get(name, (None, 0.0))
        if collection is None or time.monotonic() > until:
            collection = self._remember(await self._call("find", _checked(name)))
        return collection

    async def collections(self) -> list[Collection]:
        listed = await self._call("list")
        with _expected_form():
            return sorted(map(_collection, listed), key=lambda collection: collection.name)

    async def create(self, name: str, metadata: dict[str, Any]) -> Collection:
        _check_metadata(metadata, f"collection {name}")
        body = {"name": _checked(name), "metadata": metadata or None, "get_or_create": True}
        cosine = {"configuration": {"hnsw": {"space": "cosine"}}}
        return self._remember(await self._call("create", body=body | cosine))

    async def modify(self, collection: Collection, metadata: dict[str, Any]) -> None:
        _check_metadata(metadata, f"collection {collection.name}")
        if not metadata:
            raise ValueError("Chroma does not store empty collection metadata.")
        await self._call("modify", collection.id, {"new_metadata": metadata})
        self.forget(collection.name)
        # In process, Chroma says nothing when the collection is gone.
        if (await self.collection(collection.name)).id != collection.id:
            raise CollectionNotFound(f"Collection {collection.name} has been replaced.")

    async def drop(self, name: str) -> None:
        await self._call("drop", _checked(name))
        self.forget(name)

    async def count(self, name: str) -> int:
        counted = await self._records("count", name)
        with _expected_form():
            return int(counted)

    async def query(
        self,
        name: str,
        vector: Vector,
        *,
        n: int,
        ids: Sequence[str] | None = None,
        request_id: str | None = None,
    ) -> list[Record]:
        if not math.isfinite(sum(vector)):  # in process, Chroma would answer with distances of NaN
            raise SearchError("The vector to search with is not made of numbers.")
        include = ["documents", "metadatas", "distances"]
        body: dict[str, Any] = {
            "query_embeddings": [list(vector)],
            "n_results": n,
            "include": include,
        }
        if ids is not None:
            body["ids"] = list(ids)
        reply = await self._records("query", name, body, request_id)
        with _expected_form():
            return _rows(reply["ids"][0], *(reply[column][0] for column in include))

    async def get(
        self,
        name: str,
        *,
        ids: Sequence[str] | None = None,
        where: dict[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
        request_id: str | None = None,
    ) -> list[Record]:
        if ids is not None and not ids:
            return []
        body: Body = {"ids": ids and list(ids), "where": where or None, "limit": limit}
        body |= {"offset": offset, "include": ["documents", "metadatas"]}
        reply = await self._records("get", name, body, request_id)
        with _expected_form():
            found = reply["ids"]
            return _rows(found, reply["documents"], reply["metadatas"], [None] * len(found))

    async def upsert(
        self,
        name: str,
        *,
        ids: Sequence[str],
        vectors: Sequence[Vector],
        documents: Sequence[str | None],
        metadatas: Sequence[Metadata | None],
    ) -> None:
        for batch in _batches(ids, vectors, documents, metadatas):
            body = {
                "ids": list(ids[batch]),
                "embeddings": list(vectors[batch]),
                "documents": list(documents[batch]),
                "metadatas": [
                    dict(metadata) if metadata else None for metadata in metadatas[batch]
                ],
            }
            await self._records("upsert", name, body)

    async def delete(self, name: str, *, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), MAX_BATCH_RECORDS):
            body = {"ids": list(ids[first : first + MAX_BATCH_RECORDS])}
            await self._records("delete", name, body)

    async def _records(
        self, operation: str, name: str, body: Body | None = None, request_id: str | None = None
    ) -> Any:
        collection = await self.collection(name)
        try:
            return await self._call(operation, collection.id, body, request_id)
        except CollectionNotFound:
            self.forget(name)
        collection = await self.collection(name)
        return await self._call(operation, collection.id, body, request_id)

    def _remember(self, found: dict[str, Any]) -> Collection:
        with _expected_form():
            collection = _collection(found)
        if collection.dimension is not None:  # else the next write changes it
            until = time.monotonic() + REMEMBER_SECONDS
            self._remembered[collection.name] = collection, until
        return collection


_REST = {
    "heartbeat": ("GET", "/api/v2/heartbeat"),
    "list": ("GET", "{collections}"),
    "create": ("POST", "{collections}"),
    "find": ("GET", "{collections}/{key}"),
    "drop": ("DELETE", "{collections}/{key}"),
    "modify": ("PUT", "{collections}/{key}"),
    "count": ("GET", "{collections}/{key}/count"),
    "query": ("POST", "{collections}/{key}/query"),
    "get": ("POST", "{collections}/{key}/get"),
    "upsert": ("POST", "{collections}/{key}/upsert"),
    "delete": ("POST", "{collections}/{key}/delete"),
}


class ChromaServer(_Client):
    """A Chroma server, its distributed edition or Chroma Cloud, through one aiohttp session.

    ``headers`` go with every request: Chroma itself asks for no credentials, a proxy before it may.
    ``timeout`` is in seconds for a whole call; a write gets at least a minute. Opening sends
    nothing, so the server may start later.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: bool = False,
        headers: Mapping[str, str] | None = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        timeout: float = 10.0,
    ) -> None:
        super().__init__()
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._base = f"{'https' if ssl else 'http'}://{self._address}"
        tenant, database = quote(tenant, safe=""), quote(database, safe="")
        self._collections = f"/api/v2/tenants/{tenant}/databases/{database}/collections"
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers | {"Content-Type": "application/json"},
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(
        self, operation: str, key: str = "", body: Body | None = None, request_id: str | None = None
    ) -> Any:
        if self._session is None:
            raise NotStarted("The Chroma client is not open.")
        method, template = _REST[operation]
        path = template.format(collections=self._collections, key=key)
        seconds = self._timeout
        if operation == "upsert" and body is not None:
            seconds = max(seconds, WRITE_SECONDS)
            body = body | {"embeddings": [_base64(vector) for vector in body["embeddings"]]}
        with _translated_http(self._address):
            async with self._session.request(
                method,
                self._base + path,
                data=None if body is None else orjson.dumps(body),
                headers={"X-Request-ID": request_id} if request_id else None,
                timeout=aiohttp.ClientTimeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
                allow_redirects=False,
            ) as response:
                content = await response.read()
        if response.status >= 300:
            asked = f"Chroma at {self._address} answered {response.status} to {method} {path}"
            reason = self._without_headers(_reason(content))
            raise _failure(response.status, f"{asked}: {reason}")
        with _expected_form():
            return orjson.loads(content)

    def _without_headers(self, text: str) -> str:
        for value in self._headers.values():
            text = text.replace(value.rpartition(" ")[2] or value, "[header]")
        return text


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


class ChromaEmbedded(_Client):
    """Chroma in this process, on the folder ``path``, which it makes and locks.

    A folder belongs to one process at a time: opening raises :class:`ChromaLocked` while another
    holds it. ``address`` is where this process can be asked instead; it is written into the lock
    for others to read. A parent passes its lock on with ``pass_fds=[parent.lock_fd]``; the child
    takes it over with ``lock_fd=``.

    Calls run in threads. A cancelled call returns at once; what its thread had begun is completed.
    """

    def __init__(
        self, path: str | Path, *, address: str | None = None, lock_fd: int | None = None
    ) -> None:
        super().__init__()
        self._path = Path(path).absolute()
        self._address = address
        self._lock_fd = lock_fd
        self._threads: ThreadPoolExecutor | None = None
        self._client: Any = None

    @property
    def lock_fd(self) -> int:
        """The descriptor that holds the lock on the folder, for a child process to inherit."""
        if self._lock_fd is None:
            raise NotStarted("The Chroma folder is not open.")
        return self._lock_fd

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
            self._path.mkdir(parents=True, exist_ok=True)
            if self._lock_fd is None:
                self._lock_fd = os.open(_lock_file(self._path), os.O_RDWR | os.O_CREAT, 0o644)
            _lock(self._lock_fd, self._path, self._address)

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
            # Closed, not unlocked: a child that has inherited the lock keeps it.
            if lock_fd is not None:
                os.close(lock_fd)


def holder(path: str | Path) -> dict[str, Any] | None:
    """Return ``{"pid", "address"}`` of the process that holds this Chroma folder, or ``None``.

    Either value is ``None`` when the holder has not said it. Raise ``SearchError`` when the lock
    cannot be read.
    """
    try:
        descriptor = os.open(_lock_file(Path(path)), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SearchError(f"The lock of {path} cannot be read: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(descriptor)
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, path: Path, address: str | None) -> None:
    if not os.path.samestat(os.fstat(descriptor), _lock_file(path).stat()):
        raise SearchError(f"The inherited descriptor {descriptor} is not the lock of {path}.")
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # Somebody who only looks (``holder``) is gone in a moment; a holder is not.
            if attempt == LOCK_ATTEMPTS - 1:
                raise ChromaLocked(path, **_written(descriptor)) from None
            time.sleep(0.02)
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, orjson.dumps({"pid": os.getpid(), "address": address}), 0)


def _lock_file(path: Path) -> Path:
    return path / "orbit.lock"


def _written(descriptor: int) -> dict[str, Any]:
    try:
        content = orjson.loads(os.pread(descriptor, 4096, 0))
        return {"pid": content["pid"], "address": content["address"]}
    except (ValueError, LookupError, TypeError):
        return {"pid": None, "address": None}


@contextmanager
def _translated_http(address: str) -> Iterator[None]:
    """Turn whatever aiohttp raises into the error tree; the texts name no header."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise SearchUnavailable(f"Chroma at {address} does not take connections.") from error
    except TimeoutError as error:
        raise SearchTimeout(f"Chroma at {address} did not answer in time.") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SearchUnavailable(f"Chroma at {address} cannot be reached: {reason}.") from error
    except Exception as error:
        raise SearchError(f"Chroma at {address} failed: {type(error).__name__}.") from error


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
        raise _failure(status, f"Chroma in {path}: {type(error).__name__}: {error}") from error


@contextmanager
def _expected_form() -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SearchError("A reply does not come from Chroma as this server knows it.") from error


def _failure(status: int, text: str) -> SearchError:
    if "expecting embedding with dimension" in text:
        return EmbedderMismatch(text)
    if status == 404 and "Collection [" in text:
        return CollectionNotFound(text)
    kinds = {429: SearchUnavailable, 502: SearchUnavailable, 503: SearchUnavailable}
    return (kinds | {504: SearchTimeout}).get(status, SearchError)(text)


def _reason(content: bytes) -> str:
    try:
        return str(orjson.loads(content)["message"])
    except (ValueError, LookupError, TypeError):
        return " ".join(content[:200].decode(errors="replace").split()) or "no reason given"


def _described(collection: Any) -> Any:
    return collection.get_model().model_dump()


def _collection(found: dict[str, Any]) -> Collection:
    configuration, metadata = found["configuration_json"] or {}, found["metadata"] or {}
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    space = index.get("space") or metadata.get("hnsw:space") or "l2"
    return Collection(str(found["id"]), found["name"], space, metadata, found["dimension"])


def _rows(
    ids: Sequence[str],
    documents: Sequence[str | None],
    metadatas: Sequence[dict[str, Any] | None],
    distances: Sequence[float | None],
) -> list[Record]:
    columns = zip(ids, documents, metadatas, distances, strict=True)
    return [Record(id, document, meta or {}, distance) for id, document, meta, distance in columns]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Unprocessable(f"{name[:80]!r} cannot be a collection: its name {_NAME_RULE}.")
    return name


def _check_metadata(metadata: Metadata, where: str) -> None:
    for key, value in metadata.items():
        # A list in a collection's metadata makes Chroma panic; NaN would arrive as null.
        scalar = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
        if not (isinstance(key, str) and scalar):
            raise ValueError(f"{where}: metadata {key!r} must be a text, number or truth value.")


def _batches(
    ids: Sequence[str],
    vectors: Sequence[Vector],
    documents: Sequence[str | None],
    metadatas: Sequence[Metadata | None],
) -> list[slice]:
    """Cut into runs below both limits (a single record may exceed one), checking every record."""
    cuts, size = [0], 0
    records = zip(ids, vectors, documents, metadatas, strict=True)
    for position, (id, vector, document, metadata) in enumerate(records):
        _check_metadata(metadata or {}, f"record {id}")
        try:
            length = len(orjson.dumps((id, document, metadata))) + len(vector) * 16 // 3
        except orjson.JSONEncodeError as error:
            raise ValueError(f"record {id!r}: {error}") from error
        size += length
        taken = position - cuts[-1]
        if taken == MAX_BATCH_RECORDS or (taken and size > MAX_BATCH_BYTES):
            cuts.append(position)
            size = length
    return [slice(*run) for run in zip(cuts, [*cuts[1:], len(ids)], strict=True)] if ids else []


def _base64(vector: Vector) -> str:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats).decode()
