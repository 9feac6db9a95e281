"""A damaged collection comes back from its texts, with the vectors that it had."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.documents.repair import chunk_of, damage
from orbit_server.errors import EmbedderMismatch, SearchError, SearchUnavailable
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.chroma.protocol import Chroma, Record
from orbit_server.retrieval.chroma.replies import DamagedCollection
from orbit_server.retrieval.chroma.rest import ChromaServer
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.words.index import WordIndex

from ..support.chroma_run import RunningChroma
from ..support.program import command, configure
from ..support.words import local

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


pytest_plugins = ["tests.support.chroma_fixtures"]

PAIRS = [
    Chunk.of(
        f"What is number{n}?",
        f"It is the answer{n}.",
        {
            "source": "qa.json",
            "position": n,
            "question": f"What is number{n}?",
            "answer": f"It is the answer{n}.",
        },
    )
    for n in range(1030)
]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[CollectionStore]:
    async with (
        ChromaEmbedded(folder / "chroma") as chroma,
        WordIndex(folder / "lexical") as words,
    ):
        yield store_of(chroma, words)


def store_of(chroma: Chroma, words: WordIndex) -> CollectionStore:
    embedder = LexicalEmbedder()
    retrieval = Retrieval(chroma=chroma, lexical=words, embedder=embedder)
    return CollectionStore(chroma=chroma, lexical=words, embedder=embedder, retrieval=retrieval)


def saved(folder: Path) -> list[Path]:
    """What Chroma has written of its indexes of vectors."""
    return sorted((folder / "chroma").glob("*/index_metadata.pickle"))


@pytest.fixture
async def damaged(tmp_path: Path) -> Path:
    """A folder with a collection whose saving was cut off, and one that is well."""
    async with opened(tmp_path) as store:
        await store.put("docs", PAIRS, [])
    [file] = saved(tmp_path)
    async with opened(tmp_path) as store:
        await store.put("well", PAIRS[:3], [])
    file.write_bytes(file.read_bytes()[:1000])
    return tmp_path


async def repaired(store: CollectionStore, name: str) -> int:
    result = await store.repair(name)
    while result.next is not None:
        result = await store.repair(name, result.next)
    return result.total


async def test_a_damaged_collection_breaks_no_other(damaged: Path) -> None:
    """It alone is refused, and it is named; lists and other collections do not suffer."""
    async with opened(damaged) as store:
        with pytest.raises(DamagedCollection, match="orbit collections repair"):
            await store.search("docs", "What is number7?")
        [docs, well] = await store.collections()
        assert (docs["name"], docs["chunks"]) == ("docs", None)
        assert "hnsw" in docs["error"]
        assert (well["name"], well["chunks"]) == ("well", 3)
        assert await store.search("well", "What is number2?")


async def test_repair_brings_everything_back(damaged: Path) -> None:
    """All passages are found again, by meaning and by words, and the next load adds nothing."""
    async with opened(damaged) as store:
        assert await repaired(store, "docs") == 1030
        assert await damage(store.chroma, "docs") is None
        assert await store.ids("docs", "qa.json") == {chunk.id for chunk in PAIRS}
        for n in (0, 999, 1029):
            [best, *_] = await store.search("docs", f"What is number{n}?")
            assert best.answer == f"It is the answer{n}."
            assert best.score == pytest.approx(2, abs=0.01)
        assert [each["name"] for each in await store.collections()] == ["docs", "well"]
        id = (await store.chroma.collection("docs")).id
        assert local(store.lexical).count(id) == 1030
        assert {path.stem for path in local(store.lexical).directory.glob("*.words")} >= {id}


async def test_an_interrupted_repair_goes_on(damaged: Path) -> None:
    """What was embedded before is not embedded again, and nothing is lost until all is there."""
    async with opened(damaged) as store:
        first = await store.repair("docs")
        assert (first.done, first.total) == (256, 1030)
        assert (await store.collections())[0]["chunks"] is None
    async with opened(damaged) as store:
        again = await store.repair("docs")
        assert again.done == 256
        assert await repaired(store, "docs") == 1030
        assert await damage(store.chroma, "docs") is None


async def test_interrupted_at_the_very_end(damaged: Path) -> None:
    """When only the new name was missing, it is given now."""
    async with opened(damaged) as store:
        await repaired(store, "docs")
        await store.chroma.rename(await store.chroma.collection("docs"), "docs.repair")
    async with opened(damaged) as store:
        assert await repaired(store, "docs") == 1030
        assert (await store.collections())[0]["name"] == "docs"


async def test_nothing_to_repair(damaged: Path) -> None:
    """A collection that is well is left as it is."""
    async with opened(damaged) as store:
        before = await store.collections()
        assert await store.repair("well") == (0, 0, None)
        assert await store.collections() == before


async def test_another_embedder_does_not_repair(damaged: Path) -> None:
    """Vectors of two models in one collection would be worse than none."""
    async with opened(damaged) as store:

        class Other(LexicalEmbedder):
            model = "another"

        store.embedder = Other()
        with pytest.raises(EmbedderMismatch):
            await store.repair("docs")


async def test_a_chroma_server_of_others(server: RunningChroma, tmp_path: Path) -> None:
    """Its folder is not ours to read: the error says what to do on its machine."""
    async with (
        ChromaServer(server.host, server.port) as chroma,
        WordIndex(tmp_path) as words,
    ):
        store = store_of(chroma, words)
        with pytest.raises(SearchUnavailable, match="Stop it, and run `orbit collections repair"):
            await store.chroma.stored_count("id")
        with pytest.raises(SearchUnavailable, match="chroma vacuum"):
            await store.clean()


async def test_chroma_that_is_away_is_no_damage(free_tcp_port: int, tmp_path: Path) -> None:
    """Nothing is concluded from a server that does not answer."""
    async with ChromaServer("127.0.0.1", free_tcp_port) as chroma:
        with pytest.raises(SearchError):
            await damage(chroma, "docs")


@pytest.mark.parametrize(
    ("embed", "text", "metadata"),
    [
        ("When?", "Now.", {"question": "When?", "answer": "Now."}),
        ("Town > Pool\ndeep", "deep", {"title": "Town", "heading": "Town > Pool"}),
        ("Town > Pool\ndeep", "deep", {"title": "Town", "heading": "Pool"}),
        ("Town\ndeep", "deep", {"title": "Town", "position": 3}),
        ("deep", "deep", {}),
    ],
)
def test_what_was_embedded_follows_from_what_is_stored(
    embed: str, text: str, metadata: dict[str, str | int | float | bool]
) -> None:
    """The id proves it."""
    chunk = Chunk.of(embed, text, metadata)
    assert chunk_of(Record(chunk.id, text, dict(metadata))) == chunk
    theirs = chunk_of(Record("their own id", text, dict(metadata)))
    assert (theirs.id, theirs.text) == ("their own id", text)


async def test_the_commands(damaged: Path) -> None:
    """``doctor`` and ``list`` name the damaged one; ``repair`` and ``clean`` do their work."""
    paths = {"chroma": {"path": "chroma"}, "retrieval": {"path": "lexical"}}
    configure(damaged, **paths)
    checked = await command(damaged, "doctor")
    assert "docs is damaged and cannot be searched" in checked.out + checked.err
    listed = await command(damaged, "collections", "list")
    assert listed.code == 0
    assert "well" in listed.out
    assert "orbit collections repair docs" in listed.err
    mended = await command(damaged, "collections", "repair", "docs")
    assert mended.code == 0, mended.err
    assert "'docs' is repaired, 1030 passages" in mended.err
    again = await command(damaged, "collections", "repair", "docs")
    assert "is not damaged" in again.err
    (damaged / "lexical" / "00000000-0000-4000-8000-000000000000.sqlite3").write_bytes(b"left")
    cleaned = await command(damaged, "collections", "clean")
    assert "MB freed" in cleaned.err
    assert list((damaged / "lexical").glob("*.sqlite3")) == []
    assert len(list((damaged / "lexical").glob("*.words"))) == 2
    asked = await command(damaged, "collections", "list")
    assert "1030" in asked.out
