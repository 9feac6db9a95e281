"""The languages of a collection stand in its metadata."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.words.collection_language import (
    language_metadata,
    languages_of,
    update_language,
)

pytestmark = pytest.mark.anyio

GERMAN = "Das Bad ist am Montag geschlossen, und die Bücherei ist offen."


@pytest.fixture
async def chroma(tmp_path: Path) -> AsyncIterator[ChromaEmbedded]:
    """A folder with one German collection that says nothing of it."""
    async with ChromaEmbedded(tmp_path) as chroma:
        await chroma.create("town", {"other": 1})
        for n in range(3):
            await chroma.upsert(
                "town", ids=[str(n)], vectors=[[1.0]], documents=[GERMAN], metadatas=[None]
            )
        yield chroma


def test_metadata_of_strangers() -> None:
    """It may come from anywhere: only known codes count."""
    assert languages_of({"orbit_language": "en,de"}) == ("de", "en")
    assert languages_of({"orbit_language": "tlh,../../etc"}) == ()
    assert languages_of({"orbit_language": 7}) == ()
    assert languages_of({}) == ()


def test_metadata_of_a_new_collection() -> None:
    """What is given is written; else what is detected, if anything is."""
    assert languages_of(language_metadata(["en", "de"], [GERMAN])) == ("de", "en")
    assert languages_of(language_metadata([], [GERMAN])) == ("de",)
    assert language_metadata([], ["PX4711"]) == {}


async def test_a_missing_language_is_detected(chroma: ChromaEmbedded) -> None:
    """Beside what else the metadata says, which stays."""
    stored = await update_language(chroma, "town")
    assert languages_of(stored.metadata) == ("de",)
    assert stored.metadata["other"] == 1
    assert await chroma.collection("town", fresh=True) == stored


async def test_a_collection_that_has_grown_is_looked_at_again(chroma: ChromaEmbedded) -> None:
    """When that is asked for only, and never where the operator has said the language."""
    await chroma.modify(await chroma.collection("town"), {"orbit_language": "fr"})
    assert languages_of((await update_language(chroma, "town")).metadata) == ("fr",)
    assert languages_of((await update_language(chroma, "town", again=True)).metadata) == ("de",)
    assert languages_of((await update_language(chroma, "town", ["nl"])).metadata) == ("nl",)
    assert languages_of((await update_language(chroma, "town", again=True)).metadata) == ("nl",)
    assert languages_of((await update_language(chroma, "town", ["it"])).metadata) == ("it",)
