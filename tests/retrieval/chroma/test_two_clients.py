"""Two processes on one Chroma server: what one remembers, the other may have deleted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.errors import CollectionNotFound
from orbit_server.retrieval.chroma.replies import failure
from orbit_server.retrieval.chroma.rest import ChromaServer
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.words.index import WordIndex

from ...support.chroma_run import RunningChroma
from ...support.words import local

pytestmark = pytest.mark.anyio
pytest_plugins = ["tests.support.chroma_fixtures"]

CHUNKS = [Chunk.of(f"what is {n}?", f"number {n}", {"source": "s"}) for n in range(20)]


@pytest.fixture
async def stores(server: RunningChroma, tmp_path: Path) -> AsyncIterator[list[CollectionStore]]:
    """The stores of two workers, each with its own connection and its own memory."""
    embedder = LexicalEmbedder()
    async with (
        ChromaServer(server.host, server.port) as one,
        ChromaServer(server.host, server.port) as other,
        WordIndex(tmp_path) as words,
    ):
        yield [
            CollectionStore(
                chroma=chroma,
                lexical=words,
                embedder=embedder,
                retrieval=Retrieval(chroma=chroma, lexical=words, embedder=embedder),
            )
            for chroma in (one, other)
        ]


async def test_a_put_after_a_drop_elsewhere(stores: list[CollectionStore]) -> None:
    """A remembered id is not taken for an existing collection: it is created again."""
    one, other = stores
    name = f"docs-{uuid4().hex}"
    for again in range(3):
        await one.put(name, CHUNKS, [])
        await other.put(name, CHUNKS[:2], [])
        await one.drop(name)
        await other.put(name, CHUNKS[:3], [])
        assert (await other.show(name))["chunks"] == 3, again
        assert local(other.lexical).count((await other.chroma.collection(name)).id) == 3


async def test_questions_while_it_is_dropped_elsewhere(stores: list[CollectionStore]) -> None:
    """From one moment to the next the collection does not exist, and nothing else is said."""
    one, other = stores
    name = f"docs-{uuid4().hex}"
    refused: list[Exception] = []

    async def ask() -> None:
        while not refused:
            try:
                await other.search(name, "what is 3?")
            except Exception as error:
                refused.append(error)

    for _ in range(5):
        refused.clear()
        await one.put(name, CHUNKS, [])
        asking = [asyncio.create_task(ask()) for _ in range(4)]
        await asyncio.sleep(0.05)
        await one.drop(name)
        await asyncio.gather(*asking)
        assert {type(error) for error in refused} == {CollectionNotFound}


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "Missing field: [Missing metadata segment]", "CollectionNotFound"),
        (
            500,
            "Error getting collection: Missing field: [Missing vector segment]",
            "CollectionNotFound",
        ),
        (404, "Collection [a] does not exist.", "CollectionNotFound"),
        (500, "Failed to apply logs to the hnsw segment writer", "DamagedCollection"),
        (500, "Error executing plan: Internal error: Error finding id", "SearchError"),
    ],
)
def test_what_the_failures_mean(status: int, text: str, kind: str) -> None:
    """A collection that is being deleted is gone; one with a damaged index is damaged."""
    assert type(failure(status, text)).__name__ == kind
