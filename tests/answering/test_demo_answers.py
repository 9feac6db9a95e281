"""What the demo says to misspelt, foreign, polite and double questions, as a reader sees it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_server.documents.ingest import ingest
from orbit_server.services import Services
from orbit_server.types import Question

from ..support.server import lexical

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
MISSPELT = {
    "When is the libary open on Saturdays?": "Is the library open on Saturdays?",
    "What does the swiming pool cost?": "What does a ticket for the swimming pool cost?",
    "When is the museeum opne?": "When is the museum open and what does it cost?",
    "parking permitt for residents": "How do I get a residents' parking permit?",
    "old furnitur": "How do I get rid of old furniture and other bulky waste?",
    "how much is the dog taks": "How much is the dog tax?",
    "When is the weekley markt?": "When is the weekly market?",
    "My bin was not emptyed": "My bin was not emptied, what can I do?",
    "How do I regster a new adress?": "How do I register a new address after moving?",
    "passprot cost": "How much does a passport cost and how long does it take?",
}
OTHER_LANGUAGES = [
    "Wann hat die Bibliothek am Samstag geöffnet?",
    "Was kostet ein Reisepass?",
    "Combien coûte un passeport ?",
    "Quand la piscine est-elle ouverte ?",
    "¿Cuándo abre la biblioteca?",
    "¿Cuánto cuesta aparcar en la plaza?",
    "Quanto costa un biglietto dell'autobus?",
    "Quando é aberto o museu?",
    "Где находится бюро находок?",
    "图书馆什么时候开门？",
]
GREETINGS = {
    "Hi!": "Hello!",
    "Guten Morgen": "Hallo!",
    "thanks a lot": "You are welcome.",
    "Who are you?": "I answer questions from the documents",
    "¿Qué puedes hacer?": "Respondo preguntas",
}
DOUBLE = {
    "passport cost and where can I park?": ("€70", "park"),
    "When does the library open on Saturdays? And how much is the dog tax?": ("10:00", "€72"),
    "How do I get rid of old furniture and when is the recycling centre open?": (
        "555-0117",
        "recycling centre",
    ),
}


@pytest.fixture(scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """The sample documents, loaded as the demo loads them, without a model."""
    async with Services(lexical(tmp_path_factory.mktemp("demo"))) as services:
        await ingest(
            [ROOT / "examples"], "demo", services.store, chunk_chars=1200, chunk_overlap=150
        )
        yield services


async def told(demo: Services, message: str) -> tuple[str | None, str]:
    """Return what became of a question, and its answer."""
    async with demo.pipeline.answer(Question(message=message), "demo") as answer:
        text = "".join([piece async for pieces in answer for piece in pieces])
        return answer.result, text


@pytest.mark.parametrize("question", MISSPELT)
async def test_misspelt(demo: Services, question: str) -> None:
    """The right pair is quoted first."""
    result, text = await told(demo, question)
    assert (result, text.split("”")[0]) == ("found", f"Quoted from “{MISSPELT[question]}")


@pytest.mark.parametrize("question", OTHER_LANGUAGES)
async def test_other_languages(demo: Services, question: str) -> None:
    """By words alone nothing can be found in English; nothing wrong is said."""
    assert (await told(demo, question))[0] == "not_found"


@pytest.mark.parametrize("message", GREETINGS)
async def test_greetings(demo: Services, message: str) -> None:
    """In their language, and never rules of the pool."""
    result, text = await told(demo, message)
    assert (result, text.startswith(GREETINGS[message])) == ("small_talk", True)


@pytest.mark.parametrize("question", DOUBLE)
async def test_two_in_one(demo: Services, question: str) -> None:
    """Both are quoted, each with its source."""
    result, text = await told(demo, question)
    first, second = text.split("\n\n")
    assert result == "found"
    for quotation, part in zip((first, second), DOUBLE[question], strict=True):
        assert quotation.startswith("Quoted from “")
        assert part in quotation
