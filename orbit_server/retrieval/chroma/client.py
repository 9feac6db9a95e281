"""Chroma: the vectors, over REST or in process, behind one protocol.

``chroma_server.py`` speaks Chroma's REST interface, ``chroma_embedded.py`` opens a folder with the
``chromadb`` package; what they share is here. Both take vectors, never texts: for a text Chroma
would download a model.

Chroma finds a collection by name but its records by the collection's UUID. UUIDs are remembered by
name for some seconds; when one turns out to be gone, the name is resolved again and the call
repeated once.
"""

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import orjson

from ...errors import (
    CollectionNotFound,
    EmbedderMismatch,
    SearchError,
    SearchTimeout,
    SearchUnavailable,
    Unprocessable,
)

Body = dict[str, Any]
Vector = Sequence[float]
Metadata = Mapping[str, Any]

REMEMBER_SECONDS = 30.0
MAX_BATCH_RECORDS = 5461  # what Chroma announces, and what it enforces in process
MAX_BATCH_BYTES = 8 * 1024 * 1024  # a fifth of what a server takes by default

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
        bare: bool = False,
        request_id: str | None = None,
    ) -> list[Record]:
        """Return the ``n`` >= 1 nearest records (or all, if fewer) by ascending distance.

        With ``ids`` only these are looked at. ``bare`` records have id and distance only, which
        costs a third of the time.
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


class Client(ABC):
    """Names, remembered UUIDs, batches and checks: everything but the way a call takes."""

    most_records = MAX_BATCH_RECORDS  # that one write may have

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
            collection = self._remember(await self._call("find", checked_name(name)))
        return collection

    async def collections(self) -> list[Collection]:
        listed = await self._call("list")
        with expected_form():
            return sorted(map(_collection, listed), key=lambda collection: collection.name)

    async def create(self, name: str, metadata: dict[str, Any]) -> Collection:
        _check_metadata(metadata, f"collection {name}")
        body = {"name": checked_name(name), "metadata": metadata or None, "get_or_create": True}
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
        await self._call("drop", checked_name(name))
        self.forget(name)

    async def count(self, name: str) -> int:
        counted = await self._records("count", name)
        with expected_form():
            return int(counted)

    async def query(
        self,
        name: str,
        vector: Vector,
        *,
        n: int,
        ids: Sequence[str] | None = None,
        bare: bool = False,
        request_id: str | None = None,
    ) -> list[Record]:
        if not math.isfinite(sum(vector)):  # in process, Chroma would answer with distances of NaN
            raise SearchError("The vector to search with is not made of numbers.")
        include = ["distances"] if bare else ["documents", "metadatas", "distances"]
        body: dict[str, Any] = {
            "query_embeddings": [list(vector)],
            "n_results": n,
            "include": include,
        }
        if ids is not None:
            body["ids"] = list(ids)
        reply = await self._records("query", name, body, request_id)
        with expected_form():
            found, distances = reply["ids"][0], reply["distances"][0]
            nothing = [None] * len(found)
            documents = nothing if bare else reply["documents"][0]
            metadatas = nothing if bare else reply["metadatas"][0]
            return _rows(found, documents, metadatas, distances)

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
        with expected_form():
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
        for batch in _batches(ids, vectors, documents, metadatas, most=self.most_records):
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
        with expected_form():
            collection = _collection(found)
        if collection.dimension is not None:  # else the next write changes it
            until = time.monotonic() + REMEMBER_SECONDS
            self._remembered[collection.name] = collection, until
        return collection


@contextmanager
def expected_form() -> Iterator[None]:
    """Raise ``SearchError`` for a reply that is not formed as Chroma's are."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SearchError("A reply does not come from Chroma as this server knows it.") from error


def failure(status: int, text: str) -> SearchError:
    """Return the error that Chroma's ``status`` and ``text`` stand for."""
    if "expecting embedding with dimension" in text:
        return EmbedderMismatch(text)
    if status == 404 and "Collection [" in text:
        return CollectionNotFound(text)
    kinds = {429: SearchUnavailable, 502: SearchUnavailable, 503: SearchUnavailable}
    return (kinds | {504: SearchTimeout}).get(status, SearchError)(text)


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


def checked_name(name: str) -> str:
    """Return ``name`` if a collection can have it; raise ``Unprocessable`` with the rule if not."""
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
    *,
    most: int,
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
        if taken == most or (taken and size > MAX_BATCH_BYTES):
            cuts.append(position)
            size = length
    return [slice(*run) for run in zip(cuts, [*cuts[1:], len(ids)], strict=True)] if ids else []
