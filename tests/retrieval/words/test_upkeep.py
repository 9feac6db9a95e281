"""The word indexes of a host are looked after, whether anybody asks their collections or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.errors import SearchError
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.retrieval.words.upkeep import IndexUpkeep

from ...support.words import hits

pytestmark = pytest.mark.anyio

CHUNKS = [Chunk.of(f"where is room{n}?", f"in house{n}", {"position": n}) for n in range(60)]
MORE = [Chunk.of(f"where is hall{n}?", f"near room{n}", {"position": n}) for n in range(5)]


class Host:
    """A host: its store, and what looks after its indexes, by a clock of its own."""

    def __init__(self, chroma: ChromaEmbedded, lexical: WordIndex) -> None:
        self.now = 0.0
        embedder = LexicalEmbedder()
        retrieval = Retrieval(chroma=chroma, lexical=lexical, embedder=embedder)
        self.mender = retrieval.mender = type(retrieval.mender)(
            chroma, lexical, remember_seconds=0, clock=lambda: self.now
        )
        self.store = CollectionStore(
            chroma=chroma, lexical=lexical, embedder=embedder, retrieval=retrieval
        )
        self.lexical = lexical
        self.upkeep = IndexUpkeep(
            chroma,
            lexical,
            self.mender,
            others=True,
            every=0.01,
            quiet_seconds=0,
            clock=lambda: self.now,
        )

    async def id(self, name: str = "docs") -> str:
        return (await self.store.chroma.collection(name)).id

    async def scores(self, *words: str) -> list[tuple[str, float]]:
        """Return the passages that have the words, best first, and their BM25."""
        found = hits(self.lexical, await self.id(), dict.fromkeys(words, 1.0), n=10)
        return [(hit.id, hit.score) for hit in found]


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[Host]]:
    """Two hosts that share one Chroma, each with word indexes of its own."""
    async with AsyncExitStack() as stack:
        chroma = await stack.enter_async_context(ChromaEmbedded(tmp_path / "chroma"))
        made = []
        for number in range(2):
            index = WordIndex(tmp_path / f"host{number}")
            made.append(Host(chroma, await stack.enter_async_context(index)))
        yield made


async def test_it_catches_up_without_being_asked(hosts: list[Host]) -> None:
    """What another host loads is indexed here before the first question, and so is every change."""
    one, other = hosts
    await one.store.put("docs", CHUNKS, [])
    async with other.mender, other.upkeep:
        for count in (60, 62, 65):
            async with asyncio.timeout(30):
                while other.lexical.count(await other.id()) != count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            if count < 65:
                await one.store.put("docs", MORE[: 2 if count == 60 else 5], [])
        await other.mender.mended(await other.id())
    assert other.mender.incomplete == {}


async def test_scores_are_the_same_on_every_host(hosts: list[Host]) -> None:
    """Also where passages were deleted, which count until their files are written anew."""
    one, other = hosts
    await one.store.put("docs", CHUNKS, [])
    await one.store.put("docs", MORE, [chunk.id for chunk in CHUNKS[1:6]])
    async with other.mender:
        await other.upkeep.look()
    words = ("room0", "hous0", "room2", "hall2", "near")
    assert await one.scores(*words) != await other.scores(*words), "else this test shows nothing"
    await one.upkeep.look()
    assert len(await one.scores(*words)) > 3
    assert await one.scores(*words) == await other.scores(*words)


async def test_it_rests_after_it_has_written_an_index_anew(hosts: list[Host]) -> None:
    """Where documents change all the time, files are not written anew all the time."""
    one, _ = hosts
    await one.store.put("docs", CHUNKS, [])
    written = []
    compact = one.lexical.compact

    async def slow(collection_id: str, *, quiet_seconds: float) -> None:
        written.append(one.now)
        await compact(collection_id, quiet_seconds=quiet_seconds)
        one.now += 10

    one.lexical.compact = slow  # type: ignore[method-assign]
    for _ in range(12):
        await one.upkeep.look()
        one.now += 10
    assert written == [0.0, 60.0, 120.0]


async def test_indexes_of_collections_that_are_gone(hosts: list[Host]) -> None:
    """They are deleted on every host; not at once, since it may be the wrong Chroma for a while."""
    one, other = hosts
    await one.store.put("docs", CHUNKS, [])
    await one.store.put("gone", CHUNKS, [])
    async with other.mender:
        await other.upkeep.look()
        id = await one.id("gone")
        assert other.lexical.count(id) == 60
        await one.store.drop("gone")
        for _ in range(3):
            await other.upkeep.look()
            other.now += 299
        assert other.lexical.count(id) == 60
        other.now += 5
        await other.upkeep.look()
    assert other.lexical.count(id) == 0
    assert not [path for path in other.lexical.directory.iterdir() if id in path.name]
    assert other.lexical.count(await other.id()) == 60


async def test_an_index_that_was_missed_and_is_back(hosts: list[Host]) -> None:
    """Only what is missing all the time is gone."""
    one, _ = hosts
    await one.store.put("docs", CHUNKS, [])
    id, collections = await one.id(), one.store.chroma.collections

    async def nothing() -> list[object]:
        return []

    for _ in range(3):
        one.store.chroma.collections = nothing  # type: ignore[method-assign,assignment]
        await one.upkeep.look()
        one.now += 590
        await one.upkeep.look()
        one.store.chroma.collections = collections  # type: ignore[method-assign]
        await one.upkeep.look()
        one.now += 590
    assert one.lexical.count(id) == 60


async def test_chroma_is_away(hosts: list[Host]) -> None:
    """Nothing is deleted, and looking goes on when it is back."""
    one, other = hosts
    await one.store.put("docs", CHUNKS, [])
    collections, asked = other.store.chroma.collections, 0

    async def away() -> list[object]:
        nonlocal asked
        asked += 1
        raise SearchError("it is away")

    other.store.chroma.collections = away  # type: ignore[method-assign,assignment]
    async with other.mender, other.upkeep, asyncio.timeout(30):
        while asked < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        other.store.chroma.collections = collections  # type: ignore[method-assign]
        while other.lexical.count(await other.id()) != 60:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_index_of_the_kind_before_is_replaced(hosts: list[Host]) -> None:
    """Without being asked, and its file goes when the new one is whole."""
    one, _ = hosts
    await one.store.put("docs", CHUNKS, [])
    id = await one.id()
    await one.lexical.drop(id)
    old = [one.lexical.directory / f"{id}.sqlite3{suffix}" for suffix in ("", "-wal", "-shm")]
    for path in old:
        path.write_bytes(b"SQLite format 3\0")
    async with one.mender:
        await one.upkeep.look()
    assert one.lexical.count(id) == 60
    assert not any(path.exists() for path in old)


async def test_one_that_cannot_be_mended_holds_up_no_other(hosts: list[Host]) -> None:
    """Of several collections each is looked after, whatever is wrong with another."""
    one, other = hosts
    for name in ("broken", "docs", "empty"):
        await one.store.put(name, CHUNKS[:1], [])
    count = other.store.chroma.count

    async def failing(name: str) -> int:
        if name == "broken":
            raise SearchError("it is damaged")
        return await count(name)

    other.store.chroma.count = failing  # type: ignore[method-assign]
    async with other.mender:
        await other.upkeep.look()
    found = [other.lexical.count(await other.id(name)) for name in ("broken", "docs", "empty")]
    assert found == [0, 1, 1]
