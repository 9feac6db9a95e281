"""Electronic books: the chapters in their order, each a page of HTML."""

import posixpath
from dataclasses import replace
from urllib.parse import unquote

from ...cleaning import one_line
from ...model import Document, heading_path
from ..encoding import decoded
from ..html import declared_encoding, parse
from .archive import attribute, inside, opened

_PAGES = ("application/xhtml+xml", "text/html")


def read(data: bytes) -> Document:
    """Read an ``.epub``: the pages of its spine (EPUB 3.3, section 5.7), without the navigation.

    Raises ``UnreadableDocument``.
    """
    with opened(data) as archive:
        container = archive.xml("META-INF/container.xml")
        package = next(
            (attribute(each, "full-path") for each in inside(container, {"rootfile"})), ""
        )
        root = archive.xml(package)
        pages = {
            attribute(item, "id"): posixpath.normpath(
                posixpath.join(posixpath.dirname(package), unquote(attribute(item, "href")))
            )
            for item in inside(root, {"item"})
            if attribute(item, "media-type") in _PAGES
            and "nav" not in attribute(item, "properties").split()
        }
        book = Document(one_line(next((each.text or "" for each in inside(root, {"title"})), "")))
        for entry in inside(root, {"itemref"}):
            if (page := pages.get(attribute(entry, "idref"))) is None:
                continue
            content = archive.bytes(page)
            chapter = parse(decoded(content, declared_encoding(content)).text)
            book.blocks += [
                replace(block, heading=block.heading or heading_path([chapter.title]))
                for block in chapter.blocks
            ]
    return book
