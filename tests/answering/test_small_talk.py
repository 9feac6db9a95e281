"""``small_talk``: what is nothing but a greeting, thanks, a farewell or "who are you?"."""

import json
from pathlib import Path

import pytest

from orbit_server.answering import small_talk
from orbit_server.answering.small_talk import built_in_answer, recognised, without_small_talk

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("hi", ("greeting", "en")),
        ("Hi there!", ("greeting", "en")),
        ("  HELLO 👋🏽 ", ("greeting", "en")),
        ("heyyyyy :-)", ("greeting", "en")),
        ("Good morning", ("greeting", "en")),
        ("thanks", ("thanks", "en")),
        ("Thank you so much for your help!!", ("thanks", "en")),
        ("ok, thanks a lot. Bye!", ("farewell", "en")),
        ("What can you do?", ("about", "en")),
        ("Hi, who are you?", ("about", "en")),
        ("what’s your name", ("about", "en")),
        ("thnaks a lot", ("thanks", "en")),
        ("how r u?", ("greeting", "en")),
        ("what can u do?", ("about", "en")),
        ("Hallo zusammen", ("greeting", "de")),
        ("Grüß Gott", ("greeting", "de")),
        ("danke schoen", ("thanks", "de")),
        ("ok danke", ("thanks", "de")),
        ("Was kannst du?", ("about", "de")),
        ("Bonjour à tous !", ("greeting", "fr")),
        ("merci beaucoup", ("thanks", "fr")),
        ("Qui êtes-vous ?", ("about", "fr")),
        ("¡Buenos días!", ("greeting", "es")),
        ("adios", ("farewell", "es")),
        ("¿Qué puedes hacer?", ("about", "es")),
        ("Buongiorno", ("greeting", "it")),
        ("grazie mille", ("thanks", "it")),
        ("Olá, tudo bem?", ("greeting", "pt")),
        ("obrigada", ("thanks", "pt")),
        ("dank je wel", ("thanks", "nl")),
        ("goedemorgen", ("greeting", "nl")),
        ("hej då", ("farewell", "sv")),
        ("Dzień dobry", ("greeting", "pl")),
        ("děkuji", ("thanks", "cs")),
        ("Здравствуйте!", ("greeting", "ru")),
        ("кто ты?", ("about", "ru")),
        ("дякую", ("thanks", "uk")),
        ("İyi günler", ("greeting", "tr")),
        ("مَرْحَبًا", ("greeting", "ar")),
        ("شكراً", ("thanks", "ar")),
        ("من أنت؟", ("about", "ar")),
        ("你好！", ("greeting", "zh")),
        ("謝謝", ("thanks", "zh")),
        ("你是谁？", ("about", "zh")),
        ("こんにちは。", ("greeting", "ja")),
        ("ありがとうございます", ("thanks", "ja")),
        ("안녕하세요", ("greeting", "ko")),
        ("👍", ("thanks", "en")),
        ("👋", ("greeting", "en")),
        ("?!", ("greeting", "en")),
    ],
)
def test_whole_utterances(message: str, expected: tuple[str, str]) -> None:
    """Whatever the case, the accents and the signs around it."""
    assert recognised(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "Hi, when does the pool open?",
        "hello kitty opening hours",
        "thanks for nothing",
        "Thanksgiving",
        "Where can I say good bye to my old bike?",
        "High street",
        "who are you open for",
        "morgen?",
        "What can you do with a library card?",
        "good",
        "yes",
        "",
        "hi " * 200,
    ],
)
def test_anything_else_is_a_question(message: str) -> None:
    """Also what begins or ends as small talk does."""
    assert recognised(message) is None


def test_no_question_about_the_town_is_small_talk() -> None:
    """None of those that tests and demo ask; a refused question would be worse than a greeting."""
    asked = [each["question"] for each in json.loads((ROOT / "tests/questions.json").read_text())]
    asked += [each["question"] for each in json.loads((ROOT / "examples/town-qa.json").read_text())]
    assert len(asked) > 150
    assert [each for each in asked if recognised(each) or without_small_talk(each) != each] == []


def test_every_language_has_all_answers() -> None:
    """And each of its phrases is recognised, as that kind or, shared by two languages, as any."""
    data = json.loads(Path(small_talk.__file__).with_suffix(".json").read_text())
    for code, entry in data.items():
        for kind in ("greeting", "thanks", "farewell", "about"):
            for phrase in entry[kind]:
                assert recognised(phrase), (code, phrase)
            first = recognised(entry[kind][0])
            assert first is not None
            assert built_in_answer(first)
            assert entry["answers"][kind]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Hi! When is the pool open?", "When is the pool open?"),
        ("Hallo, wo ist das Bad? Danke!", "wo ist das Bad?"),
        ("Hello. Who are you? And where is the pool? Bye", "And where is the pool?"),
        ("Good morning - where can I park", "where can I park"),
        ("你好，游泳池几点开门？", "游泳池几点开门？"),
        ("When is the pool open?", "When is the pool open?"),
        ("hi where can i park", "where can i park"),
        ("Good morning can I bring my dog", "can I bring my dog"),
        ("guten tag wo ist das bad", "wo ist das bad"),
        ("Hello Kitty opening hours",) * 2,
        ("The sign says: hello, friend, and what does it mean?",) * 2,
        ("hi",) * 2,
        ("Hi! Thanks!",) * 2,
        ("",) * 2,
    ],
)
def test_questions_without_their_small_talk(text: str, left: str) -> None:
    """What stands before and after a question is taken off; small talk alone stays."""
    assert without_small_talk(text) == left
