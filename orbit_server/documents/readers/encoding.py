"""Bytes to text, for all readers of text: in the declared encoding, else in a guessed one."""

import codecs
from typing import NamedTuple

import charset_normalizer
import webencodings  # type: ignore[import-untyped]

from ...errors import UnreadableDocument

_SAMPLE = 1 << 18
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Those in which browsers read pages; by more of them, fewer are told apart.
# fmt: off
_LIKELY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "gb18030",
    "big5", "cp932", "euc_jp", "iso2022_jp", "cp949",
]
# fmt: on
# What letters of other Latin alphabets look like in windows-1252, which no language has together.
_MISREAD = (("cp1250", "øì", ""), ("cp1254", "ýþ", "áæ"))
_NAMES = {"gb18030": "GBK", "cp932": "Shift-JIS", "cp949": "EUC-KR", "euc_jp": "EUC-JP"}


class Decoded(NamedTuple):
    """A text, and in a sentence which encoding was assumed, where nothing says it."""

    text: str
    note: str = ""


def decoded(data: bytes, declared: str | None = None) -> Decoded:
    """Return ``data`` as text.

    A byte order mark says the encoding; else it is UTF-8 if that is possible; else what the file
    has ``declared``, a label of the HTML standard (https://encoding.spec.whatwg.org/#names-and-labels;
    "iso-8859-1" means windows-1252); else it is guessed from the bytes. Raises
    ``UnreadableDocument`` for what is no text, naming the first wrong byte where it was said what
    it is.
    """
    for mark, marked in _MARKS:
        if data.startswith(mark):
            return Decoded(_as_said(data[len(mark) :], marked, skipped=len(mark)))
    encoding = _named(declared) if declared else None
    if encoding and encoding.startswith("iso2022"):  # consists of ASCII
        return Decoded(_as_said(data, encoding))
    if wide := _wide(data):
        return Decoded(_as_said(data, wide), _assumed(wide))
    try:
        return Decoded(data.decode())
    except UnicodeDecodeError:
        pass
    if encoding:
        return Decoded(_as_said(data, encoding))
    return _guessed(data)


def _named(label: str) -> str:
    found = webencodings.lookup(label)
    if found is None:
        raise UnreadableDocument("The page declares an unknown character set.")
    # Whoever could read the declaration has not read UTF-16.
    name = found.codec_info.name
    return "utf-8" if name.startswith("utf-16") else str(name)


def _as_said(data: bytes, encoding: str, *, skipped: int = 0) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocument(
            f"The file is not {encoding.upper()} text: byte {error.start + skipped} is"
            f" 0x{data[error.start]:02x}; save it as UTF-8."
        ) from error


def _wide(data: bytes) -> str | None:
    """Return which UTF-16 it is: every other byte is zero, in foreign scripts those of blanks."""
    sample = data[: _SAMPLE - _SAMPLE % 2]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(data) % 2 or max(even, odd) < len(sample) / 50 or min(even, odd) > max(even, odd) / 20:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _guessed(data: bytes) -> Decoded:
    if b"\0" in data:
        raise UnreadableDocument("The file is not text.")
    matches = charset_normalizer.from_bytes(data[:_SAMPLE], cp_isolation=_LIKELY)
    best = matches.best()
    if best is None:
        raise UnreadableDocument("The file is not text in any known encoding; save it as UTF-8.")
    encoding = best.encoding
    if encoding in ("cp1250", "cp1254") and any("cp1252" in _equal(each) for each in matches):
        encoding = _latin(data)
    text = data.decode(encoding, errors="replace")
    note = _assumed(encoding)
    if lost := text.count("\ufffd"):
        note += f" {lost} characters cannot be read."
    return Decoded(text, note)


def _equal(match: charset_normalizer.CharsetMatch) -> list[str]:
    return [match.encoding, *match.could_be_from_charset]


def _latin(data: bytes) -> str:
    text = data[:_SAMPLE].decode("cp1252", errors="ignore").lower()
    for encoding, all_of, none_of in _MISREAD:
        if all(letter in text for letter in all_of) and not any(each in text for each in none_of):
            return encoding
    return "cp1252"


def _assumed(encoding: str) -> str:
    name = _NAMES.get(encoding, encoding.replace("cp", "windows-").replace("_", "-"))
    return f"The file does not say its encoding; it was read as {name}."
