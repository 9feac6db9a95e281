"""The questions that hardly any collection answers."""

from orbit_server.retrieval.evaluation import read_questions
from orbit_server.retrieval.out_of_domain import out_of_domain_questions
from orbit_server.retrieval.words.languages import LANGUAGES, detected

from ..support.program import ROOT

COMMON = ("ar", "de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "tr", "zh")


def test_english_ones() -> None:
    """A hundred and seventy ship with the program, none of them one of the tests' own."""
    foreign = out_of_domain_questions()
    assert 160 <= len(set(foreign)) == len(foreign) <= 180
    tests = read_questions(ROOT / "tests" / "questions.json")
    assert set(foreign).isdisjoint(each.question for each in tests)


def test_every_common_language_has_enough() -> None:
    """None twice, each in the language that it is said to be in."""
    for language in COMMON:
        foreign = out_of_domain_questions([language])
        assert 30 <= len(set(foreign)) == len(foreign)
        assert all(question == question.strip() != "" for question in foreign)
        assert language in LANGUAGES
        assert detected([" ".join(foreign)]) == (language,)


def test_several_languages() -> None:
    """A collection in two languages is asked in both, one in another in none."""
    both = out_of_domain_questions(["de", "fr"])
    assert both == out_of_domain_questions(["de"]) + out_of_domain_questions(["fr"])
    assert out_of_domain_questions(["tlh"]) == []
