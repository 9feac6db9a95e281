"""Sitemaps: the lists in which a site names its pages (https://www.sitemaps.org/protocol.html)."""

import io
import re
import zlib
from pathlib import Path

from ...errors import UnreadableDocument
from ..readers.read import ReadFile
from .address import Site, normalised, owned

_MOST_BYTES = 50_000_000
_MOST_LINKS = 50_000


def read(path: Path, address: str, *, sites: list[list[str]]) -> ReadFile:
    """Read a sitemap, packed or not, as XML or as lines of text.

    ``facts`` are the ``pages`` that belong to ``sites`` (start and folder of each), and the
    ``sitemaps`` that an index names. Raises ``UnreadableDocument``.
    """
    data = _unpacked(path.read_bytes())
    own = [Site(start, folder) for start, folder in sites]
    index, found = _locations(data) if b"<" in data[:200] else (False, _lines(data))
    links = (normalised(each, address) for each in found[:_MOST_LINKS])
    known = list(dict.fromkeys(filter(None, links)))
    if index:
        return ReadFile([], facts={"sitemaps": known, "pages": []})
    pages = dict.fromkeys(filter(None, (owned(each, own) for each in known)))
    return ReadFile([], facts={"sitemaps": [], "pages": list(pages)})


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise UnreadableDocument("The sitemap is damaged.") from error
    if unpacking.unconsumed_tail:
        raise UnreadableDocument("The sitemap is too large.")
    return found


def _locations(data: bytes) -> tuple[bool, list[str]]:
    from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.ElementTree import ParseError, iterparse  # type: ignore[import-untyped]

    found: list[str] = []
    root, top, within = "", None, []
    try:
        for event, element in iterparse(io.BytesIO(data), ("start", "end")):
            name = re.sub(r"\{.*\}", "", element.tag)
            if event == "start":
                if top is None:
                    root, top = name, element
                within.append(name)
                continue
            within.pop()
            # Those of pictures and films stand deeper.
            if name == "loc" and len(within) == 2 and element.text and len(found) < _MOST_LINKS:
                found.append(element.text.strip())
            if len(within) == 1 and top is not None:
                top.clear()  # else it keeps all of them
    except (ParseError, DefusedXmlException) as error:
        if not found:
            raise UnreadableDocument("The sitemap is not XML.") from error
    return root == "sitemapindex", found


def _lines(data: bytes) -> list[str]:
    return [
        line.strip() for line in data.decode("utf-8-sig", "replace").splitlines() if line.strip()
    ]
