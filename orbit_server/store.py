"""Collections as the command line and the admin routes see them: what is in, put in, taken out."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from . import embedding
from .chroma import Chroma, Collection
from .chunks import Chunk
from .embedding import Embedder
from .errors import CollectionNotFound
from .lexical import LexicalIndex
from .retrieval import Retrieval
from .types import Passage, Question

_PAGE = 2000


class Store(Protocol):
    """Where documents go: this process's own Chroma, or a server that holds it."""

    async def collections(self) -> list[dict[str, Any]]:
        """Return one summary a collection, by name."""

    async def show(self, collection: str) -> dict[str, Any]:
        """Return a collection's summary and its ``sources``, chunks by source."""

    async def drop(self, collection: str) -> None:
        """Delete a collection and all that is in it."""

    async def sources(self, collection: str) -> dict[str, int]:
        """Return the number of chunks of every source; empty when there is no such collection."""

    async def ids(self, collection: str, source: str) -> set[str]:
        """Return the ids of the chunks of one source."""

    async def put(self, collection: str, chunks: Sequence[Chunk], remove: Sequence[str]) -> None:
        """Embed and store ``chunks``, making the collection if need be; then delete ``remove``.

        With nothing to do it still refuses a collection that another embedder made.
        """

    async def search(self, collection: str, question: str) -> list[Passage]:
        """Return the passages that the chat would answer ``question`` from."""


def _words(chunk: Chunk) -> str:
    # What the vector was made of, and the answer: people ask in the words of either.
    return f"{chunk.embed}\n{chunk.text}"


class LocalStore:
    """A ``Store`` over this process's connection to Chroma.

    Every method raises the ``SearchError`` family, ``EmbedderMismatch`` where the collection was
    made with another embedder than ``embedder``, and ``put`` the ``ModelError`` family too.
    """

    def __init__(
        self, *, chroma: Chroma, lexical: LexicalIndex, embedder: Embedder, retrieval: Retrieval
    ) -> None:
        self.chroma = chroma
        self.lexical = lexical
        self.embedder = embedder
        self.retrieval = retrieval

    async def collections(self) -> list[dict[str, Any]]:
        listed = sorted(await self.chroma.collections(), key=lambda collection: collection.name)
        return [await self._summary(collection) for collection in listed]

    async def show(self, collection: str) -> dict[str, Any]:
        summary = await self._summary(await self.chroma.collection(collection))
        return summary | {"sources": await self.sources(collection)}

    async def drop(self, collection: str) -> None:
        stored = await self.chroma.collection(collection)
        await self.chroma.drop(collection)
        await self.lexical.drop(stored.id)

    async def sources(self, collection: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        offset = 0
        try:
            while page := await self.chroma.get(collection, limit=_PAGE, offset=offset):
                counts.update(str(record.metadata.get("source", "")) for record in page)
                offset += len(page)
        except CollectionNotFound:
            return {}
        return dict(sorted(counts.items()))

    async def ids(self, collection: str, source: str) -> set[str]:
        try:
            records = await self.chroma.get(collection, where={"source": source})
        except CollectionNotFound:
            return set()
        return {record.id for record in records}

    async def put(self, collection: str, chunks: Sequence[Chunk], remove: Sequence[str]) -> None:
        try:
            stored = await self.chroma.collection(collection)
            embedding.check(stored.metadata, self.embedder, collection)
        except CollectionNotFound:
            stored = None
        if chunks:
            await self._store(collection, chunks, stored)
        if remove:
            stored = await self.chroma.collection(collection)
            await self.chroma.delete(collection, ids=list(remove))
            await self.lexical.remove(stored.id, list(remove))

    async def search(self, collection: str, question: str) -> list[Passage]:
        found = await self.retrieval(Question(message=question), collection)
        return found.passages

    async def _store(
        self, collection: str, chunks: Sequence[Chunk], stored: Collection | None
    ) -> None:
        vectors = await self.embedder.documents([chunk.embed for chunk in chunks])
        if stored is None:
            record = embedding.record(self.embedder, len(vectors[0]))
            stored = await self.chroma.create(collection, record)
            embedding.check(stored.metadata, self.embedder, collection)
        # Words first: a passage that only the word index knows is looked up in vain, one that only
        # Chroma knows would be taken for indexed by the next run.
        await self.lexical.add(stored.id, [(chunk.id, _words(chunk)) for chunk in chunks])
        await self.chroma.upsert(
            collection,
            ids=[chunk.id for chunk in chunks],
            vectors=vectors,
            documents=[chunk.text for chunk in chunks],
            metadatas=[chunk.metadata for chunk in chunks],
        )

    async def _summary(self, collection: Collection) -> dict[str, Any]:
        metadata = collection.metadata
        return {
            "name": collection.name,
            "id": collection.id,
            "chunks": await self.chroma.count(collection.name),
            "embedder": metadata.get("orbit_embedder"),
            "model": metadata.get("orbit_model"),
            "dimension": collection.dimension or metadata.get("orbit_dimension"),
            "space": collection.space,
        }
