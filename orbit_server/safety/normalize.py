"""One form of a text: without differences of case, accents, widths, and letters that look alike.

Phrases, verdicts and texts meet in it. It is for comparing only; nobody is shown it.
"""

import re
import unicodedata

from ..characters import EMOJI_SELECTORS, FILLERS, INVISIBLE, JOINERS

# Beside what nobody sees: colours of skin, and what stands for a character that is not there.
_UNSEEN = re.compile(
    f"[{INVISIBLE}{JOINERS}{EMOJI_SELECTORS}{FILLERS}\ufffc\ufffd\U0001f3fb-\U0001f3ff]+"
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


def plain(text: str, *, unseen: str = "") -> str:
    """Return ``text`` in one case and width, blanks made single.

    Characters that nobody sees become ``unseen``: nothing, or a blank for those who put them
    where a blank belongs.
    """
    text = unicodedata.normalize("NFKC", _visible(text, unseen))
    return " ".join(text.casefold().split())


def fold(text: str, *, unseen: str = "") -> str:
    """Return ``text`` as ``plain`` does, accents gone and look-alikes turned into Latin letters."""
    text = unicodedata.normalize("NFKD", _visible(text, unseen))
    text = unicodedata.normalize("NFKC", _ACCENTS.sub("", text))
    text = _AFTER_LATIN.sub(_without_marks, text)
    # Twice, because a capital may look like another letter than its small form (Greek Ν and ν).
    text = text.translate(_LOOK_ALIKES).casefold().translate(_LOOK_ALIKES)
    return " ".join(text.split())


def _visible(text: str, unseen: str) -> str:
    # The one character that stands for a whole sentence would make a text eighteen times as long.
    text = text.replace("\ufdfa", " ")
    return _HEAPED.sub(r"\1", _UNSEEN.sub(unseen, text))


def _without_marks(signs: re.Match[str]) -> str:
    return "".join(sign for sign in signs[0] if unicodedata.category(sign) != "Mn")
