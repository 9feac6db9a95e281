"""Blocks of text -> passages that an embedding model and a reader can take in at once.

Pure and fast; needs the standard library only. The sentences are found in ``readers/sentences.py``.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from .cleaning import clean
from .model import Block
from .readers.sentences import sentences


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
        divided = [("", line.rstrip())] if block.verbatim else sentences(" ".join(line.split()))
        for space, sentence in divided:
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
