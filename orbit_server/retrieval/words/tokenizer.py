"""A text becomes words, the same for hashed vectors and for the index of words.

What is stored depends on every detail: after a change here, ``LexicalEmbedder.model`` must change,
and every index of words must be written anew.
"""

import re
import unicodedata
from functools import lru_cache
from operator import add

from ...characters import CJK

_CJK_RUN = re.compile(f"[{CJK}]+")


def folded(text: str) -> str:
    """Return ``text`` without differences of case and of compatible characters (NFKC)."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """Return the words of ``text``, in order: runs of letters, marks and numbers.

    Chinese, Japanese and Korean have no spaces to go by; a run of them becomes its pairs of
    neighbours. Call it with what ``folded`` returns, to compare words.
    """
    return _CJK_RUN.sub(_pairs, "".join(map(_of_a_word, text))).split()


def is_cjk(word: str) -> bool:
    """Return whether one of ``words`` is Chinese, Japanese or Korean."""
    return _CJK_RUN.match(word) is not None


def _pairs(run: re.Match[str]) -> str:
    text = run[0]
    return f" {' '.join(map(add, text, text[1:])) or text} "


@lru_cache(maxsize=4096)
def _of_a_word(character: str) -> str:
    """Keep what words consist of, drop what is invisible inside them, part them at the rest."""
    category = unicodedata.category(character)
    if category[0] in "LNM":
        return character
    return "" if category == "Cf" else " "
