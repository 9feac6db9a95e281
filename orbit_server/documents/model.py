"""What documents are made of: blocks of text under headings, and the chunks that are stored."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

Scalar = str | int | float | bool
MAX_HEADING_CHARS = 200
OF_LOAD = "orbit_"  # what the metadata of a load begins with, and no author's own field does


@dataclass(frozen=True, slots=True)
class Chunk:
    """One entry of a collection: the vector of ``embed`` is stored, ``text`` is shown.

    ``metadata`` has ``source``, ``title`` and ``position`` (0-based, within the file), where known
    ``heading`` and ``page`` (1-based), and for pairs ``question``, ``answer`` and the author's own
    fields. What a load adds about itself begins with ``orbit_``.
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
        own = {key: value for key, value in metadata.items() if not key.startswith(OF_LOAD)}
        content = json.dumps([embed, text, own], sort_keys=True, separators=(",", ":"))
        return cls(hashlib.sha256(content.encode()).hexdigest()[:32], embed, text, metadata)


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
    """What a reader hands over: the title, the blocks in reading order, and what is to be said.

    ``notes`` are about the whole document, ``left_out`` are its parts that could not be read.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def heading_path(headings: Sequence[str]) -> str:
    """Return the path of ``headings`` from the outermost on; empty ones are left out."""
    return " > ".join(filter(None, headings))


def shortened(heading: str) -> str:
    """Return ``heading`` cut to a length that a source list can show."""
    return heading if len(heading) <= MAX_HEADING_CHARS else f"{heading[: MAX_HEADING_CHARS - 1]}…"
