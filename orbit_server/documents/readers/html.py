"""HTML, and Markdown as HTML, become blocks of text under headings: what a reader would see.

Python's own parser tells tags and text; which elements are open, and which of them are hidden, is
known here. A whole HTML5 parser (selectolax was tried) finds the same text in real pages, but on
hostile ones its time grows with the square of their length, and nothing can stop it.
"""

import re
from html.parser import HTMLParser

from ...errors import UnreadableDocument
from ..model import Document
from .outline import BLOCKS, CELLS, Outline

MAX_NESTING = 1000
# fmt: off
_VOID = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
))
_UNSEEN = frozenset((
    "audio", "canvas", "datalist", "iframe", "math", "nav", "noembed", "noframes", "noscript",
    "script", "style", "svg", "template", "video",
))
# fmt: on
_ZERO = r"(?:0+(?:\.0*)?|\.0+)(?:[a-z]+|%)?(?=[;!]|$)"
_STYLED_AWAY = re.compile(
    rf"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|font-size:{_ZERO}|opacity:{_ZERO})"
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]{1,40})", re.I)
_STYLE_NOISE = re.compile(r"/\*.*?\*/|\s+", re.S)
# whose end tags an author may leave out before the tag on the left; other blocks end a paragraph
_ENDED_BY = {
    "li": frozenset(("li", "p")),
    "dt": frozenset(("dt", "dd", "p")),
    "dd": frozenset(("dt", "dd", "p")),
    "option": frozenset(("option",)),
    "td": CELLS | {"p"},
    "th": CELLS | {"p"},
    "tr": CELLS | {"p", "tr"},
    "tbody": CELLS | {"p", "tr", "thead", "tbody"},
    "tfoot": CELLS | {"p", "tr", "thead", "tbody"},
}
_TABLE_PARTS = CELLS | {"caption", "table", "tbody", "tfoot", "thead", "tr"}
_SCOPES = CELLS | {"caption"}
_ENDED_BY_ANY_BLOCK = frozenset(("p", "title"))

Attributes = list[tuple[str, str | None]]


def _hides(tag: str, attributes: Attributes) -> bool:
    if tag in _UNSEEN:
        return True
    if not attributes:
        return tag == "dialog"
    values = {name: value or "" for name, value in reversed(attributes)}
    return (
        "hidden" in values
        or (tag == "dialog" and "open" not in values)
        or values.get("aria-hidden", "").strip().lower() == "true"
        or _STYLED_AWAY.search(_STYLE_NOISE.sub("", values.get("style", "")).lower()) is not None
    )


class Page(HTMLParser):
    """Tells an outline which elements begin and end, leaving out what a browser would not show.

    HTML comes in through ``markup``; Markdown calls the ``handle_`` methods with its own tokens and
    ``markup`` with the HTML between them, so that a hidden element hides the Markdown inside it
    too. Nothing here recurses. Only blocks, and whatever is inside a hidden element, are kept on
    the stack.
    """

    def __init__(self) -> None:
        super().__init__()
        self._outline = Outline()
        self._open: list[str] = []
        self._hidden_at: int | None = None

    def markup(self, html: str) -> None:
        """Read a piece of HTML; an unfinished tag or comment is dropped, as browsers do."""
        self.reset()
        # browsers end these comments earlier than the parser of this Python version does
        html = (
            html.replace("<![", "<!")
            .replace("<!-->", "")
            .replace("<!--->", "")
            .replace("--!>", "-->")
        )
        self.feed(html)
        if re.match(r"<[a-zA-Z/!?]", self.rawdata):
            self.rawdata = ""
        self.close()

    def finished(self) -> Document:
        """Return the document; call once, at the end."""
        self._close_from(0)
        return self._outline.finished()

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        # HTML ignores the slash, so <div hidden/> hides what follows; only SVG and MathML heed it
        if self._hidden_at is None and tag not in ("svg", "math"):
            self.handle_starttag(tag, attrs)

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        if tag in _VOID:
            if self._hidden_at is None and tag == "br":
                self._outline.break_line()
            elif self._hidden_at is None and tag == "hr":
                self._outline.break_paragraph()
            return
        if tag in BLOCKS:
            self._end_implied(_ENDED_BY.get(tag, _ENDED_BY_ANY_BLOCK))
        if self._hidden_at is None:
            if _hides(tag, attrs):
                if tag in BLOCKS:
                    self._outline.break_paragraph()
                self._hidden_at = len(self._open)
            elif tag in BLOCKS:
                self._outline.enter(tag, dict(attrs))
            else:
                return
        if len(self._open) == MAX_NESTING:
            raise UnreadableDocument("The document is nested too deeply.")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index] == tag:
                self._close_from(index)
                return
            if self._open[index] in BLOCKS and tag not in BLOCKS:
                return
            # A stray end tag in a cell ends nothing outside of the cell, nor outside of the table.
            if self._open[index] in _SCOPES and tag not in _TABLE_PARTS:
                return
            if self._open[index] == "table":
                return

    def handle_data(self, data: str) -> None:
        if self._hidden_at is None:
            self._outline.text(data)

    def _end_implied(self, ended: frozenset[str]) -> None:
        cut = len(self._open)
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index] in ended:
                cut = index
            elif self._open[index] in BLOCKS:
                break
        self._close_from(cut)

    def _close_from(self, index: int) -> None:
        while len(self._open) > index:
            tag = self._open.pop()
            if self._hidden_at is None:
                self._outline.leave(tag)
            elif self._hidden_at == len(self._open):
                self._hidden_at = None


def declared_encoding(data: bytes) -> str | None:
    """Return the label of the character set that a page declares, if any."""
    found = _CHARSET.search(data[:2048])
    return found and found[1].decode()


def parse(markup: str) -> Document:
    """Read HTML. Raises ``UnreadableDocument`` where it is nested too deeply."""
    page = Page()
    page.markup(markup)
    return page.finished()
