"""Two questions in one message: told apart by their words, and by what they find."""

import json
from pathlib import Path

import pytest

from orbit_server.answering.splitting import (
    answers_apart,
    interleaved,
    is_whole,
    questions_in,
)
from orbit_server.types import Passage, Retrieved

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("passport cost and where can I park?", ["passport cost", "where can I park?"]),
        (
            "When does the library open? And how much is a dog licence?",
            ["When does the library open?", "how much is a dog licence?"],
        ),
        ("library hours? parking fee?", ["library hours?", "parking fee?"]),
        (
            "When is the pool open; what does a ticket cost?",
            ["When is the pool open", "what does a ticket cost?"],
        ),
        (
            "where can I park\nWhat does a passport cost",
            ["where can I park", "What does a passport cost"],
        ),
        (
            "where can i park and whats the price of a passport",
            ["where can i park", "whats the price of a passport"],
        ),
        (
            "How much is a bus ticket, and is there a night bus?",
            ["How much is a bus ticket", "is there a night bus?"],
        ),
        ("What is X for? What is Y for? What is Z for?", ["What is X for?", "What is Y for?"]),
        (
            "Wann öffnet das Bad und bis wann darf ich parken?",
            ["Wann öffnet das Bad", "bis wann darf ich parken?"],
        ),
        (
            "Où est la mairie et combien coûte un passeport ?",
            ["Où est la mairie", "combien coûte un passeport ?"],
        ),
        (
            "¿Dónde está la biblioteca? ¿Y cuánto cuesta un pasaporte?",
            ["¿Dónde está la biblioteca?", "cuánto cuesta un pasaporte?"],
        ),
        (
            "Dov'è il museo e quanto costa un passaporto?",
            ["Dov'è il museo", "quanto costa un passaporto?"],
        ),
        (
            "Onde fica o museu e quanto custa um passaporte?",
            ["Onde fica o museu", "quanto custa um passaporte?"],
        ),
        (
            "Waar is het museum en hoeveel kost een paspoort?",
            ["Waar is het museum", "hoeveel kost een paspoort?"],
        ),
        (
            "Gdzie jest muzeum i ile kosztuje paszport?",
            ["Gdzie jest muzeum", "ile kosztuje paszport?"],
        ),
        ("Где музей и сколько стоит паспорт?", ["Где музей", "сколько стоит паспорт?"]),
        ("أين المتحف وكم يكلف الجواز؟", ["أين المتحف", "كم يكلف الجواز؟"]),
        ("图书馆几点开门？停车在哪里？", ["图书馆几点开门？", "停车在哪里？"]),
        ("图书馆几点开门，停车在哪里？", ["图书馆几点开门", "停车在哪里？"]),
        (
            "図書館は何時ですか？駐車場はどこですか？",
            ["図書館は何時ですか？", "駐車場はどこですか？"],
        ),
    ],
)
def test_several(text: str, parts: list[str]) -> None:
    """Each question stands alone, without the conjunction before it."""
    assert questions_in(text)[:2] == parts


@pytest.mark.parametrize(
    "text",
    [
        "When does the library open?",
        "where and when does the market open?",
        "Wo und wann ist der Markt?",
        "How do I register and vote?",
        "When does the library open? And on Sundays?",
        "When does the pool open? Public holidays?",
        "When does it open and when close?",
        "How much is a passport and how long does it take?",
        "Was kostet ein Reisepass und wie lange dauert das?",
        "I lost my passport. What does a new one cost?",
        "When does the library open? I live in Northtown.",
        "Where can I rent a co-working desk?",
        "What is a passport and how do I get one?",
        "When is the pool open?\nThanks, Ann",
        "I lost my passport;\nwhat do I do?",
        "Really? When?",
        "图书馆几点开门？它在哪里？",
        "a? b? c? d?",
        "When is A? When is B? When is C? When is D?",
        "",
        "?? ??",
        "and where and how and what and",
        "When is the fair? " + "," * 4000 + " And where is it",
    ],
)
def test_one(text: str) -> None:
    """Fragments, and what refers to the question before, are no questions of their own."""
    assert questions_in(text) == []


def test_hardly_any_question_about_the_town_is_two() -> None:
    """Of all that tests and demo ask, three look like it."""
    asked = [each["question"] for each in json.loads((ROOT / "tests/questions.json").read_text())]
    asked += [each["question"] for each in json.loads((ROOT / "examples/town-qa.json").read_text())]
    assert sum(bool(questions_in(each)) for each in asked) <= 3


@pytest.mark.parametrize(
    "text",
    [
        "What does a passport cost?",
        "Where can I park? And what does it cost?",
        "¿Cuánto cuesta un pasaporte?",
        "Wo kann ich parken",
        "停车在哪里？",
    ],
)
def test_questions_that_need_nothing_from_before(text: str) -> None:
    """They begin with a question word, and refer to nothing."""
    assert is_whole(text)


@pytest.mark.parametrize(
    "text",
    [
        "And on Sundays?",
        "and what does a passport cost?",
        "How much is it?",
        "Und wie lange dauert das?",
        "for children?",
        "library card",
        "Why?",
        "周末呢？",
        "它在哪里？",
        "",
    ],
)
def test_questions_that_follow_others(text: str) -> None:
    """Fragments, conjunctions, and what refers to something."""
    assert not is_whole(text)


@pytest.mark.parametrize("marks", ["?", "؟!", "?!"])
def test_a_crowd_of_question_marks_costs_nothing(marks: str) -> None:
    """The square of their number would take minutes, in which nobody else is answered."""
    assert not is_whole(f"a{marks * 200_000}b")


def test_several_marks_end_one_question() -> None:
    """Whatever their number."""
    assert questions_in("Where can I park??!? What does a passport cost?") == [
        *("Where can I park?", "What does a passport cost?")
    ]
    assert len(questions_in(f"Where can I park{'?' * 40} What does a passport cost?")) == 2


def found(*passages: str, score: float = 1.0) -> Retrieved:
    """Passages by their ids, each as good as the first or, named "id:score", as it says."""
    made = []
    for each in passages:
        id, _, own = each.partition(":")
        made.append(Passage(id, f"text {id}", id, "s", float(own or score)))
    return Retrieved(made)


@pytest.mark.parametrize(
    ("whole", "parts", "apart"),
    [
        (found("a"), [found("a", "c"), found("b")], True),
        (found(), [found("a"), found("b")], True),
        (found("a", "b"), [found("a", "b:0.4"), found("b", "a:0.4")], True),
        (found("a"), [found("a"), found()], False),
        (found("a"), [found("a"), found("a", "b")], False),
        (found("a"), [found("a"), found("b", "a:0.9")], False),
        (found("a"), [], False),
    ],
)
def test_what_is_found_decides(whole: Retrieved, parts: list[Retrieved], apart: bool) -> None:
    """Both find something of their own, which one passage does not say for both."""
    assert answers_apart(whole, parts) is apart


def test_the_same_text_twice_is_one_answer() -> None:
    """It may stand in two files."""
    one = Passage("a", "Open at nine.", "A", "s", 1.0)
    other = Passage("b", "open at  nine.", "B", "s", 1.0)
    assert not answers_apart(Retrieved([]), [Retrieved([one]), Retrieved([other])])


def test_places_are_shared() -> None:
    """In turn, each passage once; every question has one, however few places there are."""

    def ids(*lists: Retrieved, most: int) -> str:
        return "".join(each.id for each in interleaved([one.passages for one in lists], most))

    assert ids(found("a", "b", "c", "d"), found("x", "b", "y"), most=5) == "axbcy"
    assert ids(found("a", "b", "c"), found("x"), most=3) == "axb"
    assert ids(found("a", "b"), found("x", "y"), most=1) == "ax"
    assert ids(found("a", "b", "c"), most=2) == "ab"
