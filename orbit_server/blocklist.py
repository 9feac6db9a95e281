"""A list of phrases and expressions that block a text before it costs a model call.

Texts are folded first, so that capitals, accents, invisible characters and letters of other scripts
that only look alike do not get round it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from re import _parser as re_parser  # type: ignore[attr-defined]
from typing import Any, Self

from .errors import ConfigError

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
_LOOK_ALIKES = str.maketrans(
    {
        look_alike: letter
        for letter, look_alikes in {
            "a": "аАαΑɑᴀ", "b": "вВβΒʙ", "c": "сСςϲᴄ", "d": "ԁđᴅ", "e": "еЕεΕєᴇ", "f": "ϝғꜰ",
            "g": "ԍɡɢ", "h": "нНΗһħʜ", "i": "іІιΙıɪ", "j": "јЈᴊ", "k": "кКκΚᴋ", "l": "ӏłʟ",
            "m": "мМΜᴍ", "n": "пΝηոɴ", "o": "оОοΟσօøᴏ", "p": "рРρΡᴘ", "q": "ԛ", "r": "гʀ",
            "s": "ѕЅꜱ", "t": "тТτΤᴛ", "u": "υսμᴜ", "v": "νѵᴠ", "w": "ԝωᴡ", "x": "хХχΧ",
            "y": "уУүγΥʏ", "z": "ΖζᴢƵ",
        }.items()
        for look_alike in look_alikes
    }
)  # fmt: skip


def plain(text: str) -> str:
    """Return ``text`` in one case and width, without invisible characters, blanks made single."""
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return " ".join(text.casefold().split())


def fold(text: str) -> str:
    """Return ``text`` as ``plain`` does, accents gone and look-alikes turned into Latin letters."""
    text = unicodedata.normalize("NFKD", _INVISIBLE.sub("", text))
    text = unicodedata.normalize("NFKC", _ACCENTS.sub("", text))
    # Twice, because a capital may look like another letter than its small form (Greek Ν and ν).
    text = text.translate(_LOOK_ALIKES).casefold().translate(_LOOK_ALIKES)
    return " ".join(text.split())


# Scripts without spaces between words, or with endings glued to them, have no word boundary.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_MOST_WAYS = 20_000


class Blocklist:
    """Phrases and regular expressions that block a text before any model is asked.

    Both are looked for in ``plain(text)`` and ``fold(text)``, which have single blanks. A phrase
    counts as whole words. An expression may not be able to match in more than about 20,000 ways
    from one place, since nothing can stop a search that runs: one ``.*`` is fine, two are not.
    """

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        """Take (place, entry) pairs; raise ``ConfigError`` with every entry that is no good."""
        self._searches: list[tuple[str, str, re.Pattern[str]]] = []
        mistakes = []
        for place, entry in entries:
            try:
                self._searches += _searches(entry)
            except (ValueError, re.error) as error:
                mistakes.append(f"{place}: {entry}: {error}")
        if mistakes:
            raise ConfigError(mistakes)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a UTF-8 file: an entry a line, ``/…/`` an expression, ``#`` and blank lines nothing.

        Raises ``ConfigError`` that names file and line.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"{path}: cannot be read: {error}"]) from error
        numbered = ((f"{path}:{number}", line.strip()) for number, line in enumerate(lines, 1))
        return cls((at, entry) for at, entry in numbered if entry and not entry.startswith("#"))

    def match(self, text: str) -> str | None:
        """Return the first entry that ``text`` contains, as it is written in the list, or None."""
        forms = {plain(text), fold(text)}
        for entry, needle, pattern in self._searches:
            if any(needle in form and pattern.search(form) for form in forms):
                return entry
        return None


def _searches(entry: str) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
        pattern = re.compile(entry[1:-1], re.IGNORECASE)
        if pattern.search(""):
            raise ValueError("matches every text")
        if _ways(re_parser.parse(entry[1:-1])) > _MOST_WAYS:
            raise ValueError("could search for ever; bound its repeats, such as .{0,80} for .*")
        yield entry, "", pattern
        return
    for phrase in {plain(entry), fold(entry)}:
        if not phrase:
            raise ValueError("is empty")
        before = "" if _UNSPACED.match(phrase[0]) else r"(?<!\w)"
        after = "" if _UNSPACED.match(phrase[-1]) else r"(?!\w)"
        yield entry, phrase, re.compile(before + re.escape(phrase) + after)


def _ways(parsed: Any) -> float:
    """Return in how many ways a parsed expression may match from one place, at worst."""
    ways = 1.0
    for operator, argument in parsed:
        match str(operator):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = argument
                if str(repeated) == "[(IN, [(CATEGORY, CATEGORY_SPACE)])]":
                    most = min(most, least + 1)  # the text has single blanks
                inner, most = _ways(repeated), min(most, 10_000)
                ways *= most - least + 1 if inner == 1 else min(inner, 1e4) ** min(most, 64)
            case "BRANCH":
                ways *= sum(map(_ways, argument[1]))
            case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT":
                ways *= _ways(argument[-1])
            case "ATOMIC_GROUP":
                ways *= _ways(argument)
            case "GROUPREF_EXISTS":
                ways *= _ways(argument[1]) + _ways(argument[2] or ())
    return ways
