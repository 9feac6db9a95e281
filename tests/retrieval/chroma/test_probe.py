"""A collection is tested by searching it, without a question and without an embedder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orbit_server.errors import SearchError
from orbit_server.retrieval import probe
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded

pytestmark = pytest.mark.anyio


async def test_a_collection_that_can_be_searched(tmp_path: Path) -> None:
    """With records, without any, of another embedder: all pass."""
    async with ChromaEmbedded(tmp_path / "chroma") as chroma:
        await chroma.create("town", {"orbit_embedder": "another"})
        await probe("town", chroma=chroma)
        await chroma.upsert(
            "town", ids=["1"], vectors=[[0.6, 0.8]], documents=["At nine."], metadatas=[None]
        )
        await probe("town", chroma=chroma)


async def test_a_collection_that_cannot(tmp_path: Path) -> None:
    """What Chroma has lost is an error, though the collection is listed."""
    async with ChromaEmbedded(tmp_path / "chroma") as chroma:
        await chroma.create("town", {"a": 1})
        await chroma.upsert(
            "town", ids=["1"], vectors=[[0.6, 0.8]], documents=["At nine."], metadatas=[None]
        )
        with closing(sqlite3.connect(tmp_path / "chroma" / "chroma.sqlite3")) as database, database:
            database.execute("DELETE FROM segments")
        with pytest.raises(SearchError):
            await probe("town", chroma=chroma)
        assert [collection.name for collection in await chroma.collections()] == ["town"]
