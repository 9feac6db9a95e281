"""Text as a reader sees it: no invisible characters, plain line breaks, NFC."""

import re
import unicodedata

from ..characters import EMOJI_SELECTORS, FILLERS, INVISIBLE, JOINERS

_LINE_BREAK = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Nobody sees them, but a model reads them, so a page could carry instructions that its reader never
# noticed. Tab and line feed stay; so do the emoji selectors and, between letters that may need
# them, the two joiners, each only once.
_INVISIBLE = re.compile(f"[{INVISIBLE}\x1c-\x1f]")
_FILLERS = re.compile(f"[{FILLERS}]")
_REPEATED = re.compile(f"[{JOINERS}]{{2,}}|[{EMOJI_SELECTORS}](?=[{EMOJI_SELECTORS}])")
_STRAY_JOINER = re.compile(f"(?<![^\x00-\x7f])[{JOINERS}]|[{JOINERS}](?![^\x00-\x7f])")
# Chinese and Japanese have no blanks between words, so a line that ends there stands for none.
_UNSPACED = "[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
_WRAP = re.compile(rf"(?<={_UNSPACED})[ \t]?\r?\n\s*(?={_UNSPACED})")


def clean(text: str) -> str:
    """Return ``text`` in NFC, with plain line breaks and without what a reader cannot see."""
    if text.isascii() and text.isprintable():
        return text
    text = _FILLERS.sub(" ", _INVISIBLE.sub("", _LINE_BREAK.sub("\n", text)))
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))
    return unicodedata.normalize("NFC", _STRAY_JOINER.sub("", _REPEATED.sub("", text)))


def one_line(text: str) -> str:
    """Return ``text`` cleaned, each run of white space as one space, none at the ends."""
    return " ".join(clean(text).split())


def without_wraps(text: str) -> str:
    """Return ``text`` without the line breaks that just end a line between words without blanks."""
    return _WRAP.sub("", text)


def unwrapped(text: str) -> str:
    """Return ``text`` as one line: its line breaks are spaces, or nothing where words have none."""
    return without_wraps(text).replace("\n", " ")
