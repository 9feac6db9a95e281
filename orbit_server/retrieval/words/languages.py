"""The languages whose words are understood, by their ISO 639-1 codes, and telling them apart.

A language is told by its script, or by its stop words, which make up half of every text: a few
sentences are enough, and nothing has to be downloaded or kept in memory.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

from .stop_words import STOP_WORDS, stop_words
from .tokenizer import folded

# What the Snowball project calls them; its stemmers are at https://snowballstem.org/algorithms/.
STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
# Written without blanks, or with few: found by pairs of characters, and told by these.
WITHOUT_STEMS = {
    "ja": "\u3041-\u309f\u30a0-\u30ff",
    "ko": "\u1100-\u11ff\uac00-\ud7af",
    "zh": "\u3400-\u4dbf\u4e00-\u9fff",
}
LANGUAGES = frozenset(STEMMERS) | frozenset(WITHOUT_STEMS)
NOT_LATIN = frozenset({"ar", "el", "hi", "ru"}) | frozenset(WITHOUT_STEMS)

_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u0963]+[^\W\d_]*)*")
_ASCII_WORD = re.compile("[a-z]+")  # the same, of a folded text: in a fifth of the time
_CJK = {code: re.compile(f"[{characters}]") for code, characters in WITHOUT_STEMS.items()}
# Of those that stop words tell: scripts of which a few words are enough.
_SCRIPTS = {
    code: re.compile(f"[{letters}]+")
    for code, letters in {
        "ar": "\u0621-\u065f",
        "el": "\u0370-\u03ff\u1f00-\u1fff",
        "hi": "\u0900-\u097f",
        "ru": "\u0430-\u044f\u0451",
    }.items()
}
_BY_SCRIPT = 0.1  # a little beside what stop words tell
# Where nothing else decides, the language that more is written in.
_WIDESPREAD = ("en", "de", "es", "fr", "ru", "pt", "it", "nl", "pl", "tr", "sv", "cs", "da", "hu")
_BEGINNING = 2000  # of a text, in characters: it tells as much as all of it
_SHARE = 0.1  # of the texts that can be told, for a language to be one of the collection's
_LEAST = 1 / 8  # of the words of a text, or it is in another language: Arabic has a quarter
_NEAR = 0.8  # of the most stop words: as likely


def detected(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the languages that at least a tenth of ``texts`` is in, none if it cannot be told.

    Where each is too short to tell, as "Library: open daily" is, all of them together may.
    """
    beginnings = [text[:_BEGINNING] for text in texts]
    scores = [score for text in beginnings if (score := _scores(text))]
    if not scores and len(beginnings) > 1:
        together = _scores("\n".join(beginnings)[:_BEGINNING])
        scores = [together] if together else []
    total: Counter[str] = Counter()
    for score in scores:
        total.update(score)
    # Kindred languages share words: in doubt a text is in the language that most others are in.
    votes = Counter(_likeliest(score, total) for score in scores)
    enough = min(max(2.0, _SHARE * votes.total()), max(votes.values(), default=0))
    return tuple(sorted(code for code, n in votes.items() if n >= enough))


def language_of(text: str) -> str | None:
    """Return the language that a text is in, ``None`` if it cannot be told."""
    score = _scores(text[:_BEGINNING])
    return max(score, key=score.__getitem__, default=None)


def _likeliest(score: Mapping[str, float], total: Mapping[str, float]) -> str:
    near = max(score.values()) * _NEAR
    return max(score, key=lambda code: (total[code] * (score[code] > near), _widespread(code)))


def _widespread(code: str) -> int:
    return -_WIDESPREAD.index(code) if code in _WIDESPREAD else -len(_WIDESPREAD)


def _scores(text: str) -> dict[str, float]:
    """Return how much speaks for each language, empty if too little does."""
    text = folded(text)
    if text.isascii():
        words = _ASCII_WORD.findall(text)
    else:
        words = _WORD.findall(text)
        cjk = {code: len(characters.findall(text)) for code, characters in _CJK.items()}
        if sum(cjk.values()) > sum(map(len, words)) / 4:
            if cjk["ja"] > sum(cjk.values()) / 20:
                return {"ja": 1.0}
            return {"ko": 1.0} if cjk["ko"] > cjk["zh"] else {"zh": 1.0}
    languages = _languages()
    counts = Counter(code for word in words for code in languages.get(word, ()))
    most = max(counts.values(), default=0)
    if most < 2 or most <= _LEAST * len(words):
        scripts = (
            code
            for code, script in _SCRIPTS.items()
            if sum(script.fullmatch(word) is not None for word in words) > len(words) / 2
        )
        return dict.fromkeys(scripts, _BY_SCRIPT)
    return {code: count / len(words) for code, count in counts.items()}


@cache
def _languages() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code in STOP_WORDS:
        for word in stop_words(code):
            found.setdefault(folded(word), []).append(code)
    return found
