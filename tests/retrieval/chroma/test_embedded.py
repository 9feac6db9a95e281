"""Chroma in this process: many collections, few open files, and nothing left of what is deleted."""

import asyncio
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbit_server.errors import SearchError
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def fill(chroma: ChromaEmbedded, name: str, records: int = 3, text: str = "text") -> None:
    draw = random.Random(name)
    await chroma.create(name, {"orbit_model": "m"})
    await chroma.upsert(
        name,
        ids=[f"{name}-{number}" for number in range(records)],
        vectors=[[1.0, 0.0], *([draw.random(), draw.random()] for _ in range(records - 1))],
        documents=[f"{text} {number}" for number in range(records)],
        metadatas=[{"source": "a"}] * records,
    )


@pytest.fixture
def few_files() -> Iterator[int]:
    """As many open files as a process may have where nobody has allowed it more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    yield 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def entries(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def open_files() -> int:
    return len(entries(Path("/proc/self/fd")))


@pytest.mark.slow
async def test_many_collections_with_few_open_files(tmp_path: Path, few_files: int) -> None:
    """Every one of 300 collections answers, twice in a row, and half of the files stay free."""
    names = [f"docs-{number:04}" for number in range(300)]
    async with ChromaEmbedded(tmp_path) as chroma:
        for name in names:
            await fill(chroma, name)
        for name in names + names:
            [found] = await chroma.query(name, [1, 0], n=1)
            assert found.id == f"{name}-0"
        assert open_files() < few_files / 2 + 100


async def test_more_collections_than_are_loaded(tmp_path: Path) -> None:
    """What dropped out of memory is complete when it is used again, its last records too."""
    async with ChromaEmbedded(tmp_path, most_loaded=2) as chroma:
        for name in ("first", "second", "third"):
            await fill(chroma, name, 1100)  # a thousand on disk, a hundred in Chroma's log
        for name in ("first", "second", "third", "first"):
            ids = [f"{name}-{number}" for number in range(1100)]
            assert len(await chroma.query(name, [1, 0], n=1100, ids=ids, bare=True)) == 1100
            assert await chroma.count(name) == 1100


async def test_calls_while_chroma_is_reopened(tmp_path: Path) -> None:
    """Calls at once, on more collections than fit, all get their own answers."""
    names = [f"docs-{number}" for number in range(6)]
    async with ChromaEmbedded(tmp_path, most_loaded=2) as chroma:
        for name in names:
            await fill(chroma, name)

        async def ask(name: str) -> str:
            [found] = await chroma.query(name, [1, 0], n=1)
            return found.id

        found = await asyncio.gather(*map(ask, names * 10))
        assert found == [f"{name}-0" for name in names * 10]


async def test_a_cancelled_call_does_not_stop_the_reopening(tmp_path: Path) -> None:
    """Who made Chroma reopen may leave; the next call finds it open."""
    async with ChromaEmbedded(tmp_path, most_loaded=1) as chroma:
        await fill(chroma, "first")
        await fill(chroma, "second")
        call = asyncio.create_task(chroma.count("first"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        assert await chroma.count("second") == 3
        assert await chroma.count("first") == 3


class Unlucky(ChromaEmbedded):
    """A Chroma that finds no open file left when it is opened for the second time."""

    opened = 0

    def _open(self) -> None:
        self.opened += 1
        if self.opened == 2:
            raise SearchError("no file left")
        super()._open()


async def test_reopening_that_fails_is_tried_again(tmp_path: Path) -> None:
    """The call that needed it fails, and the next one opens Chroma."""
    async with Unlucky(tmp_path, most_loaded=1) as chroma:
        await fill(chroma, "first")
        with pytest.raises(SearchError, match="no file left"):
            await fill(chroma, "second")
        assert await chroma.count("first") == 3
        await fill(chroma, "second")
        assert await chroma.count("second") == 3


async def test_closing_while_it_is_reopened(tmp_path: Path) -> None:
    """The folder is free afterwards, and nothing of Chroma is left open."""
    async with ChromaEmbedded(tmp_path, most_loaded=1) as chroma:
        await fill(chroma, "first")
        await fill(chroma, "second")
        call = asyncio.create_task(chroma.count("first"))
        await asyncio.sleep(0)
    await asyncio.gather(call, return_exceptions=True)
    async with ChromaEmbedded(tmp_path) as chroma:
        assert await chroma.count("first") == 3


async def test_what_is_dropped_is_gone(tmp_path: Path) -> None:
    """Vectors go from disk with the collection; its open files go with the next reopening."""
    async with ChromaEmbedded(tmp_path, most_loaded=8) as chroma:
        await fill(chroma, "kept", 1100)
        before = entries(tmp_path)
        files = open_files()
        for number in range(12):
            await fill(chroma, f"dropped-{number}")
            await chroma.drop(f"dropped-{number}")
        assert entries(tmp_path) == before
        assert open_files() <= files + 4 * 8
        assert await chroma.count("kept") == 1100


async def test_folders_left_by_another_program_go_when_opening(tmp_path: Path) -> None:
    """What a Chroma without this care has left behind is removed; other folders are not."""
    async with ChromaEmbedded(tmp_path) as chroma:
        await fill(chroma, "kept")
    orphan = tmp_path / "00000000-0000-4000-8000-000000000000"
    for folder in (orphan, tmp_path / "notes"):
        folder.mkdir()
        (folder / "data_level0.bin").write_bytes(b"vectors")
    async with ChromaEmbedded(tmp_path) as chroma:
        assert not orphan.exists()
        assert (tmp_path / "notes" / "data_level0.bin").read_bytes() == b"vectors"
        assert await chroma.count("kept") == 3


async def test_a_lost_database_loses_no_vectors(tmp_path: Path) -> None:
    """Where there is no collection at all, what lies there may belong to a backup."""
    async with ChromaEmbedded(tmp_path) as chroma:
        await fill(chroma, "docs")
    before = entries(tmp_path)
    database = tmp_path / "chroma.sqlite3"
    database.rename(tmp_path / "backup")
    for _ in range(2):
        async with ChromaEmbedded(tmp_path) as chroma:
            assert await chroma.collections() == []
    assert before <= entries(tmp_path)


async def test_clean_leaves_no_copy_of_a_deleted_text(tmp_path: Path) -> None:
    """After ``clean`` no file holds a text that was dropped or deleted; the rest answers."""
    async with ChromaEmbedded(tmp_path) as chroma:
        await fill(chroma, "kept", 200, "permanent")
        await fill(chroma, "dropped", 300, "confidential")
        await chroma.upsert(
            "kept", ids=["x"], vectors=[[0, 1]], documents=["secretive"], metadatas=[None]
        )
        await chroma.drop("dropped")
        await chroma.delete("kept", ids=["x"])
        assert copies(tmp_path, b"confidential") > 0
        assert copies(tmp_path, b"secretive") > 0
        assert await chroma.clean() > 0
        assert (copies(tmp_path, b"confidential"), copies(tmp_path, b"secretive")) == (0, 0)
        assert await chroma.count("kept") == 200
        [found] = await chroma.query("kept", [1, 0], n=1)
        assert found.document == "permanent 0"


def copies(folder: Path, text: bytes) -> int:
    files = (each for each in folder.rglob("*") if each.is_file())
    return sum(file.read_bytes().count(text) for file in files)
