"""One page of a web site: its passages, its links, and what it says about itself."""

import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import UnreadableDocument
from ..cleaning import one_line
from ..model import Scalar
from ..readers import html
from ..readers.encoding import Decoded, decoded
from ..readers.read import ReadFile, divided
from .address import Site, normalised, owned
from .content import main_content
from .directives import directives

_MOST_LINKS = 5000
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")


def read(
    path: Path,
    address: str,
    *,
    sites: list[list[str]],
    charset: str | None,
    canonical: bool,
    chunk_chars: int,
    chunk_overlap: int,
) -> ReadFile:
    """Read a page at ``address`` into passages, whose source is its address.

    ``facts`` are its ``links`` within ``sites`` (start and folder of each), whether it says
    ``noindex``, and as ``canonical`` the address that it wants to be known by, where that is
    another one of the sites; then there are no passages, unless ``canonical`` is not asked for.
    Raises ``UnreadableDocument``.
    """
    data = path.read_bytes()
    content, note = _decoded(data, charset)
    own = [Site(start, folder) for start, folder in sites]
    about = _About(address, own)
    about.feed(content)
    about.close()
    facts: dict[str, Any] = {"links": list(about.links), "noindex": "noindex" in about.directives}
    if "nofollow" in about.directives:
        facts["links"] = []
    if canonical and about.canonical not in (None, address):
        facts["canonical"] = about.canonical
        return ReadFile([], facts=facts)
    if facts["noindex"]:
        return ReadFile([], facts=facts)
    document = main_content(content)
    document.title = document.title or address
    more: dict[str, Scalar] = {"language": about.language} if about.language else {}
    try:
        chunks = divided(document, address, chunk_chars, chunk_overlap, more)
    except UnreadableDocument as error:  # its links still count
        return ReadFile([], left_out=[str(error)], facts=facts)
    return ReadFile(chunks, [note] if note else [], facts=facts)


def _decoded(data: bytes, charset: str | None) -> Decoded:
    """Decode as the server says; where that is wrong, as the page says, else as it looks."""
    for declared in filter(None, (charset, html.declared_encoding(data))):
        with suppress(UnreadableDocument):
            return decoded(data, declared)
    return decoded(data)


class _About(HTMLParser):
    """Collects the links of a page, and what its head says."""

    def __init__(self, address: str, sites: list[Site]) -> None:
        super().__init__()
        self._address, self._base, self._sites = address, address, sites
        self.links: dict[str, None] = {}
        self.canonical: str | None = None
        self.directives: set[str] = set()
        self.language = ""

    def handle_starttag(self, tag: str, attrs: html.Attributes) -> None:
        values = {name: value or "" for name, value in reversed(attrs)}
        relations = values.get("rel", "").lower().split()
        if tag in ("a", "area") and "nofollow" not in relations:
            self._add(values.get("href", ""))
        elif tag == "link" and "canonical" in relations:
            self.canonical = self.canonical or self._believed(values.get("href", ""))
        elif tag == "base" and "href" in values:
            self._base = normalised(values["href"], self._address) or self._base
        elif tag == "html" and _LANGUAGE.fullmatch(one_line(values.get("lang", ""))):
            self.language = values["lang"].strip()
        elif tag == "meta":
            self._meta(values)

    def _meta(self, values: dict[str, str]) -> None:
        name, content = values.get("name", "").strip().lower(), values.get("content", "")
        if name:
            self.directives |= directives([f"{name}: {content}"])
        elif values.get("http-equiv", "").lower() == "refresh":
            _, found, target = content.partition("=")
            if found:
                self._add(target.strip("'\" "))

    def _add(self, href: str) -> None:
        if not href.strip() or len(self.links) >= _MOST_LINKS:
            return
        link = normalised(href, self._base)
        if link and (link := owned(link, self._sites)):
            self.links[link] = None

    def _believed(self, href: str) -> str | None:
        found = normalised(href, self._base)
        found = owned(found, self._sites) if found else None
        # Many a system calls every page by the address of the first.
        first = found is not None and urlsplit(found).path == "/"
        return None if first and urlsplit(self._address).path != "/" else found
