"""Words become terms: which ways of writing and which forms are the same."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.retrieval.words.analyzer import Analyzer, analyzer
from orbit_server.retrieval.words.collection_language import languages_of

CODES = ["PX4711", "px4711", "PX-4711", "PX 4711", "PX/4711", "PX.4711", "PX\u20114711"]

# By language: forms of one word, by "|" parted from words that must not be taken for it.
SAME = {
    "ar": [
        "كتاب الكتاب والكتاب بالكتاب | مكتبة",
        "مكتبة المكتبة للمكتبة مكتبات | كتاب",
        "كِتَاب كتـاب",
    ],
    "da": ["bibliotek biblioteket biblioteker | bog", "åbningstid åbningstider åbningstiderne"],
    "de": [
        "Ausweis Ausweise Ausweisen | Ausland",
        "Öffnungszeit Öffnungszeiten oeffnungszeiten Oeffnungszeiten ÖFFNUNGSZEITEN | Öffnung",
        "Buch Bücher Büchern Buecher | Bus",
        "Gebühr Gebühren Gebuehren | Geburt",
        "Schwimmkurs Schwimmkurse Schwimmkursen Schwimm-Kurs | Schwimmbad",
        "Straße Strasse Straßen STRASSEN | Strand",
        "Bus Busse Bussen | Buch",
        "Kita Kitas | Kino Kinos",
    ],
    "en": [
        "bus buses | bush",
        "child children | chill",
        "woman women | wombat",
        "library libraries Library's | liberty",
        "open opens opening opened | operate",
        "swim swims swimming | swan",
        "café cafe CAFÉ | cave",
        "résumé resume resumes",
        "e-mail email E-Mail | mailbox",
        "U.S.A. USA | us",
    ],
    "es": ["biblioteca bibliotecas | bíblico", "información informacion informaciones | forma"],
    "fi": ["kirjasto kirjaston kirjastossa kirjastot | kirja"],
    "fr": ["école Ecole écoles l'école | écologie", "bibliothèque bibliotheque bibliothèques"],
    "it": ["orario orari | oro", "biblioteca biblioteche | bibita", "acqua dell'acqua"],
    "nl": ["paspoort paspoorten | pas", "bibliotheek bibliotheken"],
    "no": ["bibliotek biblioteket bibliotekene | bok", "åpningstid åpningstider"],
    "pt": ["biblioteca bibliotecas | bíblia", "horário horários | hora"],
    "ru": ["библиотека библиотеки библиотекой БИБЛИОТЕКА | библия", "ребёнок ребенок | работа"],
    "sv": ["bibliotek biblioteket biblioteken | bok", "öppettid öppettider öppettiderna"],
    "tr": ["kütüphane kütüphaneler kütüphanenin | kitap", "kitap kitaplar"],
}


def shared(one: str, other: str, *languages: str) -> set[str]:
    """Return the terms that two texts share."""
    terms = analyzer(languages).terms
    return set(terms(one)) & set(terms(other))


@pytest.mark.parametrize(
    ("language", "words"), [(code, words) for code, all in SAME.items() for words in all]
)
def test_forms_of_a_word(language: str, words: str) -> None:
    """In each language the forms of a word are one term, and other words are none of them."""
    same, _, others = words.partition(" | ")
    first, *forms = same.split()
    for form in forms:
        assert shared(first, form, language), form
        assert shared(first, form, language, "en" if language == "de" else "de"), form
    for other in others.split():
        assert not shared(first, other, language), other


@pytest.mark.parametrize("one", CODES)
@pytest.mark.parametrize("other", CODES)
def test_codes(one: str, other: str) -> None:
    """A code is found whether it is written with a hyphen, a slash, a dot, a blank or nothing."""
    assert shared(one, f"Order {other}, please.")
    assert not shared(one, "Order PY-4712, please.")
    assert not shared("4711", "47 and 11")


def test_a_code_as_a_whole_is_rarer_than_its_parts() -> None:
    """What has the parts in other places shares less than what has the code."""
    assert shared("A4", "Print it on A-4.") == {"a", "4", "a4"}
    assert shared("A4", "a table for 4") == {"a", "4"}
    assert "px4711" in shared("PX-4711/B", "px4711")
    assert shared("PX4711B", "PX-4711/B") >= {"px4711", "4711b", "px4711b"}
    assert shared("12-345-67", "1234567") == {"1234567"}
    assert shared("3.000 Euro", "3000 Euro") == {"3000", "euro"}


@pytest.mark.parametrize(
    "text",
    [
        "15.01.2024",
        "2024-01-15",
        "+49 (0)711/123-456",
        "c1d4c09b6bfd58bb773ec741b64e",
        "123e4567-e89b-12d3-a456-426614174000",
        "https://example.com/2024/01/15/a1.html?x=1",
        "10:30-12:45",
    ],
)
def test_dates_and_numbers_stay_few_terms(text: str) -> None:
    """Dates, telephone numbers, hashes and addresses are at most their parts and one term more."""
    assert len(analyzer(()).terms(text)) <= len(re.findall(r"\w+", text)) + 1


def test_chinese_and_japanese_are_pairs_across_lines() -> None:
    """A line that ends inside of a sentence parts no pair; in Korean it parts words."""
    terms = analyzer(("zh",)).terms
    assert terms("图书馆\n  开放") == terms("图书馆开放") == ["图书", "书馆", "馆开", "开放"]
    assert terms("図書\u3000\r\nカード") == terms("図書カード")
    assert terms("도서관\n시간") == ["도서", "서관", "시간"]
    assert terms("馆 A4 馆") == ["馆", "a", "4", "a4", "馆"]
    assert terms("Library\n馆") == ["librari", "馆"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("ﬁre", "fire"), ("３０００", "3000"), ("li\u00adbra\u200bry", "library"), ("カフェ", "ｶﾌｪ")],
)
def test_ways_of_writing(one: str, other: str) -> None:
    """Ligatures, widths and invisible characters make no difference."""
    assert analyzer(()).terms(one) == analyzer(()).terms(other)


def test_names() -> None:
    """The name tells which stemmers are used: only then does an index have to be written anew."""
    names = [analyzer(each).name for each in [(), ("en",), ("zh",), ("xx",), ("de", "en"), ("ru",)]]
    assert names == ["2:en", "2:en", "2:en", "2:en", "2:de,en", "2:en,ru"]
    assert analyzer(("en", "de")) is analyzer(("de", "en"))


def test_languages_of_a_collection() -> None:
    """Metadata may come from anywhere: only known codes count."""
    assert languages_of({"orbit_language": "en,de"}) == ("de", "en")
    assert languages_of({"orbit_language": "tlh,../../etc"}) == ()
    assert languages_of({"orbit_language": 7}) == ()
    assert languages_of({}) == ()


@given(st.text(), st.sampled_from([(), ("de",), ("ar", "fr"), ("zh",)]))
def test_any_text_has_terms_without_blanks(text: str, languages: tuple[str, ...]) -> None:
    """Terms are never empty, hold no blank, and are the same twice."""
    terms = analyzer(languages).terms(text)
    assert all(term and not any(map(str.isspace, term)) for term in terms)
    assert analyzer(languages).terms(text) == terms


def test_long_words_are_short_terms_and_not_kept() -> None:
    """Words as long as a message leave nothing behind, in the process or in the index."""
    fresh = Analyzer(("de",))
    fresh.terms("abcdefghij" * 400 + " " + "-".join(["a1"] * 400))
    assert fresh._kept.cache_info().currsize == 0
    assert max(map(len, fresh.terms("abcdefghij" * 400))) <= 100


def test_threads_share_an_analyzer() -> None:
    """Terms made by many threads at once are the right ones."""
    texts = [f"Schwimmkurse{i} und Öffnungszeiten swimming running {i}" for i in range(2000)]
    expected = [*map(Analyzer(("de", "en")).terms, texts)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(Analyzer(("de", "en")).terms, texts)) == expected
