"""Markdown, with the HTML in it: the title, and blocks of text under headings."""

import re
import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import UnreadableDocument
from ..cleaning import one_line, without_wraps
from ..model import Document
from .html import Attributes, Page

if TYPE_CHECKING:
    from markdown_it.rules_core import StateCore

_FRONT_MATTER = re.compile(
    r"---[ \t]*\r?\n(?=[\w-]+[ \t]*:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S
)
_TOML_FRONT_MATTER = re.compile(r"\+\+\+[ \t]*\r?\n(.*?\n)\+\+\+[ \t]*(?:\r?\n|\Z)", re.S)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(\"?'?)(.*?)\1[ \t\r]*$", re.M | re.I)
_MOST_BRACKETS = 2000


def read(text: str) -> Document:
    """Read CommonMark with tables and front matter. Raises ``UnreadableDocument``."""
    from markdown_it import MarkdownIt

    title, text = _without_front_matter(text)
    page = Page()
    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 100}).enable("table")
    parser.core.ruler.before("inline", "prepared", _prepare)
    for token in parser.parse(text):
        if token.level >= 99:
            raise UnreadableDocument("The document is nested too deeply.")
        if token.type == "html_block":
            page.markup(token.content)
        elif token.type in ("fence", "code_block"):
            page.handle_starttag("pre", [])
            page.handle_data(token.content)
            page.handle_endtag("pre")
        elif token.nesting > 0:
            attributes: Attributes = [(name, str(value)) for name, value in token.attrs.items()]
            page.handle_starttag(token.tag, attributes)
        elif token.nesting < 0:
            page.handle_endtag(token.tag)
        for piece in token.children or ():
            if piece.type == "html_inline":
                page.markup(piece.content)
            elif piece.type == "hardbreak":
                page.handle_starttag("br", [])
            elif piece.type == "softbreak":
                page.handle_data(" ")
            elif piece.type in ("text", "code_inline"):
                page.handle_data(piece.content)
    document = page.finished()
    document.title = title or document.title
    return document


def _without_front_matter(text: str) -> tuple[str, str]:
    """Return the title that YAML or TOML in front of the text names, and the rest."""
    if front := _FRONT_MATTER.match(text):
        named = _FRONT_TITLE.search(front[1])
        return one_line(named[2]) if named else "", text[front.end() :]
    if front := _TOML_FRONT_MATTER.match(text):
        with suppress(tomllib.TOMLDecodeError):  # then it was no front matter
            title = tomllib.loads(front[1].replace("\r\n", "\n")).get("title")
            return one_line(title) if isinstance(title, str) else "", text[front.end() :]
    return "", text


def _prepare(state: "StateCore") -> None:
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.content = without_wraps(token.content)
        # The end of a link is looked for from every bracket on: the square of their number.
        if token.content.count("[") > _MOST_BRACKETS:
            token.content = re.sub(r"\\?\[", "&#91;", token.content)
