"""The pipeline between search and text, with a few lines of fakes: what runs when, what ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Self

import pytest

from orbit_server.answering.answer import Answer
from orbit_server.answering.extractive import FixedText
from orbit_server.errors import ModelBusy, SearchUnavailable
from orbit_server.types import Passage, Question, Retrieved

pytestmark = pytest.mark.anyio

QUESTION = Question(message="When?")


def passage(text: str, *, answer: str | None = None, title: str = "Hours") -> Passage:
    return Passage(
        id="7", text=text, title=title, source="hours.md", score=0.87654321, answer=answer
    )


class Model:
    """A model that says its pieces, or fails at a place."""

    def __init__(self, *reads: list[str] | Exception, refuses: Exception | None = None) -> None:
        self.usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        self.finish_reason = "length"
        self.asked: list[tuple[Question, list[Passage]]] = []
        self.open = 0
        self._reads = iter(reads)
        self._refuses = refuses

    def __call__(self, question: Question, retrieved: Retrieved) -> Self:
        self.asked.append((question, retrieved.passages))
        return self

    async def __aenter__(self) -> Self:
        if self._refuses is not None:
            raise self._refuses
        self.open += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.open -= 1

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    async def __anext__(self) -> list[str]:
        for read in self._reads:
            if isinstance(read, Exception):
                raise read
            return read
        raise StopAsyncIteration


def answer(found: list[Passage] | Exception, model: Model) -> Answer:
    async def retrieve(question: Question, collection: str) -> Retrieved:
        assert collection == "town"
        if isinstance(found, Exception):
            raise found
        return Retrieved(found, {"search": 1.0})

    return Answer(
        QUESTION, "town", retrieve=retrieve, generate=model, nothing_found="Nothing found."
    )


async def test_passages_go_to_the_model_and_its_reads_come_back() -> None:
    """Reads stay together, the model's counts and reason are the answer's."""
    model = Model(["At", " nine"], ["."])
    async with answer([passage("At nine.")], model) as told:
        assert model.open == 0
        assert [pieces async for pieces in told] == [["At", " nine"], ["."]]
        assert model.asked == [(QUESTION, [passage("At nine.")])]
        assert told.closing("") == {
            "sources": [
                {
                    "id": "7",
                    "title": "Hours",
                    "source": "hours.md",
                    "score": 0.8765,
                    "relevance": 0.8765,
                    "excerpt": "At nine.",
                }
            ],
            "cited": [],
            "usage": model.usage,
            "finish_reason": "length",
        }
        assert {"search", "first_token", "total"} <= set(told.timings())
        assert model.open == 1
    assert model.open == 0


async def test_nothing_relevant_is_answered_without_the_model() -> None:
    """The configured text is the whole answer."""
    model = Model(["Made up."])
    async with answer([], model) as told:
        assert [pieces async for pieces in told] == [["Nothing found."]]
    assert told.closing("") == {
        "sources": [],
        "cited": [],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "finish_reason": "stop",
    }
    assert model.asked == []


async def test_failures_pass_and_leave_nothing_open() -> None:
    """A search that fails asks no model; a model that fails is closed."""
    model = Model(["never"])
    with pytest.raises(SearchUnavailable):
        async with answer(SearchUnavailable(), model) as told:
            await anext(told)
    assert (model.asked, model.open) == ([], 0)
    model = Model(refuses=ModelBusy())
    with pytest.raises(ModelBusy):
        async with answer([passage("x")], model) as told:
            await anext(told)
    assert model.open == 0
    model = Model(["a"], ModelBusy())
    with pytest.raises(ModelBusy):
        async with answer([passage("x")], model) as told:
            assert await anext(told) == ["a"]
            await anext(told)
    assert model.open == 0


async def test_leaving_half_way_closes_the_model() -> None:
    """Whatever is left unsaid, its stream is not left open."""
    model = Model(["a"], ["b"])
    async with answer([passage("x")], model) as told:
        await anext(told)
    assert model.open == 0


async def test_cancelling_closes_the_model() -> None:
    """Also when the reader is cancelled in the middle of a step."""
    model = Model(["a"])
    reading = asyncio.Event()

    async def hang() -> list[str]:
        reading.set()
        await asyncio.sleep(30)
        return []

    async def read() -> None:
        async with answer([passage("x")], model) as told:
            await anext(told)
            await hang()

    task = asyncio.create_task(read())
    await reading.wait()
    assert model.open == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert model.open == 0


def test_long_excerpts_are_cut_at_a_word() -> None:
    """Sources show the beginning, not the whole document."""
    excerpt = passage("word " * 200).public()["excerpt"]
    assert len(excerpt) <= 245
    assert excerpt.endswith("word …")


@pytest.mark.parametrize("found", [[passage("At nine.")], []], ids=["found", "nothing"])
async def test_waits_for_its_place(found: list[Passage]) -> None:
    """Room is asked for before the search; only what the model is to word waits, and is timed."""
    steps: list[str] = []
    model = Model(["At nine."])

    @asynccontextmanager
    async def waiting() -> AsyncIterator[None]:
        steps.append("wait")
        await asyncio.sleep(0.01)
        yield
        assert model.open == 0
        steps.append("left")

    def place() -> AbstractAsyncContextManager[None]:
        steps.append("ask")
        return waiting()

    async def retrieve(question: Question, collection: str) -> Retrieved:
        steps.append("search")
        return Retrieved(found)

    told = Answer(QUESTION, "t", retrieve=retrieve, generate=model, nothing_found="-", place=place)
    async with told:
        await anext(told)
    assert steps == ["ask", "search", *(["wait", "left"] if found else [])]
    assert (told.timings().get("queue", 0) >= 10) == bool(found)


async def test_no_room_means_no_search() -> None:
    """A refusal costs neither a search nor a call of the model."""

    def place() -> AbstractAsyncContextManager[None]:
        raise ModelBusy("full")

    async def retrieve(question: Question, collection: str) -> Retrieved:
        raise AssertionError("searched in vain")

    model = Model(["never"])
    told = Answer(QUESTION, "t", retrieve=retrieve, generate=model, nothing_found="-", place=place)
    async with told:
        with pytest.raises(ModelBusy):
            await anext(told)


@pytest.mark.parametrize("worded", [True, False])
async def test_small_talk_waits_for_the_model_only(worded: bool) -> None:
    """A greeting that is there already needs no place, however full the queue is."""

    def place() -> AbstractAsyncContextManager[None]:
        raise ModelBusy("full")

    async def retrieve(question: Question, collection: str) -> Retrieved:
        raise AssertionError("searched in vain")

    talk = Model(["Hello."]) if worded else FixedText(["Hello."])
    told = Answer(
        *(QUESTION, "t"),
        retrieve=retrieve,
        generate=Model(["never"]),
        nothing_found="-",
        small_talk=talk,
        place=place,
    )
    async with told:
        with pytest.raises(ModelBusy) if worded else nullcontext():
            assert await anext(told) == ["Hello."]
