"""``types``: the vocabulary, as clients and the log see it."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from orbit_server.types import Passage, Question

PASSAGE = Passage(id="1", text="At nine.", title="Hours", source="hours.md", score=1.23456)


def test_a_question_is_validated_and_frozen() -> None:
    """``null`` is an empty history; nothing can be changed once it was judged."""
    question = Question.model_validate({"message": "When?", "history": None, "else": 1})
    assert (question.history, question.stream, question.stream_format) == ((), True, None)
    with pytest.raises(ValidationError):
        question.message = "Something else"


def test_what_clients_see_of_a_passage() -> None:
    """The stored answer rather than the text; ``score`` is what the order follows."""
    assert PASSAGE.public() == {
        "id": "1",
        "title": "Hours",
        "source": "hours.md",
        "score": 1.2346,
        "relevance": 1.2346,
        "excerpt": "At nine.",
    }
    ranked = replace(PASSAGE, rank_score=0.5, rerank_score=5.0, answer="Nine.")
    public = ranked.public()
    assert (public["score"], public["relevance"], public["rerank_score"]) == (0.5, 1.2346, 5.0)
    assert public["excerpt"] == "Nine."


def test_the_log_refers_to_a_passage_without_its_text() -> None:
    """Which one it is, what it was loaded from, and its two scores, as clients see them."""
    ranked = replace(PASSAGE, rank_score=0.5, answer="Nine.")
    reference = ranked.reference()
    assert reference == {"id": "1", "source": "hours.md", "score": 0.5, "relevance": 1.2346}
    assert reference.items() <= ranked.public().items()
