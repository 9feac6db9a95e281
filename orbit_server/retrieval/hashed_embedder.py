"""Text to vectors without a model: words and pieces of words, hashed into buckets."""

import asyncio
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from hashlib import blake2b

import Stemmer  # type: ignore[import-not-found]

from .words.languages import language_of
from .words.stop_words import stop_words
from .words.tokenizer import folded, is_cjk, words

DIMENSION = 1024
_NGRAM = 4
_SLICE = 16
_LONGEST_KEPT = 40
_SHORT = 150
_STOP_WORDS = frozenset(
    """a an the this that these those some any each every all both either neither such
    i me my mine myself we us our ours ourselves you your yours yourself he him his she her hers
    it its itself they them their theirs
    who whom whose which what when where why how
    am is are was were be been being do does did done doing have has had having
    can could may might must shall should will would
    and or but nor if then than so as because while although though
    of in on at by for with about against between into through during to from up down out off over
    under again once here there too very just also only own same other more most no not yes
    s t d m ll re ve don doesn didn isn aren wasn weren won wouldn couldn shouldn cannot
    please get got let want like need one ones""".split()  # noqa: SIM905 - easier to read as words
)
_english = Stemmer.Stemmer("english", 0).stemWord
_ACCENTS = re.compile("[\u0300-\u036f]+")


class LexicalEmbedder:
    """Vectors without a model: words and their character n-grams, hashed into 1,024 numbers.

    Two texts are near when they share words or parts of words; synonyms mean nothing to it. The
    vector depends on the text alone and is the same on every machine, so ``model`` must change
    whenever ``hashed_words`` does.
    """

    provider = "lexical"
    model = "hashed-words-1"

    def __init__(self, embed: Callable[[str], list[float]] | None = None) -> None:
        self._embed = embed or hashed_words

    async def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text, in order, computed in a thread a few at a time."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _SLICE):
            part = texts[start : start + _SLICE]
            vectors += await asyncio.to_thread(lambda part: [*map(self._embed, part)], part)
        return vectors

    async def query(self, text: str) -> list[float]:
        """Return the vector of a question; only that of a long one is worth a thread."""
        if len(text) <= _SHORT:  # a millisecond at most, when none of its words is known yet
            return self._embed(telling(text))
        return await asyncio.to_thread(lambda: self._embed(telling(text)))


def hashed_words(text: str) -> list[float]:
    """Return the vector of ``text``: 1,024 numbers of length 1 together.

    Stop words count only where there is nothing else, and a text without any word gets one fixed
    vector, because an all-zero vector has no direction and cosine distance is undefined for it.
    """
    counts = Counter(words(_without_accents(folded(text))))
    telling = {word: count for word, count in counts.items() if word not in _STOP_WORDS}
    sums = [0.0] * DIMENSION
    for word, count in (telling or counts).items():
        weight = 1 + math.log(count)
        # Strangers choose the words: long ones would fill memory if they were kept.
        features = _features if len(word) <= _LONGEST_KEPT else _features.__wrapped__
        for bucket, value in features(word):
            sums[bucket] += weight * value
    length = math.sqrt(sum(value * value for value in sums))
    if length == 0:
        bucket, sign = _hashed("")
        sums[bucket] = length = sign
    return [value / length for value in sums]


def telling(text: str) -> str:
    """Return a question without the stop words of its language, unless it has no other words.

    Vectors of passages hold them, in any language but English; those of questions are not stored,
    and may do better: in German, Spanish, Russian and Arabic the cosine then told answerable
    questions from others by an area under the ROC curve of 0.86 to 0.91, not 0.67 to 0.78.
    """
    left_out = _stop_words(language_of(text))
    if not left_out:
        return text
    asked = words(_without_accents(folded(text)))
    return " ".join(word for word in asked if word not in left_out) or text


@cache
def _stop_words(code: str | None) -> frozenset[str]:
    """Return the stop words of a language; none of English, which every vector is without."""
    listed = stop_words(code) if code and code != "en" else ()
    return frozenset(_without_accents(folded(word)) for word in listed)


def _without_accents(text: str) -> str:
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


@lru_cache(maxsize=8192)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """Return (bucket, value) of the stem, and of the n-grams, which together weigh as much."""
    if is_cjk(word):
        return (_hashed("w" + word),)
    marked = f"<{word}>"
    grams = [marked[i : i + _NGRAM] for i in range(len(marked) - _NGRAM + 1)]
    share = 1 / math.sqrt(len(grams) or 1)
    hashed_grams = (
        (bucket, sign * share) for bucket, sign in map(_hashed, ["g" + g for g in grams])
    )
    return (_hashed("w" + _english(word)), *hashed_grams)


def _hashed(feature: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
    return number % DIMENSION, 1.0 if number >> 63 else -1.0
