"""Answers that somebody wrote: pairs of a source of their own."""

from orbit_server.documents.answers import ANSWERS, answer_pairs


def test_a_pair_for_each_wording() -> None:
    """The question is embedded, the answer shown, as of pairs that were loaded from a file."""
    first, second = answer_pairs(["Where is  it?", "where?", "where?"], "Here.\r\nOr there.")
    assert (first.embed, first.text) == ("Where is it?", "Here.\nOr there.")
    assert first.metadata == {
        "source": ANSWERS,
        "title": "Where is it?",
        "position": 0,
        "question": "Where is it?",
        "answer": "Here.\nOr there.",
    }
    assert second.embed == "where?"


def test_another_answer_replaces_the_one_before() -> None:
    """The id is that of the question."""
    [before], [after] = answer_pairs(["Where?"], "Here."), answer_pairs(["Where?"], "There.")
    assert before.id == after.id
    assert answer_pairs(["When?"], "Here.")[0].id != before.id
