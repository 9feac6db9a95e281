"""Chroma's private tables: where they are, and what is read from them beside Chroma."""

from pathlib import Path

import pytest

from orbit_server.errors import SearchError
from orbit_server.retrieval.chroma import tables
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.chroma.protocol import Record

pytestmark = pytest.mark.anyio


async def test_records_are_read_beside_chroma(tmp_path: Path) -> None:
    """All records of one collection come page by page, as they were stored."""
    metadata = {"source": "a.md", "position": 3, "weight": 1.5, "draft": True}
    async with ChromaEmbedded(tmp_path) as chroma:
        for name in ("docs", "others"):
            await chroma.create(name, {"orbit_model": "m"})
            await chroma.upsert(
                name,
                ids=["one", "two", "three"],
                vectors=[[1, 0], [0, 1], [1, 1]],
                documents=["first", None, "third"],
                metadatas=[metadata, {"source": "b"}, None],
            )
        id = (await chroma.collection("docs")).id
        assert await chroma.stored_count(id) == 3
        page = await chroma.stored_records(id, after=0, limit=2)
        rest = await chroma.stored_records(id, after=page[-1][0], limit=2)
        assert await chroma.stored_records(id, after=rest[-1][0], limit=2) == []
    assert [record for _, record in page + rest] == [
        Record("one", "first", metadata),
        Record("two", None, {"source": "b"}),
        Record("three", "third", {}),
    ]


async def test_free_bytes_are_what_was_deleted(tmp_path: Path) -> None:
    """Dropping a collection frees pages; compacting gives them back."""
    async with ChromaEmbedded(tmp_path) as chroma:
        await chroma.create("docs", {"orbit_model": "m"})
        await chroma.upsert(
            "docs",
            ids=[str(number) for number in range(200)],
            vectors=[[1, number] for number in range(200)],
            documents=["words " * 100] * 200,
            metadatas=[None] * 200,
        )
        await chroma.drop("docs")
        assert tables.free_bytes(tmp_path) > 100_000
        assert await chroma.clean() > 100_000
        assert tables.free_bytes(tmp_path) == 0


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    """Without Chroma's database there are no orphans, and reading from it is a SearchError."""
    assert tables.orphans(tmp_path) == []
    with pytest.raises(SearchError, match="tables"):
        tables.free_bytes(tmp_path)
