"""A list of phrases and expressions that block a text before it costs a model call."""

import logging
import re
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import regex

from ..characters import CJK
from ..config.files import read_text
from ..errors import ConfigError
from .normalize import fold, plain

logger = logging.getLogger(__name__)

# Scripts without spaces between words, or with endings glued to them, have no word boundary.
_UNSPACED = re.compile(f"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff{CJK}]")
_UNSEEN = "\u2060"  # stands for whatever nobody sees
_BETWEEN_WORDS = re.compile(r"[\s_]+|(?<=\w)[-./]+(?=\w)")
_GAP = r"[\W_]+"
_NARROW_GAP = rf"[\s_.·/*{_UNSEEN}-]*"
_NO_CASE = re.compile(r"\\[^xuUN0-9]")
_PROBE_CHARS = 8192


class _Phrase(NamedTuple):
    entry: str
    letters: str  # what a text must hold once everything but letters and digits is taken out
    pattern: str  # compiled when it is needed: most phrases of a long list never are


class _Expression(NamedTuple):
    place: str
    entry: str
    pattern: regex.Pattern[str]


class Blocklist:
    r"""Phrases and regular expressions that block a text before any model is asked.

    A phrase counts as whole words; capitals, accents, look-alikes, what stands between its words
    and what nobody sees make no difference. An expression is looked for in ``plain(text)`` and
    ``fold(text)``, which have single blanks. A stranger chooses the text, so all expressions
    together have ``budget`` seconds of computing for one text, and a text that takes longer is
    refused. What takes longer with simple hostile texts is refused at the start.
    """

    def __init__(self, entries: Iterable[tuple[str, str]], *, budget: float = 0.020) -> None:
        """Take (place, entry) pairs; raise ``ConfigError`` with every entry that is no good."""
        self._budget = budget
        self._phrases: list[_Phrase] = []
        self._expressions: list[_Expression] = []
        mistakes = []
        for place, entry in entries:
            try:
                if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
                    pattern = _compiled(entry[1:-1], budget)
                    self._expressions.append(_Expression(place, entry, pattern))
                else:
                    self._phrases += _phrases(entry)
            except (ValueError, regex.error) as error:
                mistakes.append(f"{place}: {entry}: {error}")
        if mistakes:
            raise ConfigError(mistakes)

    @classmethod
    def load(cls, path: str | Path, *, budget: float = 0.020) -> Self:
        """Read a UTF-8 file: an entry a line, ``/…/`` an expression, ``#`` and blank lines nothing.

        Raises ``ConfigError`` that names file and line.
        """
        lines = read_text(Path(path)).splitlines()
        numbered = ((f"{path}:{number}", line.strip()) for number, line in enumerate(lines, 1))
        entries = ((at, entry) for at, entry in numbered if entry and not entry.startswith("#"))
        return cls(entries, budget=budget)

    def match(self, text: str) -> str | None:
        """Return the first entry that ``text`` contains, as it is written in the list, or None.

        Phrases come first. Also returned is the expression whose search used up the budget.
        """
        return self._phrase(text) or self._expression(text)

    def _phrase(self, text: str) -> str | None:
        if not self._phrases:
            return None
        forms = {plain(text, unseen=_UNSEEN), fold(text, unseen=_UNSEEN)}
        letters = [(_letters(form), form) for form in forms]
        for phrase in self._phrases:
            for bare, form in letters:
                if phrase.letters in bare and re.search(phrase.pattern, form):
                    return phrase.entry
        return None

    def _expression(self, text: str) -> str | None:
        if not self._expressions:
            return None
        # What nobody sees may stand inside a word, or where a blank belongs.
        forms = {form(text, unseen=unseen) for form in (plain, fold) for unseen in ("", " ")}
        # The time of this thread, since on a busy machine that of the clock is no measure.
        end = time.thread_time() + self._budget
        for place, entry, pattern in self._expressions:
            for form in forms:
                try:
                    if pattern.search(form, timeout=max(end - time.thread_time(), 0)):
                        return entry
                except TimeoutError:
                    limit = f"{self._budget * 1000:g} ms"
                    logger.warning(
                        "%s: %s: a text of %d characters is refused, because searching it took "
                        "more than %s; bound the repeats of the expression",
                        *(place, entry, len(text), limit),
                    )
                    return entry
        return None


def _phrases(entry: str) -> Iterator[_Phrase]:
    for phrase in {plain(entry), fold(entry)}:
        words = [word for word in _BETWEEN_WORDS.split(phrase) if word]
        if not words:
            raise ValueError("is empty")
        before = "" if _UNSPACED.match(words[0]) else r"(?<![^\W_])"
        after = "" if _UNSPACED.match(words[-1][-1]) else r"(?![^\W_])"
        pattern = _GAP.join(map(_word, words))
        yield _Phrase(entry, _letters(phrase), f"{before}{pattern}{after}")


def _word(word: str) -> str:
    letters = [re.escape(word[0])]
    for left, right in pairwise(word):
        unspaced = _UNSPACED.match(left) and _UNSPACED.match(right)
        letters += [_NARROW_GAP if unspaced else f"{_UNSEEN}*", re.escape(right)]
    return "".join(letters)


def _letters(form: str) -> str:
    return re.sub(r"[\W_]+", "", form)


def _compiled(source: str, budget: float) -> regex.Pattern[str]:
    # The texts have no capitals; an expression without any is searched for much faster with case.
    bare = _NO_CASE.sub("", source)
    small = bare.isascii() and bare == bare.lower() and "\\" not in bare
    pattern = regex.compile(source, 0 if small else regex.IGNORECASE)
    if pattern.search(""):
        raise ValueError("matches every text")
    try:
        for text in _hostile(source):
            pattern.search(text, timeout=budget)
    except TimeoutError:
        limit = f"{budget * 1000:g} ms"
        raise ValueError(
            f"a text of {_PROBE_CHARS} characters such as {text[:20]!r}… takes more than {limit}; "
            "bound its repeats, such as .{0,80} for .*"
        ) from None
    return pattern


def _hostile(source: str) -> Iterator[str]:
    """Yield texts that begin to match again and again: the letters and words of an expression."""
    words = re.findall(r"[^\W_]+", re.sub(r"\\.|\{[\d,]*\}", " ", source.casefold()))
    parts = [*words, *"".join(words), "a", "0", " ", "-"]
    parts += [glue.join(some) for some in (words, words[:-1]) for glue in ("", " ")]
    for part in dict.fromkeys(filter(None, parts)):
        text = (part * (_PROBE_CHARS // len(part) + 1))[:_PROBE_CHARS]
        yield from (text, *(f"{text}\n{word}" for word in words[-1:]))
