"""The word index mends itself from Chroma, and is not used until it is complete."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.bm25 import Bm25Index
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.retriever import Retrieval

pytestmark = pytest.mark.anyio

CHUNKS = [
    Chunk.of(f"where is room{n}?", f"in house{n}", {"question": f"where is room{n}?"})
    for n in range(60)
]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CollectionStore]:
    """A store whose mender is not entered: it tells, and does nothing."""
    embedder = LexicalEmbedder()
    async with (
        ChromaEmbedded(tmp_path / "chroma") as chroma,
        Bm25Index(tmp_path / "lexical") as words,
    ):
        retrieval = Retrieval(chroma=chroma, lexical=words, embedder=embedder)
        retrieval.mender.page = 25
        yield CollectionStore(chroma=chroma, lexical=words, embedder=embedder, retrieval=retrieval)


async def forget(store: CollectionStore, keep: int) -> str:
    """Fill ``docs`` and take all but ``keep`` passages out of its word index."""
    await store.put("docs", CHUNKS, [])
    id = (await store.chroma.collection("docs")).id
    await store.lexical.remove(id, [chunk.id for chunk in CHUNKS[keep:]])
    return id


async def found(store: CollectionStore, question: str) -> list[tuple[str, bool]]:
    """What was found, best first, and whether words had a part in it."""
    candidates, _ = await store.retrieval.find(question, "docs")
    return [(each.passage.text, each.bm25 is not None) for each in candidates]


@pytest.mark.parametrize("keep", [0, 1, 59])
async def test_a_part_of_an_index_is_not_used(
    store: CollectionStore, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Meaning alone searches until the index is complete; the log says so once."""
    await forget(store, keep)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not any(by_words for _, by_words in await found(store, "where is room0?"))
    [record] = [each for each in caplog.records if "meaning alone" in each.message]
    assert f"{keep} of 60 passages" in record.message
    assert list(store.retrieval.mender.incomplete) == ["docs"]


async def mended(store: CollectionStore) -> None:
    async with asyncio.timeout(30):
        while store.retrieval.mender.incomplete:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_it_mends_in_the_background(store: CollectionStore) -> None:
    """A question begins it; afterwards words find again, also of what others have loaded."""
    id = await forget(store, 3)
    async with store.retrieval.mender:
        assert (await found(store, "where is room7?"))[0] == ("in house7", False)
        await mended(store)
        assert await store.lexical.count(id) == 60
        assert (await found(store, "where is room7?"))[0] == ("in house7", True)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
async def test_a_damaged_index_is_replaced(store: CollectionStore, content: bytes) -> None:
    """A file that cannot be read costs a worse order for a while, and no question its answer."""
    id = await forget(store, 60)
    path = store.lexical.directory / f"{id}.sqlite3"
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.unlink()
    path.write_bytes(content)
    async with store.retrieval.mender:
        assert (await found(store, "where is room7?"))[0][0] == "in house7"
        await mended(store)
        assert (await found(store, "where is room7?"))[0] == ("in house7", True)


async def test_it_breaks_while_it_is_trusted(store: CollectionStore) -> None:
    """An index that was complete a moment ago may be gone now; the answer comes all the same."""
    id = await forget(store, 60)
    assert (await found(store, "where is room7?"))[0] == ("in house7", True)
    await store.lexical.drop(id)
    (store.lexical.directory / f"{id}.sqlite3").write_bytes(b"no database at all" * 500)
    async with store.retrieval.mender:
        assert (await found(store, "where is room7?"))[0] == ("in house7", False)
        await mended(store)
        assert (await found(store, "where is room7?"))[0] == ("in house7", True)


async def test_closing_ends_what_is_under_way(store: CollectionStore) -> None:
    """Nothing writes into an index behind a server that stops."""
    id = await forget(store, 0)
    async with store.retrieval.mender:
        await found(store, "where is room7?")
    assert not any(task.get_name() == id for task in asyncio.all_tasks())
    assert await store.lexical.count(id) < 60


async def test_more_words_than_vectors_are_no_loss(store: CollectionStore) -> None:
    """While documents are loaded the words come first: the index is used."""
    id = await forget(store, 60)
    await store.lexical.add(id, [("soon", "a passage whose vector comes in a moment")])
    assert await store.retrieval.mender.is_complete(await store.chroma.collection("docs"))
