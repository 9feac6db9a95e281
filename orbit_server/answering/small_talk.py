"""Small talk: messages that need no documents. Told by whole utterances, never by parts of them.

"Hi!" finds something about pools in any collection about pools. What people say is in
``small_talk.json``: for each language the phrases of every kind, the words that may stand ``with``
them, and the built-in ``answers``.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .splitting import begins_a_question

Kind = Literal["about", "farewell", "thanks", "greeting"]

# Of several kinds in one message, the first of these is answered.
_KINDS: tuple[Kind, ...] = ("about", "farewell", "thanks", "greeting")
_INTERNATIONAL = "en"  # "hi", "ok" and "bye" are said in every language
_MOST_CHARACTERS = 120
_MOST_WORDS = 3  # of a greeting right before a question
_MOST_CLAUSES = 5  # of small talk before a question, and as many after it

_EMOTICON = re.compile(r"(?<!\w)[:;=8][-'^o]?[()\[\]dpo3*/|]+(?!\w)")
_APOSTROPHE = re.compile("['’‘`´ʼ]")
_LONG_DRAWN = re.compile(r"(.)\1{2,}")
_WORD = re.compile(r"[^\W_ـ]+")
_DIGRAPHS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_CLAUSE_END = re.compile(r"[,.!?;:…\n،؟؛，。！？；：、]+|\s[-–—]+\s")


class SmallTalk(NamedTuple):
    """What kind of small talk a message is, and its language, an ISO 639-1 code."""

    kind: Kind
    language: str


class _Language(NamedTuple):
    words: frozenset[str]
    phrases: dict[tuple[str, ...], Kind | None]
    longest: int
    answers: dict[str, str]


@lru_cache(maxsize=64)  # asked twice for each question
def recognised(message: str) -> SmallTalk | None:
    """Return what small talk ``message`` is, all of it; ``None`` for anything else.

    Case, accents, punctuation and emoji do not count, nor does "Hiiiii" differ from "hi".
    """
    if len(message) > _MOST_CHARACTERS or not message.strip():
        return None
    # The last word of a question is hardly ever one of small talk, and is looked at sooner.
    if not _all_words().issuperset(_words(message.rsplit(None, 1)[-1])):
        return None
    words = _words(message)
    if not words:
        return SmallTalk(_without_words(message), _INTERNATIONAL)
    for code, language in _languages().items():
        if language.words.issuperset(words) and (kind := _kind(words, language)):
            return SmallTalk(kind, code)
    return None


def built_in_answer(talk: SmallTalk) -> str:
    """Return the sentence that answers ``talk`` in its language."""
    return _languages()[talk.language].answers[talk.kind]


def without_small_talk(text: str) -> str:
    """Return ``text`` without the clauses of small talk before and after a question.

    They would be searched for: no passage contains the "hi" of "Hi! When is the pool open?".
    ``text`` comes back as it is when nothing else is in it.
    """
    start, end = 0, len(text)
    ends = [match.end() for match in _CLAUSE_END.finditer(text)]
    for each in ends[:_MOST_CLAUSES]:
        if not recognised(text[start:each]):
            break
        start = each
    for each in reversed(ends[-_MOST_CLAUSES:]):
        if each < end and (each <= start or not recognised(text[each:end])):
            break
        end = each
    return _without_greeting(text[start:end].strip()) or text


def _without_greeting(text: str) -> str:
    """Return ``text`` without a greeting that no sign parts from the question after it."""
    words = text.split(None, _MOST_WORDS)
    if not words or words[0].casefold() not in _greeting_words():
        return text
    for count in range(min(_MOST_WORDS, len(words) - 1), 0, -1):
        rest = text.split(None, count)[count]
        if begins_a_question(rest) and recognised(" ".join(words[:count])):
            return rest
    return text


def _without_words(message: str) -> Kind:
    """Return what signs alone mean: a thumb is thanks, a question mark asks for a beginning."""
    symbols = any(unicodedata.category(char) == "So" for char in message)
    return "thanks" if symbols and "👋" not in message else "greeting"


def _kind(words: Sequence[str], language: _Language) -> Kind | None:
    """Return the kind of ``words`` where they are nothing but phrases of ``language``."""
    kinds = set()
    at = 0
    while at < len(words):
        for length in range(min(language.longest, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + length])
            if phrase in language.phrases:
                kinds.add(language.phrases[phrase])
                at += length
                break
        else:
            return None
    return next((kind for kind in _KINDS if kind in kinds), None)


def _words(text: str) -> list[str]:
    text = _EMOTICON.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    bare = _APOSTROPHE.sub("", text)
    if not bare.isascii():
        marked = unicodedata.normalize("NFD", bare)
        bare = "".join(char for char in marked if unicodedata.category(char) != "Mn")
    return _WORD.findall(_LONG_DRAWN.sub(r"\1", bare))


@cache
def _all_words() -> frozenset[str]:
    return frozenset().union(*(language.words for language in _languages().values()))


@cache
def _greeting_words() -> frozenset[str]:
    return frozenset(
        phrase[0]
        for language in _languages().values()
        for phrase, kind in language.phrases.items()
        if kind == "greeting"
    )


@cache
def _languages() -> dict[str, _Language]:
    data = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    shared: dict[str, list[str]] = {
        kind: data[_INTERNATIONAL][kind] for kind in _KINDS if kind != "about"
    }
    return {code: _language(entry, shared) for code, entry in data.items()}


def _language(entry: dict[str, Any], shared: dict[str, list[str]]) -> _Language:
    phrases: dict[tuple[str, ...], Kind | None] = dict.fromkeys(_phrases(entry["with"]))
    for kind in _KINDS:
        phrases |= dict.fromkeys(_phrases([*shared.get(kind, ()), *entry[kind]]), kind)
    return _Language(
        words=frozenset(word for phrase in phrases for word in phrase),
        phrases=phrases,
        longest=max(map(len, phrases)),
        answers=entry["answers"],
    )


def _phrases(texts: Sequence[str]) -> list[tuple[str, ...]]:
    spellings = (each for text in texts for each in (text, text.translate(_DIGRAPHS)))
    return [tuple(_words(text)) for text in spellings]
