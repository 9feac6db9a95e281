"""A text becomes terms: what the word index holds of a passage, and what a question looks for.

A term is a word without differences of case, accent and ending; Chinese, Japanese and Korean become
pairs of characters. A code such as ``PX-4711/B`` becomes its parts and what they give when they are
joined, so that it is found however it is written.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from operator import add
from string import ascii_lowercase
from typing import NamedTuple

import Stemmer  # type: ignore[import-not-found]

from ...characters import CJK
from .languages import LANGUAGES, NOT_LATIN, STEMMERS
from .stop_words import stop_words
from .tokenizer import folded

__all__ = ["Analyzer", "Token", "analyzer", "unaccented"]

_VERSION = 2
_LONGEST_KEPT = 40  # strangers choose the words: long ones would fill memory if they were kept
_LONGEST_TERM = 100
_MOST_PARTS = 6  # of a code; what has more is an address or a number of another kind

# The end of a line inside of a sentence is no end of a word. Korean has blanks between words.
_HAN_KANA = "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_BROKEN_LINE = re.compile(f"(?<=[{_HAN_KANA}])[ \t\u3000]*\r?\n[ \t\u3000]*(?=[{_HAN_KANA}])")
_CJK_RUN = re.compile(f"([{CJK}]+)")
_CHAIN = re.compile(r"[^\s./-]+(?:[./-][^\s./-]+)*")
_LETTERS_OR_DIGITS = re.compile(r"\d+|\D+")
_MARKS = re.compile("[\u0300-\u036f]+")
_FOREIGN = re.compile("[\u0300-\u0307\u0309-\u036f]+")  # in German: all but umlauts
_WITHOUT_MARKS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae"} | {"œ": "oe"}
)
# Plurals that no rule of a stemmer tells, of words that people ask for.
_IRREGULAR = {
    "de": {
        "autos": "auto",
        "busse": "bus",
        "bussen": "bus",
        "büros": "büro",
        "fotos": "foto",
        "kinos": "kino",
        "kitas": "kita",
        "museen": "museum",
    },
    "en": {
        "buses": "bus",
        "children": "child",
        "feet": "foot",
        "gases": "gas",
        "knives": "knife",
        "men": "man",
        "mice": "mouse",
        "shelves": "shelf",
        "teeth": "tooth",
        "women": "woman",
    },
}
# The conjunctions before an Arabic article, which the stemmer leaves.
_ARABIC_CONJUNCTION = re.compile("^[\u0648\u0641](?=\u0627\u0644|\u0644\u0644|\u0628\u0627\u0644)")


class Token(NamedTuple):
    """A word as it was written, folded, with the terms that it becomes.

    ``parts`` are those of its parts, one for nearly every word; ``joined`` what several give when
    they are joined, all of them first.
    """

    word: str
    parts: tuple[str, ...]
    joined: tuple[str, ...] = ()


_Analyzed = tuple[tuple[str, ...], tuple[Token, ...]]


class Analyzer:
    """Text to terms for a collection in ``languages``; made by ``analyzer``, never changes.

    ``name`` says which rules these are: an index that was written under another one does not fit.
    Each word is stemmed by every language in turn, so that a word has one term whatever language
    the passage is in. Without a language that is written in Latin letters, these are English.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = tuple(languages)
        latin = [code for code in languages if code not in NOT_LATIN] or ["en"]
        others = [code for code in languages if code in NOT_LATIN and code in STEMMERS]
        codes = sorted({*latin, *others})
        self.name = f"{_VERSION}:{','.join(codes)}"
        # German last but one, since its stemmer drops umlauts, which others need; English last,
        # since its own knows no accents.
        rank = {"de": 1, "en": 2}
        self._stemmers = [_stemmer(code) for code in sorted(codes, key=lambda c: rank.get(c, 0))]
        self._irregular = {
            form: word for code in codes for form, word in _IRREGULAR.get(code, {}).items()
        }
        self._kept = lru_cache(maxsize=8192)(self._chain)

    @cached_property
    def stop_words(self) -> frozenset[str]:
        """The stop words of the languages, with and without accents."""
        words = {folded(word) for code in self.languages for word in stop_words(code)}
        return frozenset(words | set(map(unaccented, words)))

    @cached_property
    def letters(self) -> str:
        """The letters that words of the languages are spelt with."""
        used = set("".join(self.stop_words)) | set(ascii_lowercase)
        return "".join(sorted(letter for letter in used if letter.isalpha()))

    def terms(self, text: str) -> list[str]:
        """Return the terms of ``text``, in order and with repetitions."""
        return [term for terms, _ in self._analyzed(text) for term in terms]

    def tokens(self, text: str) -> list[Token]:
        """Return the words of ``text`` in order, each with its terms."""
        return [token for _, tokens in self._analyzed(text) for token in tokens]

    def _analyzed(self, text: str) -> Iterator[_Analyzed]:
        text = folded(_BROKEN_LINE.sub("", text)).translate(_separated)
        if not text.isascii():
            text = _CJK_RUN.sub(_pairs, text)
        kept, new = self._kept, self._chain
        for chain in _CHAIN.findall(text):
            yield kept(chain) if len(chain) <= _LONGEST_KEPT else new(chain)

    def stem(self, word: str) -> str:
        """Return the term of one folded word."""
        if not word.isascii() and _CJK_RUN.match(word):
            return word
        word = self._irregular.get(word, word)
        for stem in self._stemmers:
            word = stem(word)
        return unaccented(word)

    def _chain(self, chain: str) -> _Analyzed:
        parts: Sequence[str] = [part[:_LONGEST_TERM] for part in re.split("[./-]", chain)]
        joined: list[str] = []
        if any(map(str.isdigit, chain)):
            parts = _parts_of_code(parts)
            if 1 < len(parts) <= _MOST_PARTS:
                joined = _joined(parts)
        # e-mail and email, Schwimm-Kurs and Schwimmkurs, U.S.A. and USA are the same words.
        elif (len(parts) == 2 and "-" in chain) or (len(parts) > 1 and max(map(len, parts)) == 1):
            joined = [self.stem("".join(parts))]
        stems = [stem for part in parts if (stem := self.stem(part))]
        if joined:
            tokens: tuple[Token, ...] = (Token(chain, tuple(stems), tuple(dict.fromkeys(joined))),)
        else:
            tokens = tuple(Token(part, (stem,)) for part in parts if (stem := self.stem(part)))
        return tuple(dict.fromkeys([*stems, *joined])), tokens


def analyzer(languages: Sequence[str]) -> Analyzer:
    """Return the analyzer of a collection in these languages; without any, of English."""
    return _analyzer(tuple(sorted({code for code in languages if code in LANGUAGES} or {"en"})))


@lru_cache(maxsize=16)
def _analyzer(languages: tuple[str, ...]) -> Analyzer:
    return Analyzer(languages)


def unaccented(word: str) -> str:
    """Return a folded word without accents, and with plain letters for those of the north."""
    if word.isascii():
        return word
    plain = _MARKS.sub("", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", plain).translate(_WITHOUT_MARKS)


def _parts_of_code(parts: Sequence[str]) -> Sequence[str]:
    """Part letters from digits where these are few, as in ``px4711b``; hashes stay whole."""
    if len(parts) > _MOST_PARTS // 2:
        return parts
    found: list[str] = []
    for part in parts:
        pieces = _LETTERS_OR_DIGITS.findall(part)
        found += pieces if len(pieces) <= 3 else [part]
    return found


def _joined(parts: Sequence[str]) -> list[str]:
    """Return the parts of a code as one, and letters with the digits beside them.

    Of digits alone this takes four: dates and telephone numbers become one term more.
    """
    whole = "".join(parts)
    if whole.isdigit():
        return [whole] if len(whole) >= 4 else []
    pairs = [
        first + second
        for first, second in pairwise(parts)
        if (first.isdigit() and second.isalpha()) or (first.isalpha() and second.isdigit())
    ]
    return [unaccented(each) for each in [whole, *pairs] if len(each) <= _LONGEST_KEPT]


def _pairs(run: re.Match[str]) -> str:
    text = run[0]
    return f" {' '.join(map(add, text, text[1:])) or text} "


@lru_cache
def _stemmer(code: str) -> Callable[[str], str]:
    """Return the stemmer of a language; applied until nothing changes.

    Once is too little for *Schwimmkurse*, which becomes the *Schwimmkurs* that alone would lose
    its own s.
    """
    # Without a cache of its own. Shared by threads: it holds the interpreter's lock all the while.
    stem: Callable[[str], str] = Stemmer.Stemmer(STEMMERS[code], 0).stemWord

    def stable(word: str) -> str:
        if code == "ar":
            word = _ARABIC_CONJUNCTION.sub("", word)
        elif code == "en":
            word = unaccented(word)
        elif code == "de" and not word.isascii():
            word = unicodedata.normalize(
                "NFC", _FOREIGN.sub("", unicodedata.normalize("NFD", word))
            )
        for _ in range(1 if code == "en" else 4):
            shorter = stem(word)
            if shorter == word:
                break
            word = shorter
        return word

    return stable


class _Separated(dict[int, str | None]):
    """What becomes of each character: kept in words, dropped inside of them, or between them.

    Hyphens, slashes and dots stay, since they join the parts of a code.
    """

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        if character in "-./":
            found: str | None = character
        elif character == "\u2010":  # the hyphen that is no minus
            found = "-"
        elif category == "Cf" or character in _INVISIBLE_MARKS:
            found = None
        else:
            found = character if category[0] in "LNM" else " "
        if code < 0x1_0000:  # strangers choose the characters
            self[code] = found
        return found


# Vowel points of Arabic and Hebrew, which few write, and the line that stretches Arabic words.
_INVISIBLE_MARKS = frozenset(map(chr, [*range(0x64B, 0x660), 0x670, 0x640, *range(0x591, 0x5C8)]))
_separated = _Separated()
