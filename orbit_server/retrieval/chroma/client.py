"""What the two ways to Chroma share: names, remembered UUIDs, batches and checks.

``rest.py`` speaks Chroma's REST interface, ``embedded.py`` opens a folder in this process. Both
take vectors, never texts: for a text Chroma would download a model.

Chroma finds a collection by name but its records by the collection's UUID. UUIDs are remembered by
name for some seconds. Whatever fails with a remembered one, the name is resolved again: what is
gone is reported as gone, and if another collection has the name, the call is repeated once.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cachetools import TTLCache

from ...errors import CollectionNotFound, SearchError
from .distance import distance
from .protocol import Choose, Collection, Metadata, Record, Vector
from .replies import DamagedCollection, collection_of, expected_form, records_of
from .validation import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, batches, check_metadata, checked_name

Body = dict[str, Any]

REMEMBER_SECONDS = 30.0
REMEMBERED = 10_000
_WHOLE = ["documents", "metadatas", "distances"]


class Client(ABC):
    """Names, remembered UUIDs, batches and checks: everything but the way a call takes."""

    answers_meanwhile = True

    def __init__(self, *, batch_bytes: int = MAX_BATCH_BYTES) -> None:
        self._batch_bytes = batch_bytes
        self._remembered: TTLCache[str, Collection] = TTLCache(REMEMBERED, REMEMBER_SECONDS)
        self._annotating = asyncio.Lock()

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

    async def collection(self, name: str, *, fresh: bool = False) -> Collection:
        remembered = None if fresh else self._remembered.get(name)
        if remembered is not None:
            return remembered
        try:
            return self._remember(await self._call("find", checked_name(name)))
        except CollectionNotFound as error:
            raise CollectionNotFound(f"There is no collection {name!r}.") from error

    async def collections(self) -> list[Collection]:
        listed = await self._call("list")
        with expected_form():
            return sorted(map(collection_of, listed), key=lambda collection: collection.name)

    async def create(self, name: str, metadata: dict[str, Any]) -> Collection:
        check_metadata(metadata, f"collection {name}")
        body = {"name": checked_name(name), "metadata": metadata or None, "get_or_create": True}
        cosine = {"configuration": {"hnsw": {"space": "cosine"}}}
        return self._remember(await self._call("create", body=body | cosine))

    async def modify(self, collection: Collection, metadata: dict[str, Any]) -> None:
        check_metadata(metadata, f"collection {collection.name}")
        if not metadata:
            raise ValueError("Chroma does not store empty collection metadata.")
        await self._call("modify", collection.id, {"new_metadata": metadata})
        self.forget(collection.name)
        # In process, Chroma says nothing when the collection is gone.
        if (await self.collection(collection.name)).id != collection.id:
            raise CollectionNotFound(f"Collection {collection.name} has been replaced.")

    async def annotate(self, collection: Collection, changes: Mapping[str, Any]) -> None:
        async with self._annotating:
            current = await self.collection(collection.name, fresh=True)
            if current.id != collection.id:
                raise CollectionNotFound(f"Collection {collection.name} has been replaced.")
            merged = {**current.metadata, **changes}
            kept = {key: value for key, value in merged.items() if value is not None}
            await self.modify(collection, kept)

    async def rename(self, collection: Collection, name: str) -> None:
        await self._call("modify", collection.id, {"new_name": checked_name(name)})
        self.forget(collection.name)
        self.forget(name)
        if (await self.collection(name)).id != collection.id:
            raise CollectionNotFound(f"Collection {collection.name} has been replaced.")

    async def drop(self, name: str) -> None:
        await self._call("drop", checked_name(name))
        self.forget(name)

    async def count(self, name: str) -> int:
        counted = await self._records("count", name)
        with expected_form():
            return int(counted)

    async def search(
        self,
        name: str,
        vector: Vector,
        *,
        n: int,
        choose: Choose,
        beside: Awaitable[object] | None = None,
        request_id: str | None = None,
    ) -> list[Record]:
        nearest: dict[str, float] = {}

        def choice(reply: Any) -> Body | None:
            with expected_form():
                nearest.update(zip(reply["ids"][0], reply["distances"][0], strict=True))
            ids = list(choose(nearest))
            vectors = [] if nearest.keys() >= set(ids) else ["embeddings"]
            return {"ids": ids, "include": ["documents", "metadatas", *vectors]} if ids else None

        query = _query(vector, n, ["distances"])
        reply = await self._query_and_get(name, query, choice, beside, request_id)
        return [] if reply is None else await self._read(name, reply, vector, nearest)

    async def _read(
        self, name: str, reply: Any, vector: Vector | None, known: Mapping[str, float]
    ) -> list[Record]:
        """Return the records of a reply; distances to ``vector`` that are not ``known`` are made.

        Chroma would have to search once more for them.
        """
        space = "" if vector is None else (await self.collection(name)).space
        with expected_form():
            ids, distances = reply["ids"], dict(known)
            if vector is not None:
                for place, id in enumerate(ids):
                    if id not in distances:
                        distances[id] = distance(vector, reply["embeddings"][place], space)
            found = [distances.get(id) for id in ids]
            documents = reply["documents"] or [None] * len(ids)
            return records_of(ids, documents, reply["metadatas"], found)

    async def _query_and_get(
        self,
        name: str,
        query: Body,
        choice: Callable[[Any], Body | None],
        beside: Awaitable[object] | None,
        request_id: str | None,
    ) -> Any:
        """Return the reply to what ``choice`` makes of the reply to ``query``; None for nothing."""
        reply = await self._records("query", name, query, request_id)
        if beside is not None:
            await beside
        body = choice(reply)
        return None if body is None else await self._records("get", name, body, request_id)

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
        body = _query(vector, n, ["distances"] if bare else _WHOLE)
        if ids is not None:
            body["ids"] = list(ids)
        return _queried(await self._records("query", name, body, request_id), bare=bare)

    async def get(
        self,
        name: str,
        *,
        ids: Sequence[str] | None = None,
        where: dict[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
        vector: Vector | None = None,
        texts: bool = True,
        request_id: str | None = None,
    ) -> list[Record]:
        if ids is not None and not ids:
            return []
        include = ["metadatas", *(["documents"] if texts else [])]
        include += ["embeddings"] if vector is not None else []
        body: Body = {"ids": ids and list(ids), "where": where or None, "limit": limit}
        body |= {"offset": offset, "include": include}
        return await self._read(
            name, await self._records("get", name, body, request_id), vector, {}
        )

    async def ids(
        self, name: str, *, ids: Sequence[str] | None = None, where: dict[str, Any] | None = None
    ) -> set[str]:
        if ids is not None and not ids:
            return set()
        body: Body = {"ids": ids and list(ids), "where": where or None, "include": []}
        found = await self._records("get", name, body)
        with expected_form():
            return set(found["ids"])

    async def upsert(
        self,
        name: str,
        *,
        ids: Sequence[str],
        vectors: Sequence[Vector],
        documents: Sequence[str | None],
        metadatas: Sequence[Metadata | None],
    ) -> None:
        records = ids, vectors, documents, metadatas
        most = self._most_written(len(vectors[0]) if vectors else 0)
        for batch in batches(*records, most=most, most_bytes=self._batch_bytes):
            body = {
                "ids": list(ids[batch]),
                "embeddings": list(vectors[batch]),
                "documents": list(documents[batch]),
                "metadatas": [
                    dict(metadata) if metadata else None for metadata in metadatas[batch]
                ],
            }
            await self._records("upsert", name, body)

    def _most_written(self, dimension: int) -> int:
        """Return how many records with vectors of this length are written at once."""
        return MAX_BATCH_RECORDS

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
        except SearchError as error:
            if type(error) not in (SearchError, DamagedCollection, CollectionNotFound):
                raise
            self.forget(name)
            current = await self.collection(name)
            if current.id == collection.id and not isinstance(error, CollectionNotFound):
                raise
        return await self._call(operation, current.id, body, request_id)

    def _remember(self, found: dict[str, Any]) -> Collection:
        with expected_form():
            collection = collection_of(found)
        if collection.dimension is not None:  # else the next write changes it
            self._remembered[collection.name] = collection
        return collection


def _query(vector: Vector, n: int, include: list[str]) -> Body:
    if not math.isfinite(sum(vector)):  # in process, Chroma would answer with distances of NaN
        raise SearchError("The vector to search with is not made of numbers.")
    return {"query_embeddings": [list(vector)], "n_results": n, "include": include}


def _queried(reply: Any, *, bare: bool) -> list[Record]:
    with expected_form():
        found, distances = reply["ids"][0], reply["distances"][0]
        if bare:
            pairs = zip(found, distances, strict=True)
            return [Record(id, None, {}, distance) for id, distance in pairs]
        return records_of(found, reply["documents"][0], reply["metadatas"][0], distances)
