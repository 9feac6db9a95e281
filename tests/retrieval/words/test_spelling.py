"""Misspelt words become words of the index."""

import pytest

from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.spelling import compound, correctable, corrections
from orbit_server.retrieval.words.tokenizer import folded

from ...support.dictionary import MemoryDictionary

ENGLISH = [
    "The library is open on Saturdays; opening hours of libraries.",
    "Where may I park a bicycle? Bicycles and parking.",
    "A resident permit, the permission of the council, and the receipt.",
    "They receive a passport, and swimming lessons at the pool.",
]
GERMAN = [
    "Öffnungszeiten der Bücherei",
    "Der Personalausweis und die Gebühren",
    "Straße, Müllabfuhr",
]


def corrected(word: str, texts: list[str], language: str) -> list[str]:
    """Return the terms that are meant by ``word``."""
    terms = analyzer((language,))
    found = corrections(word, MemoryDictionary(texts, terms), terms)
    return found.terms if found else []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("libary", "library"),
        ("libarys", "library"),
        ("librarry", "library"),
        ("bycicle", "bicycle"),
        ("opne", "open"),
        ("opning", "open"),
        ("parkng", "park"),
        ("pasport", "passport"),
        ("pasports", "passport"),
        ("recieve", "receive"),
        ("swiming", "swim"),
        ("permisssion", "permission"),
        ("pernission", "permission"),
        ("saterday", "saturday"),
    ],
)
def test_english_words(word: str, meant: str) -> None:
    """An edit anywhere, also in the ending that the stem has not; two edits in long words."""
    assert corrected(word, ENGLISH, "en")[0] == analyzer(("en",)).stem(meant)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("öfnungszeiten", "öffnungszeiten"),
        ("personalauswies", "personalausweis"),
        ("gebürhen", "gebühren"),
        ("bücheri", "bücherei"),
        ("strase", "strasse"),
        ("müllabfur", "müllabfuhr"),
    ],
)
def test_german_words(word: str, meant: str) -> None:
    """With umlauts, and in long compounds."""
    assert corrected(word, GERMAN, "de")[0] == analyzer(("de",)).stem(meant)


@pytest.mark.parametrize("word", ["museum", "piano", "cat", "river", "bibliothek", "abcdefghijklm"])
def test_other_words_stay(word: str) -> None:
    """What is no near neighbour of any word is not taken for one."""
    assert corrected(word, ENGLISH, "en") == []


def test_two_edits_count_for_less() -> None:
    """The nearest words win, and none counts as much as one that is spelt right."""
    terms = analyzer(("en",))
    index = MemoryDictionary(ENGLISH, terms)
    one = corrections("libary", index, terms)
    two = corrections("pasporz", index, terms)
    assert one and two and 1 > one.weight > two.weight > 0
    swapped = corrections("bycicle", index, terms)
    assert swapped and swapped.weight == one.weight


def test_the_first_letter_and_frequent_words_come_first() -> None:
    """Few err in the first letter; in a short word, another letter makes another word."""
    assert corrected("coaat", ["boat", "coat", "coat", "goat"], "en") == ["coat"]
    assert corrected("marter", ["matter", "master", "master"], "en") == ["master", "matter"]
    assert corrected("cost", ["most", "post", "cast"], "en") == []
    assert corrected("pernit", ["permit", "hermit"], "en") == ["permit"]
    assert (
        len(corrected("cooost", ["coost", "cooost" + "e", "coosta", "cooot", "ooost"], "en")) <= 3
    )


@pytest.mark.parametrize("word", ["opn", "px4711", "图书", "ab-cd", "a" * 25, "кто", ""])
def test_words_that_are_never_corrected(word: str) -> None:
    """Short words, codes, pairs of characters and endless words."""
    assert not correctable(word)


def test_stop_words_are_meant_only_where_nothing_else_is() -> None:
    """``opne`` is *open*, not *one*."""
    assert corrected("opne", ["open", "one", "one"], "en") == ["open"]
    assert corrected("waht", ["what", "open"], "en") == ["what"]


def test_a_word_costs_at_most_so_many_looks() -> None:
    """Of many letters of two scripts: some hundred words, in one look."""
    terms = analyzer(("de", "ru"))
    index = MemoryDictionary(GERMAN, terms)
    corrections("q" * 24, index, terms)
    assert index.asked < 600


@pytest.mark.parametrize(
    ("word", "texts", "language", "parts"),
    [
        ("büchereigebühren", GERMAN, "de", ["bücherei", "gebühren"]),
        ("ausweisgebühr", ["Ausweise", "Gebühren"], "de", ["ausweis", "gebühr"]),
        ("schwimmbadstrasse", ["Das Schwimmbad", "Straße"], "de", ["schwimmbad", "straße"]),
        (
            "gesetzgebungsverfahren",
            ["Gesetzgebung", "Verfahren"],
            "de",
            ["gesetzgebung", "verfahren"],
        ),
        ("rijbewijsaanvraag", ["Rijbewijs", "de aanvraag"], "nl", ["rijbewijs", "aanvraag"]),
    ],
)
def test_a_compound_is_its_parts(
    word: str, texts: list[str], language: str, parts: list[str]
) -> None:
    """Also with a letter between them, and whatever their endings are."""
    terms = analyzer((language,))
    found = compound(word, MemoryDictionary(texts, terms), terms)
    assert found is not None
    assert found.terms == [terms.stem(folded(part)) for part in parts]
    assert found.weight < 1


@pytest.mark.parametrize(
    ("word", "texts", "language"),
    [
        ("büchereihaus", GERMAN, "de"),  # no passage has its second part
        ("untergrund", ["Der Grund, unter dem er liegt"], "de"),  # unter is a stop word
        ("busplan", ["Der Bus fährt nach Plan"], "de"),  # too short to be told
        ("bookshop", ["A book in the shop"], "en"),  # no language of compounds
        ("passportoffice", ["passport office"], "en"),
    ],
)
def test_words_that_are_no_compounds(word: str, texts: list[str], language: str) -> None:
    """Both parts are words of the index, of four letters or more; stop words tell nothing."""
    terms = analyzer((language,))
    assert compound(word, MemoryDictionary(texts, terms), terms) is None
