"""Think blocks are taken off in one place, of whole replies and of texts that stream in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.llm.replies import ThoughtFilter, split_thought


@pytest.mark.parametrize(
    ("reply", "thought", "rest"),
    [
        ("<think>Hm.</think>Nine.", "Hm.", "Nine."),
        ("\n<think>\nHm.\n</think>\n\nNine.", "\nHm.\n", "Nine."),
        ("<THINKING>Hm.</thinking> Nine.", "Hm.", "Nine."),
        ("<think></think>Nine.", "", "Nine."),
        ("Nine.", "", "Nine."),
        ("  Nine. <think>Hm.</think>", "", "  Nine. <think>Hm.</think>"),
        ("<think>Hm.", "", "<think>Hm."),
        ("<think>Hm.</thinking>Nine.", "", "<think>Hm.</thinking>Nine."),
        ("<think>a<think>b</think>c", "", "<think>a<think>b</think>c"),
        ("", "", ""),
    ],
)
def test_a_thought_is_split_off(reply: str, thought: str, rest: str) -> None:
    """Only a finished block at the very beginning is a thought."""
    assert split_thought(reply) == (thought, rest)


def filtered(pieces: list[str], *, cut: bool = False) -> str:
    """Return what of a text that comes in pieces is the answer."""
    thoughts = ThoughtFilter()
    texts = [thoughts.feed(piece) if thoughts.deciding else piece for piece in pieces]
    return "".join(texts) + (thoughts.end(cut=cut) if thoughts.deciding else "")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>Hm.</think>Nine.", "Nine."),
        ("<think>\nHm. <b>x</b>\n</think>\n\n Nine.\n", "Nine.\n"),
        (" \n<Thinking>Hm.</Thinking> Nine.", "Nine."),
        ("<think></think>\n\n<think>Hm.</think>Nine.", "Nine."),
        ("<think>Hm.</think>", ""),
        ("<think>İ.</thinking></THINK>Nine.", "Nine."),
        ("<think>Hm.</think>Nine. <think>A tag.</think>", "Nine. <think>A tag.</think>"),
        ("  Nine.\n", "  Nine.\n"),
        ("<thin air", "<thin air"),
        ("<thinker>", "<thinker>"),
        ("< think>Hm.</think>", "< think>Hm.</think>"),
        ("<think> is a tag.", "<think> is a tag."),
        ("\n<th", "\n<th"),
        (" \n", " \n"),
        ("", ""),
    ],
)
def test_thoughts_are_taken_off_however_they_are_split(text: str, answer: str) -> None:
    """In one piece, letter by letter, and with every single cut; the rest is byte-exact."""
    assert filtered([text]) == answer
    assert filtered(list(text)) == answer
    for cut in range(len(text) + 1):
        assert filtered([text[:cut], text[cut:]]) == answer


def test_a_thought_that_the_limit_cut_is_no_answer() -> None:
    """Whoever asked for an answer is not shown half of a thought instead of it."""
    assert filtered(["<think>", "Hm, let me"], cut=True) == ""
    assert filtered(["<thi"], cut=True) == "<thi"


def test_an_answer_is_not_held_back() -> None:
    """The first letters that cannot begin a block are passed on at once."""
    thoughts = ThoughtFilter()
    assert thoughts.feed(" <t") == ""
    assert thoughts.feed("able>") == " <table>"
    assert not thoughts.deciding


@given(st.lists(st.text(max_size=12), max_size=8), st.text(max_size=20))
def test_other_texts_pass_unchanged(pieces: list[str], thought: str) -> None:
    """What does not begin with a block is byte-exact; what comes after one loses only blanks."""
    if not "".join(pieces).lstrip().lower().startswith("<think"):
        assert filtered(pieces) == "".join(pieces)
        opened = ["<think>", thought.replace("<", ""), "</think>", *pieces]
        assert filtered(opened) == "".join(pieces).lstrip()
