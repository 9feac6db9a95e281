"""Collections as the command line and the admin routes see them: what is in, put in, taken out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import CollectionNotFound, NotFound
from ..retrieval.chroma.protocol import Chroma, Collection, Record
from ..retrieval.chroma.replies import DamagedCollection
from ..retrieval.embedders import (
    Embedder,
    check_embedder,
    digest_of,
    embedder_metadata,
    embedder_of,
)
from ..retrieval.ranking import Candidate
from ..retrieval.refused_texts import embedded
from ..retrieval.retriever import Retrieval, passage
from ..retrieval.thresholds import CALIBRATED
from ..retrieval.words.collection_language import (
    language_metadata,
    languages_of,
    update_language,
)
from ..retrieval.words.mending import Reindexed, analyzer_of, words_of
from ..retrieval.words.protocol import Words
from ..types import Passage, Question
from .finishing import finished
from .model import Chunk
from .repair import Repaired, repair
from .source_list import First, SourcePage, count_sources, first_passages, list_sources
from .turns import Turns, locked_collection


class Stored(NamedTuple):
    """What the embedding model would not take as it was, by the ids of the chunks.

    ``shortened``: how many characters of ``embed`` the vector stands for; ``left_out``: why.
    """

    shortened: dict[str, int] = {}  # noqa: RUF012 - never changed
    left_out: dict[str, str] = {}  # noqa: RUF012


class Store(Protocol):
    """Where documents go: this process's own Chroma, or a server that holds it."""

    async def collections(self) -> list[dict[str, Any]]:
        """Return one summary a collection, by name; ``error`` is in that of a damaged one."""

    async def show(self, collection: str) -> dict[str, Any]:
        """Return a collection's summary, ``sources`` (chunks by source) and ``SearchSettings``."""

    async def drop(self, collection: str) -> None:
        """Delete a collection and all that is in it."""

    async def sources(self, collection: str) -> dict[str, int]:
        """Return the number of chunks of every source; empty when there is no such collection."""

    async def ids(self, collection: str, source: str) -> set[str]:
        """Return the ids of the chunks of one source."""

    async def files(self, collection: str, *, after: str = "", limit: int = 1000) -> SourcePage:
        """Return the first ``limit`` sources behind ``after``, by name, with what is known of each.

        Raises ``CollectionNotFound``.
        """

    async def remove(self, collection: str, source: str) -> int:
        """Remove the chunks of ``source``, and return how many; ``NotFound`` if there are none."""

    def loading(self, collection: str) -> Callable[[], AbstractAsyncContextManager[None]]:
        """Return what makes the turns of one load, in which nobody else replaces anything."""

    async def first(self, collection: str) -> dict[str, First]:
        """Return the first passage of every source; empty when there is no such collection."""

    async def put(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        remove: Sequence[str],
        *,
        languages: Sequence[str] = (),
    ) -> Stored:
        """Embed and store ``chunks``, making the collection if need be; then delete ``remove``.

        The collection is in ``languages`` from then on, else in what it was or what is detected.
        With nothing to do it still refuses a collection that another embedder made, detects the
        languages again, and writes the words of what the word index lacks.
        """

    async def search(self, collection: str, question: str) -> list[Passage]:
        """Return the passages that the chat would answer ``question`` from."""

    async def candidates(self, collection: str, question: str) -> list[Candidate]:
        """Return what was found for ``question``, with all scores, relevant or not."""

    async def sample(self, collection: str, n: int) -> list[Passage]:
        """Return at most ``n`` passages, spread evenly over the collection."""

    async def calibrate(self, collection: str, threshold: float) -> None:
        """Write ``threshold`` into the collection's metadata, beside what is there."""

    async def reindex(self, collection: str, start: int = 0) -> Reindexed:
        """Write part of the word index anew from Chroma: the chunks from ``start`` on.

        Call it again with ``start=done`` until all is done. Searches go on meanwhile.
        """

    async def repair(self, collection: str, after: int = 0) -> Repaired:
        """Embed part of a damaged collection again from its texts, those after ``after``.

        Call it again with ``after=next`` until ``next`` is ``None``; only then anything changes.
        """

    async def clean(self) -> int:
        """Remove from disk what has been deleted; the number of bytes freed.

        Questions wait meanwhile, about a second for each 100 MB of Chroma's database.
        """


class CollectionStore:
    """A ``Store`` over this process's connection to Chroma.

    Every method raises the ``SearchError`` family, ``EmbedderMismatch`` where the collection was
    made with another embedder than ``embedder``, and ``put`` the ``ModelError`` family too.
    ``locks`` is the folder in which those who load the same collection wait for each other; without
    one nobody else does.
    """

    def __init__(
        self,
        *,
        chroma: Chroma,
        lexical: Words,
        embedder: Embedder,
        retrieval: Retrieval,
        page: int = 2000,
        locks: Path | None = None,
        patience: float = 30.0,
    ) -> None:
        self.page = page
        self._locks = locks
        self._patience = patience
        self.chroma = chroma
        self.lexical = lexical
        self.embedder = embedder
        self.retrieval = retrieval

    async def collections(self) -> list[dict[str, Any]]:
        listed = sorted(await self.chroma.collections(), key=lambda collection: collection.name)
        return [await self._summary(collection) for collection in listed]

    async def show(self, collection: str) -> dict[str, Any]:
        stored = await self.chroma.collection(collection)
        settings = self.retrieval.settings(stored.metadata)._asdict()
        sources = await self.sources(collection)
        return await self._summary(stored) | settings | {"sources": sources}

    async def drop(self, collection: str) -> None:
        stored = await self.chroma.collection(collection)
        async with self._alone(collection):
            await self.chroma.drop(collection)
            await self.lexical.drop(stored.id)

    async def sources(self, collection: str) -> dict[str, int]:
        return await count_sources(self.chroma, collection, page=self.page)

    async def ids(self, collection: str, source: str) -> set[str]:
        try:
            return await self.chroma.ids(collection, where={"source": source})
        except CollectionNotFound:
            return set()

    async def files(self, collection: str, *, after: str = "", limit: int = 1000) -> SourcePage:
        return await list_sources(self.chroma, collection, after=after, limit=limit, page=self.page)

    async def remove(self, collection: str, source: str) -> int:
        await self.chroma.collection(collection, fresh=True)
        async with self._alone(collection):
            ids = await self.ids(collection, source)
            if not ids:
                raise NotFound(f"Collection {collection!r} holds nothing of {source!r}.")
            await finished(self.put(collection, [], sorted(ids)))
        return len(ids)

    def loading(self, collection: str) -> Callable[[], AbstractAsyncContextManager[None]]:
        if self._locks is None:
            return nullcontext
        return Turns(self.chroma, collection, self._locks)

    async def first(self, collection: str) -> dict[str, First]:
        return await first_passages(self.chroma, collection, page=self.page)

    async def put(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        remove: Sequence[str],
        *,
        languages: Sequence[str] = (),
    ) -> Stored:
        result, stored = Stored(), None
        with suppress(CollectionNotFound):
            stored = await self.chroma.collection(collection, fresh=True)
            check_embedder(stored.metadata, self.embedder, collection)
            end = not chunks and not remove
            if languages or end:
                stored = await update_language(self.chroma, collection, languages, again=end)
        if chunks:
            embedder = embedder_of(stored.metadata if stored else None, self.embedder)
            result = await self._store(collection, chunks, languages, embedder)
        elif not remove and stored is not None:
            await self._complete_words(stored)
            await self.lexical.merge(stored.id)
            await self.retrieval.meter.measure(collection)
        if remove:
            stored = await self.chroma.collection(collection)
            async with self.lexical.writing(stored.id) as index:
                await self.chroma.delete(collection, ids=list(remove))
                await index.remove(remove)
                await self.retrieval.mender.announce(stored, index)
        return result

    async def search(self, collection: str, question: str) -> list[Passage]:
        found = await self.retrieval(Question(message=question), collection)
        return found.passages

    async def candidates(self, collection: str, question: str) -> list[Candidate]:
        found, _ = await self.retrieval.find(question, collection)
        return found

    async def sample(self, collection: str, n: int) -> list[Passage]:
        stored = await self.chroma.collection(collection)
        total = await self.chroma.count(collection)
        n = min(n, total)
        records: list[Record] = []
        for place in range(n):
            records += await self.chroma.get(collection, limit=1, offset=place * total // n)
        return [passage(record, stored) for record in records]

    async def calibrate(self, collection: str, threshold: float) -> None:
        stored = await self.chroma.collection(collection)
        await self.chroma.annotate(stored, {CALIBRATED: threshold})

    async def reindex(self, collection: str, start: int = 0) -> Reindexed:
        return await self.retrieval.mender.reindex(collection, start)

    async def repair(self, collection: str, after: int = 0) -> Repaired:
        return await repair(
            collection,
            chroma=self.chroma,
            lexical=self.lexical,
            embedder=self.embedder,
            after=after,
        )

    async def clean(self) -> int:
        freed = await self.chroma.clean()
        known = {collection.id for collection in await self.chroma.collections()}
        return freed + await self.lexical.drop_others(known)

    def _alone(self, collection: str) -> AbstractAsyncContextManager[None]:
        if self._locks is None:
            return nullcontext()
        return locked_collection(self._locks, collection, patience=self._patience)

    async def _complete_words(self, stored: Collection) -> None:
        if await self.retrieval.mender.shortfall(stored):
            indexed = await self.reindex(stored.name)
            while indexed.done < indexed.total:
                indexed = await self.reindex(stored.name, indexed.done)

    async def _store(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        languages: Sequence[str],
        embedder: Embedder,
    ) -> Stored:
        found = await embedded([chunk.embed for chunk in chunks], embedder.documents)
        each = list(zip(chunks, found, strict=True))
        result = Stored(
            {chunk.id: text.chars for chunk, text in each if 0 < text.chars < len(chunk.embed)},
            {chunk.id: text.reason for chunk, text in each if text.vector is None},
        )
        vectors = [text.vector for text in found if text.vector is not None]
        chunks = [chunk for chunk, text in each if text.vector is not None]
        if not chunks:
            return result
        # What is cancelled half way would leave words without vectors.
        try:
            await finished(self._write(collection, chunks, vectors, languages))
        except CollectionNotFound:  # deleted in this very moment, by another process perhaps
            await finished(self._write(collection, chunks, vectors, languages))
        return result

    async def _write(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        vectors: Sequence[list[float]],
        languages: Sequence[str],
    ) -> None:
        try:
            stored = await self.chroma.collection(collection)
        except CollectionNotFound:
            digest = await digest_of(self.embedder)
            record = embedder_metadata(self.embedder, len(vectors[0]), digest)
            record |= language_metadata(languages, (chunk.embed for chunk in chunks))
            stored = await self.chroma.create(collection, record)
        check_embedder(stored.metadata, self.embedder, collection)
        # Words first: a passage that only the word index knows is looked up in vain, one that only
        # Chroma knows would be taken for indexed by the next run.
        words = [(chunk.id, words_of(chunk.text, chunk.metadata)) for chunk in chunks]
        async with self.lexical.writing(stored.id) as index:
            await index.add(words, analyzer_of(stored))
            await self.chroma.upsert(
                collection,
                ids=[chunk.id for chunk in chunks],
                vectors=vectors,
                documents=[chunk.text for chunk in chunks],
                metadatas=[chunk.metadata for chunk in chunks],
            )
            reached = await self.chroma.collection(collection)
            if reached.id == stored.id:
                await self.retrieval.mender.announce(stored, index)
                return
        # Deleted and made anew meanwhile: the chunks went to the new one.
        check_embedder(reached.metadata, self.embedder, collection)
        async with self.lexical.writing(reached.id) as index:
            await index.add(words, analyzer_of(reached))
            await self.retrieval.mender.announce(reached, index)

    async def _summary(self, collection: Collection) -> dict[str, Any]:
        metadata = collection.metadata
        summary = {
            "name": collection.name,
            "id": collection.id,
            "chunks": None,
            "embedder": metadata.get("orbit_embedder"),
            "model": metadata.get("orbit_model"),
            "dimension": collection.dimension or metadata.get("orbit_dimension"),
            "space": collection.space,
            "languages": list(languages_of(metadata)),
        }
        try:
            return summary | {"chunks": await self.chroma.count(collection.name)}
        except DamagedCollection as error:  # its own trouble, not that of the others
            return summary | {"error": str(error)}
