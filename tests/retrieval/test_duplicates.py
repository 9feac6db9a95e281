"""``Distinct``: passages that say the same count once; those that differ in what matters do not."""

import pytest

from orbit_server.retrieval.duplicates import Distinct

LONG = (
    "Books may be borrowed for four weeks and renewed twice, at the desk, by telephone or on the"
    " web site, unless another reader waits for them; films and games may be borrowed for a week."
)


def new(first: str, second: str, *, question: str = "What is it?") -> bool:
    """Return whether ``second`` is new after ``first``, in both orders."""
    told = []
    for one, other in ((first, second), (second, first)):
        distinct = Distinct(question)
        assert distinct.add(one)
        told.append(distinct.add(other))
    assert told[0] == told[1]
    return told[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The pool is open at ten.", "The pool is open at ten."),
        ("The pool is open at ten.", "  THE POOL\nis open - at ten!  "),
        ("The library is open on Saturdays.", "the library is open on saturday"),
        ("Die Gebühr beträgt 5 €.", "Die Gebühr beträgt 5€"),
        ("Please return the book in time.", "Please return the books in time."),
        (LONG, LONG.replace("reader waits", "readers waits").replace("weeks and", "weeks, and")),
        (LONG, LONG.replace(", at the desk,", " at the desk, also")),
        (LONG, LONG.replace("by telephone", "by the telephone")),
        ("The café is open.", "The cafe\u0301 is open."),
        ("游泳池周一开放。", "游泳池周一开放"),
    ],
)
def test_the_same_in_other_clothes(first: str, second: str) -> None:
    """White space, case, signs, an ending; a word that says nothing."""
    assert not new(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A ticket costs 5 euros.", "A ticket costs 6 euros."),
        (LONG, LONG.replace("four", "three")),
        (LONG + " The fee is 3.14.", LONG + " The fee is 314."),
        (LONG + " The fee is 5 €.", LONG + " The fee is 5 $."),
        (LONG + " Ask for PX-4711.", LONG + " Ask for PX-4712."),
        (LONG + " Ask for form KB.", LONG + " Ask for form KD."),
        (LONG, LONG.replace("may be borrowed for four", "may not be borrowed for four")),
        (LONG + " You can pay by card.", LONG + " You can't pay by card."),
        (LONG + " Ask in Northtown.", LONG + " Ask in Southtown."),
        ("Adults 5, children 3 euros.", "Adults 3, children 5 euros."),
        ("Adults 5, children 3 euros.", "Children 5, adults 3 euros."),
        ("The pool is open on Mondays.", "The pool is closed on Mondays."),
        ("The pool is open on Mondays.", "The pool is open on Sundays."),
        ("It is legal here.", "It is illegal here."),
        ("Parken ist erlaubt.", "Parken ist nicht erlaubt."),
        ("游泳池周一开放。", "游泳池周二开放。"),
        ("Dogs bite men here.", "Men bite dogs here."),
        ("The library.", "The museum."),
        ("Paul Weber leads the office.", "Paula Weber leads the office."),
        ("Schmidt repairs bicycles.", "Schmitt repairs bicycles."),
        ("The freezer runs at 5 degrees.", "The freezer runs at -5 degrees."),
        *(
            (f"{LONG} {one}", f"{LONG} {other}")
            for one, other in [
                ("Dogs are allowed.", "Dogs are forbidden."),
                ("You must pay.", "You may pay."),
                ("Come before noon.", "Come after noon."),
                ("This is the minimum fee.", "This is the maximum fee."),
                ("It is free for adults.", "It is free for children."),
                ("The work is paid.", "The work is unpaid."),
                ("It is closed on monday.", "It is closed on tuesday."),
                ("The fee is twenty euros.", "The fee is thirty euros."),
                ("Ask for form a.", "Ask for form b."),
                ("Ask anna meier.", "Ask anna maier."),
                ("Nur mit Termin.", "Nur nach Termin."),
            ]
        ),
    ],
)
def test_what_differs_in_what_matters(first: str, second: str) -> None:
    """A number, a code, a negation, a name, an opposite, who pays what; any word that tells."""
    assert new(first, second)


def test_another_word_is_another_fact() -> None:
    """In a text of any length, and whether it was asked for or not."""
    for what in ("a winter", "a week each", "no week", "weeks at most"):
        other = LONG.replace("a week", what)
        assert new(LONG, other)
        assert new(LONG, other, question="May I borrow games in winter, or for a week?")


def test_titles_that_are_asked_for() -> None:
    """The same words below two headings are the same, unless both are asked about."""
    for question, told in (("When is it open?", False), ("When are pool and library open?", True)):
        distinct = Distinct(question)
        assert distinct.add("Open at nine.", "Library")
        assert distinct.add("Open at nine.", "Pool") is told


def test_every_text_is_compared_with_all_before() -> None:
    """Not only with its neighbour."""
    distinct = Distinct("?")
    assert [distinct.add(text) for text in ("a b c", "d e f", "A b, c.", "g h i")] == [
        True,
        True,
        False,
        True,
    ]
