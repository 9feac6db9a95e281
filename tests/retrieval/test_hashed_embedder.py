"""Vectors of hashed words: the same everywhere, near for related texts."""

import hashlib
import math
import os
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.retrieval import hashed_embedder
from orbit_server.retrieval.embedders import Embedder
from orbit_server.retrieval.hashed_embedder import (
    DIMENSION,
    LexicalEmbedder,
    hashed_words,
    telling,
)

pytestmark = pytest.mark.anyio

PINNED = "ac7182f1"


def cosine(one: str, other: str) -> float:
    """Return how near two texts are to the lexical embedder."""
    return sum(a * b for a, b in zip(hashed_words(one), hashed_words(other), strict=True))


@given(st.text())
def test_every_text_has_a_vector(text: str) -> None:
    """Any text at all gives 1,024 finite numbers of length one, twice the same."""
    vector = hashed_words(text)
    assert len(vector) == DIMENSION
    assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-9)
    assert hashed_words(text) == vector


@pytest.mark.parametrize("text", ["", "   ", "?!", "🙂", "\ud800", "\x00", "What is it to you?"])
def test_texts_without_a_telling_word_are_valid(text: str) -> None:
    """Empty texts, signs and mere stop words have a direction too."""
    assert math.isclose(math.hypot(*hashed_words(text)), 1, rel_tol=1e-9)


def test_stop_words_count_only_where_nothing_else_is() -> None:
    """Stop words change nothing beside other words, and tell texts apart without."""
    assert hashed_words("Where is the library, please?") == hashed_words("library")
    assert cosine("what is it", "who are you") < 0.5
    assert math.isclose(cosine("what is it", "It is what?"), 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LIBRARY", "library"),
        ("Café", "cafe"),
        ("Cafe\u0301", "café"),
        ("Straße", "STRASSE"),
        ("ﬁre", "fire"),
        ("３０００", "3000"),
        ("li\u00adbra\u200bry", "library"),
        ("library/museum", "museum - library"),
        ("カフェ", "ｶﾌｪ"),
    ],
)
def test_writing_variants_are_the_same_word(one: str, other: str) -> None:
    """Case, accents, ligatures, widths and invisible characters make no difference."""
    assert math.isclose(cosine(one, other), 1)


@pytest.mark.parametrize(
    ("question", "related", "unrelated"),
    [
        ("opening hours of the libraries", "When does the library open?", "What does water cost?"),
        ("Wie teuer ist ein Reisepaß?", "Reisepass: Kosten und Dauer", "Hundesteuer"),
        ("Abfallgebühren", "Gebühr für Abfall", "Schwimmbad"),
        ("図書館の開館時間", "図書館は何時に開きますか", "水道料金"),
        ("图书馆几点开门", "图书馆开放时间", "游泳池票价"),
        ("도서관 개관 시간", "도서관은 언제 여나요", "수영장 요금"),
        ("पुस्तकालय कब खुलता है", "पुस्तकालय का समय", "पानी का बिल"),
    ],
)
def test_related_texts_are_nearer(question: str, related: str, unrelated: str) -> None:
    """Shared words, stems, compounds and bigrams bring texts together in many languages."""
    assert cosine(question, related) > 0.2
    assert cosine(question, related) > cosine(question, unrelated) + 0.1


def digest() -> str:
    """Return a fingerprint of vectors that touch every branch, rounded to be portable."""
    text = "Opening hours of the Café: 図書館は 8:00–12:00; hours may vary. И ещё раз."
    numbers = [round(value, 6) + 0.0 for value in hashed_words(text)]
    return hashlib.sha256(struct.pack(f"<{DIMENSION}d", *numbers)).hexdigest()[:8]


def test_vectors_are_the_same_in_every_process() -> None:
    """Another process with another hash seed computes the very same vector."""
    printed = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import digest; print(digest())"],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        text=True,
    )
    assert printed.stdout.strip() == digest()


def test_vectors_are_those_of_hashed_words_1() -> None:
    """Stored collections stay valid: whoever changes the vectors must change the model's name."""
    assert LexicalEmbedder().model == "hashed-words-1"
    assert digest() == PINNED


def test_threads_do_not_disturb_each_other() -> None:
    """Vectors computed by many threads at once, with nothing cached, are the right ones."""
    texts = [f"swimming pools number {i} opening regularly, closing rarely" for i in range(40)]
    expected = [hashed_words(text) for text in texts]
    hashed_embedder._features.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(hashed_words, texts)) == expected


def test_long_words_are_not_kept_in_memory() -> None:
    """Words as long as a message leave nothing behind in the process."""
    hashed_embedder._features.cache_clear()
    word = "abcdefghij" * 400
    assert cosine(word, word + "s") > 0.9
    assert hashed_embedder._features.cache_info().currsize == 0


async def test_lexical_vectors_of_much_text_are_made_in_threads() -> None:
    """The event loop's thread computes the vector of a short question only; the order is kept."""
    threads: set[int] = set()

    def watched(text: str) -> list[float]:
        threads.add(threading.get_ident())
        return hashed_words(text)

    embedder: Embedder = LexicalEmbedder(watched)
    texts = [f"text number {i}" for i in range(50)]
    assert await embedder.documents(texts) == [hashed_words(text) for text in texts]
    long = " ".join(texts)
    assert await embedder.query(long) == hashed_words(long)
    assert threading.get_ident() not in threads
    threads.clear()
    assert await embedder.query(texts[0]) == hashed_words(texts[0])
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Wie viel kostet ein neuer Reisepass für mich?", "viel kostet neuer reisepass"),
        ("¿Dónde está la biblioteca de la ciudad?", "biblioteca ciudad"),
        ("Где находится библиотека, и когда она открыта?", "находится библиотека открыта"),
        ("Was ist das?", "Was ist das?"),
        ("Where does the war on the car end?", "Where does the war on the car end?"),
        ("哪里可以停车", "哪里可以停车"),
        ("", ""),
    ],
)
def test_a_question_is_asked_without_stop_words_of_its_language(question: str, kept: str) -> None:
    """Only its own: *war* and *car* are stop words of other languages."""
    assert telling(question) == kept


async def test_stop_words_do_not_bring_a_question_near() -> None:
    """A German question is no nearer to a passage for *wie*, *in* and *der*, which both have."""
    passage = (
        "Die Gebühren der Bibliothek: wie viel die Karte in der Stadt kostet, sagt der Aushang."
    )
    question = "Wie ist der Name der Eule in der Sage?"
    asked = await LexicalEmbedder().query(question)
    near = sum(a * b for a, b in zip(asked, hashed_words(passage), strict=True))
    assert abs(near) < 0.1 < cosine(question, passage)
