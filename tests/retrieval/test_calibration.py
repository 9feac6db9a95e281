"""Choosing a threshold from questions that a collection answers, and from others."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.errors import ModelUnreachable, OrbitError
from orbit_server.retrieval.calibration import (
    FEWEST,
    calibrate,
    in_domain_questions,
    quantile,
    separating,
)
from orbit_server.retrieval.ranking import Candidate, SearchSettings
from orbit_server.types import Passage

pytestmark = pytest.mark.anyio

SETTINGS = SearchSettings(threshold=0.5, threshold_origin="measured", dense_weight=0.5, top_k=2)


def passage(id: str, **fields: Any) -> Passage:
    """Return a passage that is named like its text."""
    return Passage(**{"id": id, "text": id, "title": id, "source": "a.md", "score": 0.0, **fields})


def test_the_threshold_parts_two_heaps() -> None:
    """It lies in the middle of the gap, and where they overlap at the least loss."""
    assert separating([0.8, 0.9], [0.1, 0.4]) == pytest.approx(0.6)
    assert separating([0.3, 0.7, 0.8, 0.9], [0.1, 0.2, 0.35, 0.4]) == pytest.approx(0.55)
    with pytest.raises(OrbitError, match="score the same"):
        separating([0.5, 0.5], [0.5])


def test_the_threshold_keeps_what_it_must() -> None:
    """The best that keeps the share is lower than the best of all."""
    own, foreign = [0.3, 0.7, 0.8, 0.9], [0.1, 0.2, 0.35, 0.4]
    assert separating(own, foreign, keep=1.0) == pytest.approx(0.25)
    assert separating(own, foreign, keep=0.75) == separating(own, foreign)


SCORES = st.lists(st.integers(0, 150).map(lambda n: n / 100), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_no_threshold_is_better(own: list[float], foreign: list[float]) -> None:
    """No score would have been a better place to cut at."""
    if len({*own, *foreign}) == 1:
        return

    def balance(cut: float) -> float:
        kept = sum(score >= cut for score in own) / len(own)
        return kept + sum(score < cut for score in foreign) / len(foreign)

    best = max(balance(cut) for cut in own + foreign)
    assert balance(separating(own, foreign)) >= best - 1e-9


def test_quantiles() -> None:
    """They are interpolated between the scores."""
    assert [quantile([3, 1, 2], share) for share in (0, 0.25, 0.5, 1)] == [1, 1.5, 2, 3]
    assert quantile([7], 0.95) == 7


PAIR = passage("1", text="When is it open?\nFrom nine.", answer="From nine.", title="Hours")


async def test_a_model_words_the_question_anew() -> None:
    """It gets the stored question, or the passage; what it only repeats is not used."""
    seen: list[str] = []

    async def complete(messages: list[dict[str, str]], /, *, format: Any = None, **_: Any) -> str:
        seen.append(messages[-1]["content"])
        assert format["required"] == ["question"]
        return json.dumps({"question": ["Opening hours?", "When does it close?"][len(seen) - 1]})

    document = passage("2", text="It closes at five.")
    own = await in_domain_questions([PAIR, document], complete=complete, model="m")
    assert own == ["Opening hours?", "When does it close?"]
    assert seen == ["When is it open?", "It closes at five."]


@pytest.mark.parametrize(
    "reply",
    ["no JSON", "[]", '{"question": " "}', '{"question": 3', '{"question": "WHEN IS IT OPEN"}'],
)
async def test_a_useless_reply_is_left_out(reply: str) -> None:
    """The stored question itself would match at 1.0 and prove nothing."""

    async def complete(messages: object, /, *, format: Any = None, **_: Any) -> str:
        return reply

    assert await in_domain_questions([PAIR], complete=complete, model="m") == []


async def test_a_failing_model_is_asked_once() -> None:
    """Nobody waits for a timeout a hundred times."""
    calls: list[None] = []

    async def complete(messages: object, /, *, format: Any = None, **_: Any) -> str:
        calls.append(None)
        raise ModelUnreachable("nobody there")

    assert await in_domain_questions([PAIR, PAIR, PAIR], complete=complete, model="m") == []
    assert len(calls) == 1


SCORED = {"both first": 1.2, "words first": 0.6, "low": 0.3, "foreign": 0.2, "near": 0.8}


async def search(question: str) -> Sequence[Candidate]:
    """Find a passage of this relevance."""
    if question not in SCORED:
        return []
    return [Candidate(passage("a", score=SCORED[question]), 0.5, 0.5, 0.5)]


async def test_too_few_questions_are_refused() -> None:
    """A handful says nothing about a collection."""
    with pytest.raises(OrbitError, match="9 questions are too few"):
        await calibrate(search, ["both first"] * (FEWEST - 1), ["foreign"], SETTINGS)


async def test_a_calibration() -> None:
    """The three kinds are scored by the best of the first passages, and two set the threshold."""
    own = ["both first", "words first"] * 5
    found = await calibrate(search, own, ["foreign", "nothing"], SETTINGS, unanswerable=["near"])
    assert (found.in_domain[:2], found.out_of_domain, found.unanswerable) == (
        [1.2, 0.6],
        [0.2, 0.0],
        [0.8],
    )
    assert found.threshold == pytest.approx(0.4)
    at = found.threshold
    assert (found.kept(at), found.refused(at), found.balanced_accuracy(at)) == (1.0, 1.0, 1.0)
    assert not found.improves  # 0.5 separates them as well
    lower = SETTINGS._replace(threshold=0.1)
    assert (await calibrate(search, own, ["foreign", "nothing"], lower)).improves


async def test_questions_to_another_collection_change_nothing() -> None:
    """They score like foreign ones; a threshold that keeps them would let everything through."""
    own = ["low"] * 9 + ["words first"]
    foreign = ["low"] * 9 + ["nothing"]
    found = await calibrate(search, own, foreign, SETTINGS._replace(threshold=1.0))
    assert found.balanced_accuracy(found.threshold) > found.balanced_accuracy(found.current)
    assert not found.tells_apart
    assert not found.improves


async def test_a_calibration_refuses_no_more_than_before() -> None:
    """Balance alone would give away three of ten; as many are kept as were, or 95 %."""
    own = ["both first"] * 7 + ["low"] * 3
    foreign = ["words first", *["low"] * 9]
    found = await calibrate(search, own, foreign, SETTINGS._replace(threshold=0.25))
    assert separating(found.in_domain, found.out_of_domain) > 0.6
    assert found.kept(found.threshold) == 1.0
    assert not found.improves
