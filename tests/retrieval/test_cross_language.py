"""Questions in another language than the collection's, with a multilingual embedding model.

They share no word with any passage. That must not refuse them, and must not let others through.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.chroma.protocol import Chroma
from orbit_server.retrieval.embedders import Embedder
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.types import Question

from ..support.concepts import ConceptEmbedder

pytestmark = pytest.mark.anyio
pytest_plugins = ["tests.support.chroma_fixtures"]

PAIRS = {
    "What does a passport cost?": "A passport is 70 euros for adults.",
    "When does the library open?": "The library is there from nine to five on weekdays.",
    "What does a dog licence cost?": "It is 30 euros a year for the first one.",
    "Where can I park at the swimming pool?": "Behind the church, for two hours.",
}


async def asked(chroma: Chroma, index: WordIndex, embedder: Embedder, question: str) -> list[str]:
    """Load ``PAIRS`` with ``embedder`` and return the titles of what is found for ``question``."""
    name = f"town-{uuid4().hex}"
    retrieval = Retrieval(chroma=chroma, lexical=index, embedder=embedder)
    store = CollectionStore(chroma=chroma, lexical=index, embedder=embedder, retrieval=retrieval)
    chunks = [
        Chunk.of(question, answer, {"source": "qa", "question": question, "answer": answer})
        for question, answer in PAIRS.items()
    ]
    await store.put(name, chunks, [])
    found = await retrieval(Question(message=question), name)
    return [passage.title for passage in found.passages]


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[WordIndex]:
    async with WordIndex(tmp_path) as index:
        yield index


@pytest.mark.parametrize(
    ("question", "about"),
    [
        ("Was kostet ein Reisepass?", "passport"),
        ("Combien coûte un passeport ?", "passport"),
        ("Wann öffnet die Bibliothek?", "library"),
        ("Wo kann ich am Schwimmbad parken?", "park"),
        ("Reisepass Gebühr", "passport"),  # no word tells the language
        ("What does a passport cost?", "passport"),
        ("Wer hat die Glühbirne erfunden?", None),
        ("Was kostet eine Glühbirne?", None),
        ("Combien coûte une ampoule ?", None),
        ("Who invented the light bulb?", None),
        ("Wie alt ist der Papst?", None),
    ],
)
async def test_the_language_of_a_question(
    chroma: Chroma, index: WordIndex, question: str, about: str | None
) -> None:
    """What is asked in German or French is found in English, and nothing else is."""
    found = await asked(chroma, index, ConceptEmbedder(), question)
    assert found[:1] == [title for title in PAIRS if about and about in title]


@pytest.mark.parametrize("question", ["Was kostet ein Reisepass?", "Wann öffnet die Bibliothek?"])
async def test_an_embedder_of_words_finds_nothing(
    chroma: Chroma, index: WordIndex, question: str
) -> None:
    """It knows words only, and none of them is there."""
    assert await asked(chroma, index, LexicalEmbedder(), question) == []
