"""OpenDocument texts (``.odt``) and presentations: headings, paragraphs, lists and tables."""

from typing import TYPE_CHECKING

from ...cleaning import one_line
from ...model import Document
from ..outline import Outline
from .archive import attribute, inside, local, opened

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_BLOCKS = {"p": "p", "list": "ul", "list-item": "li", "table": "table", "table-row": "tr"} | {
    "table-cell": "td",
    "page": "section",
}
_UNSEEN = frozenset(("tracked-changes", "annotation", "sequence-decls", "forms", "scripts"))
_DEEPEST = 300


def read(data: bytes) -> Document:
    """Read an ``.odt`` or ``.odp``. Changes that are tracked, and comments, are no text.

    Raises ``UnreadableDocument``. See OASIS OpenDocument 1.3, part 3, sections 5 and 9.
    """
    with opened(data) as archive:
        content = archive.xml("content.xml")
        title = ""
        if "meta.xml" in archive.names():
            found = next(inside(archive.xml("meta.xml"), {"title"}), None)
            title = one_line(found.text or "") if found is not None else ""
    outline = Outline()
    for body in inside(content, {"body"}):
        _read(body, outline, 0)
    document = outline.finished()
    document.title = document.title or title
    return document


def _read(element: "Element", outline: Outline, depth: int) -> None:
    name = local(element)
    if name in _UNSEEN or attribute(element, "visibility") in ("collapse", "filter"):
        return
    if depth > _DEEPEST:
        raise RecursionError
    tag = _BLOCKS.get(name)
    if name == "h":
        level = attribute(element, "outline-level")
        tag = f"h{min(int(level), 6) if level.isdecimal() and level != '0' else 1}"
    if tag:
        outline.enter(tag, {})
    elif name in ("line-break", "tab") or name == "s":
        outline.text(" ")
    outline.text(element.text or "")
    for child in element:
        _read(child, outline, depth + 1)
        outline.text(child.tail or "")
    if tag:
        outline.leave(tag)
