"""``extractive_answer``: the best passages, quoted word for word where no model answers."""

import pytest

from orbit_server.answering.extractive import FixedText, extractive_answer
from orbit_server.types import Passage, Question

pytestmark = pytest.mark.anyio

QUESTION = Question(message="When?")


def passage(text: str, *, answer: str | None = None, title: str = "Hours") -> Passage:
    return Passage(
        id="7", text=text, title=title, source="hours.md", score=0.87654321, answer=answer
    )


async def said(stream: FixedText) -> str:
    async with stream:
        return "".join([piece async for pieces in stream for piece in pieces])


@pytest.mark.parametrize(
    "text",
    [
        "The library opens at nine.",
        "  two leading, two trailing  \n\n",
        "line\nline\r\n\ttab",
        "https://example.com/a.html 3.14 10:30",
        "one",
        "\u2028\u00a0wide spaces\u3000",
    ],
)
async def test_extractive_answer_is_the_stored_answer_word_for_word(text: str) -> None:
    """It says that it is a quotation, then gives every character of it, in several pieces."""
    stream = extractive_answer(
        QUESTION, [passage("ignored", answer=text), passage("other", answer="x")]
    )
    assert await said(stream) == f"Quoted from “Hours”: {text}"


async def test_extractive_answer_of_documents_is_the_best_two_passages() -> None:
    """Where there is no stored answer, passages are quoted, each with its title."""
    passages = [passage("First.", title="A"), passage("Second.", title="B"), passage("Third.")]
    told = await said(extractive_answer(QUESTION, passages))
    assert told == "Quoted from “A”: First.\n\nQuoted from “B”: Second."


async def test_extractive_answer_is_streamed_in_pieces() -> None:
    """Word by word, as a model would say it."""
    stream = extractive_answer(QUESTION, [passage("", answer="one two three")])
    async with stream:
        pieces = [pieces async for pieces in stream]
    assert len(pieces) == 6
    assert all(len(each) == 1 for each in pieces)
