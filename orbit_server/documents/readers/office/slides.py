"""Presentations: a slide's title is the heading of its text and tables; its notes follow."""

import posixpath
import re
from typing import TYPE_CHECKING

from ...cleaning import one_line
from ...model import Block, Document, shortened
from .archive import Archive, attribute, inside, local, opened

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SLIDES = "ppt/presentation.xml"


def read(data: bytes) -> Document:
    """Read a ``.pptx``: the slides in their order, hidden ones left out.

    Raises ``UnreadableDocument``. The parts are described in ECMA-376, part 1, section 13.3.
    """
    with opened(data) as archive:
        document = Document("")
        targets = _targets(archive, _SLIDES)
        number = 0
        for entry in inside(archive.xml(_SLIDES), {"sldId"}):
            part = targets.get(attribute_of_relation(entry), "")
            slide = archive.xml(part)
            if attribute(slide, "show") in ("0", "false"):
                continue
            number += 1
            _add(document, slide, number)
            for target in _targets(archive, part).values():
                if "/notesSlides/" in target:
                    _add_notes(document, archive.xml(target), number)
        return document


def attribute_of_relation(element: "Element") -> str:
    """Return the id of the relation that an element refers to."""
    return next((value for key, value in element.attrib.items() if key.endswith("}id")), "")


def _targets(archive: Archive, part: str) -> dict[str, str]:
    """Return the names of the parts that a part refers to, by the ids of the relations."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.names():
        return {}
    return {
        attribute(each, "Id"): posixpath.normpath(
            posixpath.join("/", folder, attribute(each, "Target"))
        ).lstrip("/")
        for each in inside(archive.xml(relations), {"Relationship"})
        if attribute(each, "TargetMode") != "External"
    }


def _add(document: Document, slide: "Element", number: int) -> None:
    title = ""
    texts: list[str] = []
    for shape in inside(slide, {"sp", "graphicFrame"}):
        kind = next((attribute(each, "type") for each in inside(shape, {"ph"})), "")
        rows = [_row(row) for row in inside(shape, {"tr"})]
        text = "\n".join(filter(None, rows or _paragraphs(shape)))
        if kind in ("title", "ctrTitle") and not title:
            title = one_line(text)
        elif text and kind not in ("dt", "ftr", "sldNum"):
            texts.append(text)
    if not document.title and not document.blocks:
        document.title = title
    heading = shortened(title)
    document.blocks += [Block(text, heading, page=number) for text in texts or [title] if text]


def _add_notes(document: Document, notes: "Element", number: int) -> None:
    heading = document.blocks[-1].heading if document.blocks else ""
    for shape in inside(notes, {"sp"}):
        if any(attribute(each, "type") == "body" for each in inside(shape, {"ph"})):
            text = "\n".join(filter(None, _paragraphs(shape)))
            document.blocks += [Block(text, heading, page=number)] if text else []


def _row(row: "Element") -> str:
    cells = (" ".join(_paragraphs(cell)) for cell in inside(row, {"tc"}))
    return " | ".join(filter(None, cells))


def _paragraphs(shape: "Element") -> list[str]:
    return [
        one_line("".join(_text(each) for each in inside(paragraph, {"t", "br"})))
        for paragraph in inside(shape, {"p"})
        if not re.fullmatch(r"\s*", "".join(paragraph.itertext()))
    ]


def _text(element: "Element") -> str:
    return " " if local(element) == "br" else element.text or ""
