"""Text and structure -> chunks: what is embedded, what is stored, and where it came from.

A reader of some format (``extract.py``) hands over blocks: paragraphs, lists, tables and listings
under their headings. ``split`` packs them into passages, ``Chunk.of`` gives a passage its id.
Everything here is pure and needs the standard library only.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Self

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """One entry of a collection: the vector of ``embed`` is stored, ``text`` is shown.

    ``metadata`` has ``source``, ``title`` and ``position`` (0-based, within the file), where known
    ``heading`` and ``page`` (1-based), and for pairs ``question``, ``answer`` and the author's own
    fields.
    """

    id: str
    embed: str
    text: str
    metadata: dict[str, Scalar]

    @classmethod
    def of(cls, embed: str, text: str, metadata: dict[str, Scalar]) -> Self:
        """Return the chunk with the id that follows from its content.

        The id is 32 hexadecimal digits, the same on every run and machine. Source and position are
        content too, so two chunks of one load never share an id, however alike their texts are.
        """
        content = json.dumps([embed, text, metadata], sort_keys=True, separators=(",", ":"))
        return cls(hashlib.sha256(content.encode()).hexdigest()[:32], embed, text, metadata)


MAX_HEADING_CHARS = 200


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table or listing; ``split`` also returns its passages as blocks.

    A line break in ``text`` is one that the author made. ``heading`` is the path of headings above
    it ("Town hall > Opening hours"), ``page`` is 1-based. In a ``verbatim`` block white space
    matters.
    """

    text: str
    heading: str = ""
    page: int | None = None
    verbatim: bool = False


@dataclass(slots=True)
class Document:
    """What a reader hands over: the title, and the blocks in reading order."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def heading_path(headings: Sequence[str]) -> str:
    """Return the path of ``headings`` from the outermost on; empty ones are left out."""
    return " > ".join(filter(None, headings))


def shortened(heading: str) -> str:
    """Return ``heading`` cut to a length that a source list can show."""
    return heading if len(heading) <= MAX_HEADING_CHARS else f"{heading[: MAX_HEADING_CHARS - 1]}…"


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


def split(blocks: Iterable[Block], *, size: int, overlap: int) -> Iterator[Block]:
    """Pack ``blocks`` into passages of at most ``size`` characters and return them in order.

    A passage never crosses a heading or a page. It holds whole paragraphs where they fit; a longer
    paragraph is divided between sentences (in tables, lists and listings: lines), a longer sentence
    between words and a longer word anywhere. Consecutive passages of a section share whole
    sentences of up to ``overlap`` characters. No text is lost.
    """
    for (heading, page), section in groupby(blocks, key=lambda block: (block.heading, block.page)):
        for text in _pack((_units(block, size) for block in section), size, overlap):
            if text:
                yield Block(text, heading, page)


class _Unit(NamedTuple):
    glue: str  # what joins it to the unit before: blank line, line break, space or nothing
    text: str
    whole: bool = True  # False for the pieces of a sentence that is too long


def _length(units: Iterable[_Unit]) -> int:
    return sum(len(unit.glue) + len(unit.text) for unit in units)


def _pack(paragraphs: Iterable[list[_Unit]], size: int, overlap: int) -> Iterator[str]:
    packed: list[_Unit] = []
    length = 0
    for paragraph in paragraphs:
        fits = _length(_leading(paragraph)) <= size
        for step in [paragraph] if fits else [[unit] for unit in paragraph]:
            needed = _length(step)
            if packed and length + needed > size:
                yield _joined(packed)
                packed = _tail(packed, min(overlap, size - needed))
                length = _length(packed)
            if not packed:
                step = _leading(step)
            packed += step
            length += _length(step)
    yield _joined(packed)


def _leading(units: list[_Unit]) -> list[_Unit]:
    return [unit._replace(glue="") for unit in units[:1]] + units[1:]


def _joined(units: list[_Unit]) -> str:
    return "".join(unit.glue + unit.text for unit in units).strip("\n").rstrip()


def _tail(units: list[_Unit], room: int) -> list[_Unit]:
    start = len(units)
    while start and units[start - 1].whole and len(units[start - 1].text) <= room:
        start -= 1
        room -= _length([units[start]])
    return _leading(units[start:])


def _units(block: Block, size: int) -> list[_Unit]:
    units: list[_Unit] = []
    glue = "\n\n"
    for line in clean(block.text).split("\n"):
        sentences = [("", line.rstrip())] if block.verbatim else _sentences(" ".join(line.split()))
        for space, sentence in sentences:
            if sentence or block.verbatim:
                units += _fitted(glue or space, sentence, size, block.verbatim)
                glue = ""
        if units:
            glue = "\n"
    return units


def _fitted(glue: str, sentence: str, size: int, verbatim: bool) -> Iterator[_Unit]:
    if len(sentence) <= size:
        yield _Unit(glue, sentence)
        return
    for word in [sentence] if verbatim else sentence.split(" "):
        for start in range(0, len(word), size):
            yield _Unit(glue, word[start : start + size], whole=False)
            glue = ""
        glue = " "


_BOUNDARY = re.compile(
    r"(?<=[.!?…]) |(?<=[.!?…][\"'”’»›)\]]) "
    r"|(?<=[。！？])(?![。！？」』”’）]) ?|(?<=[。！？][」』”’）])(?![。！？」』”’）]) ?"
)
_ABBREVIATIONS = frozenset(
    [
        "mr.",
        "mrs.",
        "ms.",
        "dr.",
        "prof.",
        "rev.",
        "hon.",
        "st.",
        "no.",
        "nos.",
        "fig.",
        "vs.",
        "etc.",
        "e.g.",
        "i.e.",
        "cf.",
        "approx.",
        "ca.",
        "inc.",
        "ltd.",
        "co.",
        "corp.",
        "dept.",
        "est.",
        "tel.",
        "ext.",
        "art.",
        "sec.",
        "vol.",
        "pp.",
        "ed.",
        "eds.",
        "jan.",
        "feb.",
        "mar.",
        "apr.",
        "jun.",
        "jul.",
        "aug.",
        "sep.",
        "sept.",
        "oct.",
        "nov.",
        "dec.",
        "nr.",
        "z.b.",
        "d.h.",
        "u.a.",
        "o.ä.",
        "bzw.",
        "usw.",
        "evtl.",
        "ggf.",
        "inkl.",
        "zzgl.",
        "str.",
        "abs.",
        "bspw.",
        "hr.",
        "frl.",
        "geb.",
        "vgl.",
        "max.",
        "min.",
        "mind.",
        "mme.",
        "mlle.",
        "av.",
        "bd.",
        "env.",
        "p.ex.",
        "p.ej.",
        "sr.",
        "sra.",
        "srta.",
        "núm.",
        "pág.",
        "ud.",
        "uds.",
        "sig.",
        "dott.",
        "ecc.",
        "pag.",
        "dhr.",
        "mw.",
        "bijv.",
    ]
)


def _sentences(line: str) -> Iterator[tuple[str, str]]:
    start, glue = 0, ""
    for boundary in _BOUNDARY.finditer(line):
        if boundary.end() < len(line) and not _goes_on(line, start, boundary):
            yield glue, line[start : boundary.start()]
            start, glue = boundary.end(), boundary.group()
    yield glue, line[start:]


def _goes_on(line: str, start: int, boundary: re.Match[str]) -> bool:
    if line[boundary.end()].islower():
        return True
    word = line[max(start, line.rfind(" ", start, boundary.start()) + 1) : boundary.start()]
    word = word.lstrip("([{\"'„“”‘«‹").casefold()
    if not word.endswith("."):
        return False
    initial_or_ordinal = (word[:-1].isdigit() and len(word) <= 3) or (
        word[:-1].isalpha() and len(word) == 2
    )
    return initial_or_ordinal or word in _ABBREVIATIONS
