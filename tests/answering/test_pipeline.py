"""``Pipeline``: the steps of an answer, with a few lines of fakes for search and model."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orbit_server.answering.extractive import FixedText
from orbit_server.answering.pipeline import Pipeline
from orbit_server.config.schema import AnswerConfig, Config
from orbit_server.errors import CollectionNotFound, Unprocessable
from orbit_server.types import Passage, Question, Retrieved, Turn
from tests.support.scripted import Scripted

pytestmark = pytest.mark.anyio


def passage(id: str, text: str = "The library opens at nine.") -> Passage:
    return Passage(id=id, text=text, title="Hours", source="hours.md", score=0.9)


class Parts:
    """A search and a model that write down what they are asked."""

    def __init__(self, *found: Passage) -> None:
        self.found = list(found)
        self.searched: list[Question] = []
        self.prompts: list[str] = []
        self.options: dict[str, Any] | None = None
        self.conversations: list[str | None] = []

    async def search(self, question: Question, collection: str) -> Retrieved:
        self.searched.append(question)
        return Retrieved(self.found, {"search": 1.5})

    def chat(
        self,
        messages: Sequence[dict[str, str]],
        /,
        *,
        model: str,
        options: dict[str, Any] | None = None,
        request_id: str | None = None,
        conversation: str | None = None,
    ) -> FixedText:
        self.prompts.append(messages[-1]["content"])
        self.options = options
        self.conversations.append(conversation)
        return FixedText(["At nine."])

    async def backwards(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)[::-1]


FOLLOW_UP = Question(
    message="And on Sundays?",
    history=(Turn(role="user", content="When does the library open?"),),
    request_id="r-1",
)


async def test_all_steps() -> None:
    """A follow-up is made whole, searched, reranked, and answered by the model."""
    parts = Parts(passage("a"), passage("b"))
    condense = Scripted("When does the library open on Sundays?")
    pipeline = Pipeline(
        Config(), search=parts.search, rerank=parts.backwards, complete=condense, chat=parts.chat
    )
    async with pipeline.answer(FOLLOW_UP, "town") as answer:
        assert [piece async for pieces in answer for piece in pieces] == ["At nine."]
    (searched,) = parts.searched
    assert searched.message == "When does the library open on Sundays?"
    assert (searched.history, searched.request_id) == ((), "r-1")
    assert [passage.id for passage in answer.passages] == ["b", "a"]
    assert parts.prompts[0].endswith("Question: And on Sundays?")
    assert answer.timings().keys() == {"condense", "search", "rerank", "first_token", "total"}
    assert pipeline.backend == ("ollama", Config().ollama.model)


async def test_a_conversation_is_named_alike_in_all_of_its_answers() -> None:
    """By the key and its first question; another key's, or another beginning, is another one."""
    parts = Parts(passage("a"))
    pipeline = Pipeline(Config(), search=parts.search, complete=Scripted("-"), chat=parts.chat)
    first = Question(message=FOLLOW_UP.history[0].content)
    for question, owner in ((first, "k1"), (FOLLOW_UP, "k1"), (first, "k2")):
        async with pipeline.answer(question, "town", owner=owner) as answer:
            assert [pieces async for pieces in answer]
    begun, followed, other = parts.conversations
    assert begun == followed
    assert begun != other


async def test_without_a_model() -> None:
    """The best passages are quoted, and no model is asked for anything."""
    parts, condense = Parts(passage("a")), Scripted("never")
    config = Config(answer=AnswerConfig(provider="extractive"))
    pipeline = Pipeline(config, search=parts.search, complete=condense, chat=parts.chat)
    async with pipeline.answer(FOLLOW_UP, "town") as answer:
        text = "".join([piece async for pieces in answer for piece in pieces])
    assert "The library opens at nine." in text
    assert (condense.calls, parts.prompts) == ([], [])
    assert parts.searched[0].message == "When does the library open? And on Sundays?"
    assert pipeline.backend == ("extractive", None)


async def test_passages_that_do_not_fit_are_left_out() -> None:
    """Ollama would cut a prompt that is longer than its window; sources are what the model read."""
    parts = Parts(passage("a"), passage("b", "x" * 100_000), passage("c"))
    pipeline = Pipeline(Config(), search=parts.search, complete=Scripted("-"), chat=parts.chat)
    found = await pipeline.retrieve(Question(message="When?"), "town")
    assert [passage.id for passage in found.passages] == ["a", "c"]


async def test_a_wrong_collection_is_the_operators_fault() -> None:
    """The key names it, so whoever asks is not told that the request was wrong."""

    async def search(question: Question, collection: str) -> Retrieved:
        raise Unprocessable("no such name")

    parts = Parts()
    pipeline = Pipeline(Config(), search=search, complete=Scripted("-"), chat=parts.chat)
    with pytest.raises(CollectionNotFound):
        await pipeline.retrieve(Question(message="When?"), "x")


# -- small talk ------------------------------------------------------------------------


def talking(parts: Parts, complete: Scripted, **answer: Any) -> Pipeline:
    config = Config(answer=AnswerConfig(**answer))
    return Pipeline(config, search=parts.search, complete=complete, chat=parts.chat)


async def told(pipeline: Pipeline, message: str, *, history: tuple[Turn, ...] = ()) -> str:
    async with pipeline.answer(Question(message=message, history=history), "town") as answer:
        return "".join([piece async for pieces in answer for piece in pieces])


@pytest.mark.parametrize("provider", ["ollama", "extractive"])
async def test_small_talk_is_answered_without_search_and_model(provider: str) -> None:
    """By what is configured, else by a sentence in its language; thanks after an answer, too."""
    parts, condense = Parts(passage("pool rules")), Scripted("never")
    pipeline = talking(parts, condense, provider=provider, greeting="Welcome to Quillbrook!")
    assert await told(pipeline, "Hallo!") == "Welcome to Quillbrook!"
    assert (await told(pipeline, "Wer bist du?")).startswith("Ich beantworte Fragen")
    assert (await told(pipeline, "danke", history=FOLLOW_UP.history)).startswith("Gern geschehen")
    pipeline = talking(parts, condense, provider=provider, about="I am Quilly.")
    assert await told(pipeline, "Who are you?") == "I am Quilly."
    assert (await told(pipeline, "hi")).startswith("Hello!")
    assert (parts.searched, parts.prompts, condense.calls) == ([], [], [])


async def test_small_talk_by_the_model() -> None:
    """It is asked without passages, by rules that do not tell it to answer from them alone."""
    parts = Parts(passage("pool rules"))
    seen: list[Sequence[dict[str, str]]] = []

    def chat(messages: Sequence[dict[str, str]], /, **_: Any) -> FixedText:
        seen.append(messages)
        return FixedText(["Hi!"])

    config = Config(answer=AnswerConfig(small_talk="model", system_prompt="You are Quilly."))
    pipeline = Pipeline(config, search=parts.search, complete=Scripted("never"), chat=chat)
    async with pipeline.answer(Question(message="hi"), "town") as answer:
        assert [pieces async for pieces in answer] == [["Hi!"]]
        assert answer.passages == []
    [[system, asked]] = seen
    assert system["content"].startswith("You are Quilly.\n\n")
    assert "small talk" in system["content"]
    assert asked["content"] == "Question: hi"
    assert parts.searched == []


async def test_small_talk_by_the_model_where_there_is_none() -> None:
    """Without a model the sentence is all there is."""
    pipeline = talking(Parts(), Scripted("-"), provider="extractive", small_talk="model")
    assert (await told(pipeline, "hi")).startswith("Hello!")


async def test_small_talk_may_be_searched() -> None:
    """Whoever has documents about greetings wants that."""
    parts = Parts(passage("a", "Say grüß gott."))
    pipeline = talking(parts, Scripted("-"), provider="extractive", small_talk="search")
    assert "Say grüß gott." in await told(pipeline, "hello")
    assert [question.message for question in parts.searched] == ["hello"]


async def test_greetings_are_not_searched_for() -> None:
    """A question is searched without the words of greeting around it, and before it in the chat."""
    parts = Parts(passage("a"))
    pipeline = talking(parts, Scripted("-"), provider="extractive")
    await told(pipeline, "Hi! When is the pool open? Thanks.")
    before = (Turn(role="user", content="Hello there!"), *FOLLOW_UP.history)
    await told(pipeline, "And on Sundays?", history=(*before, Turn(role="user", content="thanks")))
    assert [question.message for question in parts.searched] == [
        "When is the pool open?",
        "When does the library open? And on Sundays?",
    ]


async def test_results_tell_what_became_of_a_question() -> None:
    """Answers from passages and without any are told apart."""
    for found, result in (([passage("a")], "found"), ([], "not_found")):
        pipeline = talking(Parts(*found), Scripted("-"))
        async with pipeline.answer(Question(message="When?"), "town") as answer:
            results = [answer.result, *[answer.result async for _ in answer]]
        assert results == [None, result]


# -- two questions in one --------------------------------------------------------------

PASSPORT = Passage("p", "A passport costs €70.", "Passports", "town.md", 1.0)
PARKING = Passage("c", "Cars stay behind the church.", "Parking", "town.md", 0.9)
BOTH = "passport cost and where can I park?"


class Town(Parts):
    """A search by words, which is slow enough to tell what runs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.running = self.most = 0

    async def search(self, question: Question, collection: str) -> Retrieved:
        self.searched.append(question)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        found = [PASSPORT] if "passport" in question.message else []
        found += [PARKING] if "park" in question.message else []
        took = {"search": float(len(question.message))}
        return Retrieved(found[:1], took, considered=found[:1])


async def test_two_questions_are_searched_as_two() -> None:
    """And as the whole, all at once; the passages of both reach the model, in turn."""
    parts = Town()
    pipeline = talking(parts, Scripted("-"))
    assert await told(pipeline, f"Hi! {BOTH}") == "At nine."
    asked = {question.message for question in parts.searched}
    assert asked == {BOTH, "passport cost", "where can I park?"}
    assert parts.most == 3
    [prompt] = parts.prompts
    assert PASSPORT.text in prompt
    assert PARKING.text in prompt
    found = await pipeline.retrieve(Question(message=BOTH), "town")
    assert (found.passages, found.questions) == ([PASSPORT, PARKING], 2)
    assert found.timings_ms == {"search": float(len(BOTH))}
    assert found.considered == [PASSPORT, PARKING]


async def test_two_questions_are_quoted_both() -> None:
    """Without a model, each with its source; also after other questions, which are not repeated."""
    pipeline = talking(parts := Town(), Scripted("-"), provider="extractive")
    quoted = f"Quoted from “Passports”: {PASSPORT.text}\n\nQuoted from “Parking”: {PARKING.text}"
    assert await told(pipeline, BOTH) == quoted
    parts.searched.clear()
    assert await told(pipeline, BOTH, history=FOLLOW_UP.history) == quoted
    assert [question.message for question in parts.searched] == [
        f"When does the library open? {BOTH}",
        "passport cost",
        "where can I park?",
    ]


async def test_a_follow_up_and_another_question() -> None:
    """Without a model, the first is searched with what it refers to, the second alone."""
    for first in ("And on Sundays", "How long does it take"):
        pipeline = talking(parts := Town(), Scripted("-"), provider="extractive")
        await told(pipeline, f"{first}, and where can I park?", history=FOLLOW_UP.history)
        assert [question.message for question in parts.searched][1:] == [
            f"When does the library open? {first}",
            "where can I park?",
        ]


async def test_the_condensed_question_is_split() -> None:
    """What a model has made of a follow-up may ask two things."""
    pipeline = talking(Town(), Scripted(BOTH))
    question = Question(message="And for me?", history=FOLLOW_UP.history)
    assert (await pipeline.retrieve(question, "town")).questions == 2


async def test_a_part_that_finds_nothing_is_no_question() -> None:
    """The whole decides then, as it does for one question, which is searched once."""
    pipeline = talking(parts := Town(), Scripted("-"))
    found = await pipeline.retrieve(Question(message="passport cost and what is love?"), "town")
    assert (found.passages, found.questions) == ([PASSPORT], 1)
    parts.searched.clear()
    await pipeline.retrieve(Question(message="Where and when can I park?"), "town")
    assert len(parts.searched) == 1


async def test_each_question_is_reranked_alone() -> None:
    """A reranker that knows the whole only would keep the passages of one of them."""
    reranked: list[tuple[str, list[Passage]]] = []

    async def rerank(question: str, passages: Sequence[Passage]) -> list[Passage]:
        reranked.append((question, list(passages)))
        return list(passages)

    parts = Town()
    pipeline = Pipeline(
        Config(), search=parts.search, rerank=rerank, complete=Scripted("-"), chat=parts.chat
    )
    assert (await pipeline.retrieve(Question(message=BOTH), "town")).questions == 2
    assert reranked == [("passport cost", [PASSPORT]), ("where can I park?", [PARKING])]
