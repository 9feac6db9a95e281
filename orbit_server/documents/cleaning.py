"""Text as a reader sees it: no invisible characters, plain line breaks, NFC."""

import re
import unicodedata

_LINE_BREAK = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters, soft hyphens, bidirectional controls, fillers, variation selectors and the tag
# characters: nobody sees them, but a model reads them, so a page could carry instructions that its
# reader never noticed. Tab and line feed stay; so do the emoji selectors and, between letters that
# may need them, the two joiners, each only once.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_REPEATED = re.compile("[\u200c\u200d]{2,}|[\ufe0e\ufe0f](?=[\ufe0e\ufe0f])")
_STRAY_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")


def clean(text: str) -> str:
    """Return ``text`` in NFC, with plain line breaks and without what a reader cannot see."""
    if text.isascii() and text.isprintable():
        return text
    text = _INVISIBLE.sub("", _LINE_BREAK.sub("\n", text))
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))
    return unicodedata.normalize("NFC", _STRAY_JOINER.sub("", _REPEATED.sub("", text)))


def one_line(text: str) -> str:
    """Return ``text`` cleaned, each run of white space as one space, none at the ends."""
    return " ".join(clean(text).split())
