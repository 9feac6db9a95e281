"""A list of phrases and expressions that block a text before it costs a model call.

Texts are folded first, so that capitals, accents, invisible characters and letters of other scripts
that only look alike do not get round it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from re import _parser as re_parser  # type: ignore[attr-defined]
from typing import Any, Self

from ..errors import ConfigError

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffd"
    "\U0001d173-\U0001d17a\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff]"
)
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
# Sorting what stands on one letter takes time with the square of how much it is.
_HEAPED = re.compile(r"([^\w\s\x00-\x7f]{30})[^\w\s\x00-\x7f]+")
_AFTER_LATIN = re.compile(r"(?<=[A-Za-z])[^\w\s\x00-\x7f]+")
_LOOK_ALIKES = str.maketrans(
    {
        look_alike: letter
        for letter, look_alikes in {
            "a": "аАΑαɑᴀᎪꓮᗩ", "b": "вВΒβʙьЬᏴᏏꓐᗷ𐐒", "c": "сСςϲᴄᏟꓚᑕ", "d": "ԁđᴅᎠᏧꓓꓒᗪ",
            "e": "еЕεΕєᴇᎬꓰᗴ", "f": "ϝғꜰꓝᖴ", "g": "ԍɡɢᏀꓖᘜ", "h": "нНΗһħʜᎻᏂꓧᕼ", "i": "іІιΙıɪᎥꓲ",
            "j": "јЈᴊᎫꓙᒍ", "k": "кКκΚᴋᏦꓗ", "l": "ӏłʟᏞꓡᒪ", "m": "мМΜᴍᎷꓟᗰ", "n": "пΝηոɴꓠᑎ",
            "o": "оОοΟσօøᴏꓳ", "p": "рРρΡᴘᏢꓑᑭ", "q": "ԛ", "r": "гʀᎡꓣᖇ", "s": "ѕЅꜱᏚꓢᔕ",
            "t": "тТτΤᴛᎢꓔ", "u": "υսμᴜꓴᑌ", "v": "νѵᴠᏙꓦᐯ", "w": "ԝωᴡᎳꓪᗯ", "x": "хХχΧꓫ᙭",
            "y": "уУүγΥʏᎩꓬ", "z": "ΖζᴢƵᏃꓜ",
        }.items()
        for look_alike in look_alikes
    }
    | {
        chr(first + number): chr(ord("a") + number)
        for first in (0x1F150, 0x1F170, 0x1F1E6)  # white on black, and the letters of flags
        for number in range(26)
    }
)  # fmt: skip


def plain(text: str) -> str:
    """Return ``text`` in one case and width, without invisible characters, blanks made single."""
    text = unicodedata.normalize("NFKC", _visible(text))
    return " ".join(text.casefold().split())


def fold(text: str) -> str:
    """Return ``text`` as ``plain`` does, accents gone and look-alikes turned into Latin letters."""
    text = unicodedata.normalize("NFKD", _visible(text))
    text = unicodedata.normalize("NFKC", _ACCENTS.sub("", text))
    text = _AFTER_LATIN.sub(_without_marks, text)
    # Twice, because a capital may look like another letter than its small form (Greek Ν and ν).
    text = text.translate(_LOOK_ALIKES).casefold().translate(_LOOK_ALIKES)
    return " ".join(text.split())


def _visible(text: str) -> str:
    # The one character that stands for a whole sentence would make a text eighteen times as long.
    text = text.replace("\ufdfa", " ")
    return _HEAPED.sub(r"\1", _INVISIBLE.sub("", text))


def _without_marks(signs: re.Match[str]) -> str:
    return "".join(sign for sign in signs[0] if unicodedata.category(sign) != "Mn")


# Scripts without spaces between words, or with endings glued to them, have no word boundary.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_NO_CASE = re.compile(r"\\[^xuUN0-9]")
_BLANKS = ("[(IN, [(CATEGORY, CATEGORY_SPACE)])]", "[(LITERAL, 32)]")
_SINGLE = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
# Per character of the text, about two nanoseconds each: at the very worst 50 ms for 64 KiB.
_MOST_STEPS = 360


class Blocklist:
    r"""Phrases and regular expressions that block a text before any model is asked.

    Both are looked for in ``plain(text)`` and ``fold(text)``, which have single blanks. A phrase
    counts as whole words, with blanks or underscores between them. Nothing can stop the search for
    an expression, and a stranger chooses the text, so an expression must be quick at worst: no
    ``.*``, ``.+`` or ``\w+``; one ``.{0,80}`` after a word is fine, two are not. ``\s+`` is fine.
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
        words = set(map(_words, forms))
        for entry, phrase, pattern in self._searches:
            searched = words if phrase else forms
            if any(phrase in form and pattern.search(form) for form in searched):
                return entry
        return None


def _words(form: str) -> str:
    return " ".join(form.replace("_", " ").split())


def _searches(entry: str) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
        yield entry, "", _expression(entry[1:-1])
        return
    for phrase in {_words(plain(entry)), _words(fold(entry))}:
        if not phrase:
            raise ValueError("is empty")
        before = "" if _UNSPACED.match(phrase[0]) else r"(?<!\w)"
        after = "" if _UNSPACED.match(phrase[-1]) else r"(?!\w)"
        yield entry, phrase, re.compile(before + re.escape(phrase) + after)


def _expression(source: str) -> re.Pattern[str]:
    # The texts have no capitals; an expression without any is searched for much faster with case.
    bare = _NO_CASE.sub("", source)
    small = bare.isascii() and bare == bare.lower() and "\\" not in bare
    pattern = re.compile(source, re.NOFLAG if small else re.IGNORECASE)
    if pattern.search(""):
        raise ValueError("matches every text")
    parsed = re_parser.parse(source, pattern.flags & ~re.UNICODE)
    starts = list(_starts(parsed))
    steps = len(starts) + _search(parsed)[1] / _distance(starts)
    if steps * (1 if small else 1.5) > _MOST_STEPS:
        raise ValueError(
            "could search a long text for too long; bound its repeats, such as .{0,80} for .*, "
            "and have at most one such, after a word"
        )
    return pattern


def _starts(parsed: Any) -> Iterator[set[str]]:
    """Yield which letters the first, second, … character of a match can be, while that is known."""
    for operator, argument in parsed:
        match str(operator):
            case "LITERAL":
                yield {chr(argument).casefold()}
            case "IN" if all(str(kind) == "LITERAL" for kind, _ in argument):
                yield {chr(letter).casefold() for _, letter in argument}
            case "AT":
                pass
            case "SUBPATTERN":
                inner = list(_starts(argument[-1]))
                yield from inner
                if len(inner) < argument[-1].getwidth()[1]:
                    return
            case "BRANCH":
                for letters in zip(*map(_starts, argument[1]), strict=False):
                    yield set.union(*letters)
                return
            case _:
                return


def _distance(starts: list[set[str]]) -> int:
    """Return how near to each other two matches can start, at least: three places for how."""
    for distance in range(1, len(starts)):
        if _alike(starts, starts[distance:]):
            return distance
    return max(1, len(starts))


def _alike(one: list[set[str]], other: list[set[str]]) -> bool:
    """Return whether one text could start in both ways."""
    return all(map(set.__and__, one, other))


def _search(parsed: Any) -> tuple[float, float]:
    """Return in how many ways, and after how many steps, a match from one place fails at worst."""
    ways, steps = 1.0, 0.0
    for operator, argument in parsed:
        more, cost = _part(str(operator), argument)
        steps += ways * cost
        ways *= more
    return ways, steps


def _part(operator: str, argument: Any) -> tuple[float, float]:
    match operator:
        case "IN":
            return 1, 3
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = argument
            if str(repeated) in _BLANKS:
                most = min(most, max(least, 1))
            if len(repeated) == 1 and str(repeated[0][0]) in _SINGLE:
                ways = most - least + 1
                return ways, most + 5 * (ways > 1) * ways
            return _repeated(least, min(most, 1000), *_search(repeated))
        case "BRANCH":
            ways, steps = zip(*map(_search, argument[1]), strict=True)
            starts = [list(_starts(branch)) for branch in argument[1]]
            both = [pair for pair in combinations(starts, 2) if _alike(*pair)]
            most = sum(ways) if both else max(ways)
            if any(_alike(one[:1], other[:1]) for one, other in combinations(starts, 2)):
                return most, sum(steps) + 4 * len(steps)
            return most, max(steps) + len(steps)
        case "SUBPATTERN":
            return _search(argument[-1])
        case "ASSERT" | "ASSERT_NOT":
            return 1, _search(argument[-1])[1] + 5
        case "ATOMIC_GROUP":
            return 1, _search(argument)[1]
        case "GROUPREF":
            return 1, 80
        case "GROUPREF_EXISTS":
            return _part("BRANCH", (None, [argument[1], argument[2] or ()]))
    return 1, 1


def _repeated(least: int, most: int, ways: float, steps: float) -> tuple[float, float]:
    ends, cost, arrivals = 0.0, 0.0, 1.0
    for times in range(most + 1):
        ends += arrivals * (times >= least)
        cost += arrivals * (steps + 10) * (times < most)
        arrivals *= ways
        if cost > 1e6:
            break
    return ends, cost
