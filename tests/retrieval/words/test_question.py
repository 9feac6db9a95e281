"""What a question looks for, and how much of it a passage has."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.retrieval.words.analyzer import Analyzer, analyzer
from orbit_server.retrieval.words.question import (
    QuestionTerms,
    plain_terms,
    question_terms,
    telling,
)

from ...support.dictionary import MemoryDictionary

TEXTS = [
    "The library is open on Saturdays.",
    "The pool is open in summer, and its kettle is a PX-4711/B.",
    "Send an e-mail to the town hall.",
    "Parking costs two euros.",
]
ENGLISH = analyzer(("en",))


def asked(text: str, texts: list[str] = TEXTS, terms: Analyzer = ENGLISH) -> QuestionTerms:
    """Return what ``text`` looks for in ``texts``."""
    return question_terms(text, MemoryDictionary(texts, terms), terms)


def coverage(question: str, text: str, texts: list[str] = TEXTS) -> float:
    """Return how much of ``question`` a text has."""
    return asked(question, texts).coverage(ENGLISH.terms(text))


def test_words_tell_as_much_as_they_are_rare() -> None:
    """idf is that of BM25; a word that no passage has tells most."""
    found = asked("open library museum")
    assert found.idf["open"] == pytest.approx(math.log(1 + 2.5 / 2.5))
    assert found.idf["librari"] == pytest.approx(math.log(1 + 3.5 / 1.5))
    assert found.idf["museum"] == pytest.approx(math.log(1 + 4.5 / 0.5))
    assert found.weights() == {"open": 1, "librari": 1, "museum": 1}
    assert found.coverage(ENGLISH.terms("An open library")) == pytest.approx(
        (found.idf["open"] + found.idf["librari"]) / sum(found.idf.values())
    )


def test_stop_words_count_half_or_not_at_all() -> None:
    """Not at all where no passage has them; alone they count against each other."""
    assert asked("is the library open").weights() == {
        "is": 0.5,
        "the": 0.5,
        "librari": 1,
        "open": 1,
    }
    assert asked("would you like whom").weights() == {}
    assert asked("would you like whom").coverage(["like"]) == 0
    assert asked("is the").coverage(["is", "the"]) == 1


def test_misspelt_stop_words_do_not_count() -> None:
    """Nobody means a word of its own by "teh", and no word of the index is near enough."""
    plain = asked("when is the libary opne").weights()
    assert asked("wehn is teh libary opne").weights() == {
        term: weight for term, weight in plain.items() if term != "the"
    }
    assert "dog" in asked("the dog in the library").weights()  # a word that no passage has


@pytest.mark.parametrize("greeting", ["hi", "hello", "thx", "whats"])
def test_greetings_do_not_count(greeting: str) -> None:
    """No passage has them: a question would seem to be about something else."""
    text = "parking costs"
    assert asked(f"{greeting} {text}").weights() == asked(text).weights()


def test_forms_of_a_word_count_once() -> None:
    """Saying it twice makes it no more important."""
    assert asked("opens opening open museum") == asked("open museum")


@pytest.mark.parametrize("code", ["PX4711", "PX-4711", "px 4711", "PX4711B", "px-4711/b"])
def test_a_code_is_covered_however_it_is_written(code: str) -> None:
    """What gives it a term of its own in the index is worth as much as its parts."""
    assert coverage(code, TEXTS[1]) == pytest.approx(1)
    assert coverage(f"kettle {code}", "kettle") < 0.7
    assert coverage("kettle PX4712", TEXTS[1]) < 1


def test_a_hyphen_is_no_difference() -> None:
    """email finds e-mail, and the other way round."""
    assert coverage("email", TEXTS[2]) == 1
    assert coverage("E-Mail", "email us", ["email us", "call us"]) == 1


def test_misspelt_words_find_what_is_meant() -> None:
    """They count a little less, and one that is spelt right is never taken for another."""
    found = asked("Is the libary opne?")
    assert found.weights() == {"is": 0.5, "the": 0.5, "librari": 0.8, "open": 0.8}
    assert coverage("libary opne", TEXTS[0]) == pytest.approx(0.8)
    assert coverage("library open", TEXTS[0]) == pytest.approx(1)
    assert asked("open", ["opens", "oven", "oven", "oven"]).weights() == {"open": 1}


def test_a_stop_word_is_meant_only_by_what_is_written_like_it() -> None:
    """Else a name would be found in every passage: DECnet as "den"."""
    german, texts = analyzer(("de",)), ["Was den Hund betrifft, ist klar.", "Das ist ein Haus."]
    found = question_terms("Was ist DECnet?", MemoryDictionary(texts, german), german)
    assert found.coverage(german.terms(texts[0])) < 0.4
    assert coverage("whta", "what", ["what is open", "who is here"]) == pytest.approx(1)


def test_what_a_collection_knows_at_all() -> None:
    """A name that no passage has says that a question is about something else; a slip says less."""
    assert asked("Is the library open on Saturdays?").known == pytest.approx(1)
    assert asked("Is the libary open on Saturdays?").known > 0.9
    assert asked("Is the zoo open on Saturdays?").known < 0.7
    assert asked("zoo").known == 0
    assert asked("PX4711").known == pytest.approx(1)


def test_an_unknown_word_is_missing() -> None:
    """Nothing is found for it, and what lacks it covers less."""
    assert coverage("library museum", TEXTS[0]) < 0.5


def test_hostile_questions_cost_little() -> None:
    """Thousands of unknown words: most are not even looked up, few are corrected."""
    words = " ".join(
        f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}qxz{'y' * (n % 9)}" for n in range(9999)
    )
    index = MemoryDictionary(TEXTS, ENGLISH)
    found = question_terms(words, index, ENGLISH)
    assert len(found.words) <= 512
    assert index.asked < 10_000


def test_without_an_index_all_words_tell_the_same() -> None:
    """Half of two words is half, and stop words count half as much."""
    found = plain_terms("the library", ENGLISH)
    assert found.coverage(["the"]) == pytest.approx(1 / 3)
    found = plain_terms("library museum, libraries", ENGLISH)
    assert found.coverage(ENGLISH.terms("the library")) == 0.5


@given(st.text(), st.text())
def test_coverage_is_a_share(question: str, text: str) -> None:
    """Of any question, of any text; a question covers itself unless it has nothing to say."""
    found = asked(question, [text])
    terms = ENGLISH.terms(text)
    assert 0 <= found.coverage(terms) <= 1 + 1e-9
    assert all(0 < weight <= 1 for weight in found.weights().values())
    assert asked(text, [text]).coverage(terms) == pytest.approx(1 if terms else 0)


@pytest.mark.parametrize(
    ("frequencies", "passages", "expected"),
    [
        ({"pool": 3, "the": 60, "whale": 0}, 100, ["pool"]),
        ({"is": 90, "the": 95, "whale": 0}, 100, ["is", "the"]),
        ({"whale": 0}, 100, []),
        ({"pool": 10, "sauna": 20, "how": 12_000, "with": 20_000}, 64_000, "all"),
        (
            {"pool": 10, "sauna": 20, "how": 30_000, "with": 40_000},
            100_000,
            ["pool", "sauna", "how"],
        ),
        ({"pool": 10, "sauna": 20, "how": 400_000, "with": 400_001}, 10**6, ["pool", "sauna"]),
        ({"pool": 30_000, "sauna": 40_000, "how": 45_000}, 100_000, "all"),
        ({"pool": 40_000, "sauna": 40_000}, 100_000, "all"),
        ({"how": 90_000, "with": 90_000}, 100_000, "all"),
    ],
)
def test_what_is_looked_for(
    frequencies: dict[str, int], passages: int, expected: list[str] | str
) -> None:
    """Frequent words are left out, the most frequent first, where little is lost with them."""
    weights = {"how": 0.5, "with": 0.5, "is": 0.5, "the": 0.5, "pool": 1, "sauna": 1, "whale": 1}
    everything = list(frequencies) if expected == "all" else expected
    assert telling(frequencies, weights, passages) == everything


def test_the_rarest_are_looked_for() -> None:
    """Of hundreds of words 32 must do."""
    frequencies = {f"word{number}": 100 - number for number in range(90)}
    found = telling(frequencies, dict.fromkeys(frequencies, 1.0), 1000)
    assert found == [f"word{number}" for number in range(89, 57, -1)]


def test_a_compound_that_no_passage_has_is_found_by_its_parts() -> None:
    """Each tells a little less than it would alone; a question in English has none."""
    texts = ["Verfahren der Gesetzgebung", "Die Bücherei", "Das Schwimmbad"]
    german = analyzer(("de",))
    found = asked("Gesetzgebungsverfahren", texts, german)
    assert found.weights() == {"gesetzgeb": 0.8, "verfahr": 0.8}
    assert found.coverage(german.terms(texts[0])) == pytest.approx(0.8)
    assert asked("Gesetzgebungsverfahren", texts).coverage(ENGLISH.terms(texts[0])) == 0
