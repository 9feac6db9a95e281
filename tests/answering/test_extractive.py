"""``extractive_answer``: the best passages, quoted word for word where no model answers."""

from typing import Any

import pytest

from orbit_server.answering.answer import Answer
from orbit_server.answering.extractive import FixedText, extractive_answer
from orbit_server.types import Passage, Question, Retrieved

pytestmark = pytest.mark.anyio

QUESTION = Question(message="When?")


def passage(
    text: str, *, answer: str | None = None, title: str = "Hours", id: str = "7"
) -> Passage:
    return Passage(
        id=id, text=text, title=title, source="hours.md", score=0.87654321, answer=answer
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
        QUESTION, Retrieved([passage("ignored", answer=text), passage("other", answer="x")])
    )
    assert await said(stream) == f"Quoted from “Hours”: {text}"


async def test_extractive_answer_of_documents_is_the_best_two_passages() -> None:
    """Where there is no stored answer, passages are quoted, each with its title."""
    passages = [passage("First.", title="A"), passage("Second.", title="B"), passage("Third.")]
    told = await said(extractive_answer(QUESTION, Retrieved(passages)))
    assert told == "Quoted from “A”: First.\n\nQuoted from “B”: Second."


async def test_extractive_answer_is_streamed_in_pieces() -> None:
    """Word by word, as a model would say it."""
    stream = extractive_answer(QUESTION, Retrieved([passage("", answer="one two three")]))
    async with stream:
        pieces = [pieces async for pieces in stream]
    assert len(pieces) == 6
    assert all(len(each) == 1 for each in pieces)


async def closing(*passages: Passage) -> dict[str, Any]:
    """Return what ends an answer that quotes from ``passages``."""

    async def retrieve(question: Question, collection: str) -> Retrieved:
        return Retrieved(list(passages))

    quoting = Answer(
        QUESTION, "town", retrieve=retrieve, generate=extractive_answer, nothing_found="Nothing."
    )
    async with quoting:
        text = "".join([piece async for pieces in quoting for piece in pieces])
        return quoting.closing(text)


async def test_the_quoted_passages_are_cited() -> None:
    """There is no marker in a quotation, and what it comes from is known all the better."""
    one = await closing(passage("", answer="At nine [2].", id="a"), passage("x", id="b"))
    assert one["cited"] == ["a"]
    both = await closing(passage("First.", id="a"), passage("Second.", id="b"), passage("x"))
    assert both["cited"] == ["a", "b"]
    assert (await closing())["cited"] == []


async def test_nothing_is_quoted_twice() -> None:
    """The same text may stand in two files."""
    passages = [passage("Same.", id="a"), passage("Same.", id="b"), passage("Other.", id="c")]
    said_once = await closing(*passages)
    assert said_once["cited"] == ["a", "c"]


async def test_of_two_questions_the_best_of_each_is_quoted() -> None:
    """One stored answer, one passage of a document, and nothing of what else was found."""
    found = [
        passage("", answer="€70.", title="Passport"),
        passage("Behind the church."),
        passage("x"),
    ]
    told = await said(extractive_answer(QUESTION, Retrieved(found, questions=2)))
    assert told == "Quoted from “Passport”: €70.\n\nQuoted from “Hours”: Behind the church."
