"""HTML, and Markdown as HTML, become blocks of text under headings: what a reader would see."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from ...errors import UnreadableDocument
from ..cleaning import one_line
from ..model import MAX_HEADING_CHARS, Block, Document, heading_path, shortened
from .text import decoded

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
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_LISTS = frozenset(("ul", "ol", "menu", "dl"))
_CELLS = frozenset(("td", "th"))
_BLOCKS = _HEADINGS | _LISTS | _CELLS | {
    "address", "article", "aside", "blockquote", "body", "button", "caption", "center", "dd",
    "details", "dialog", "div", "dt", "fieldset", "figcaption", "figure", "footer", "form",
    "header", "hgroup", "html", "legend", "li", "main", "optgroup", "option", "p", "pre", "search",
    "section", "select", "summary", "table", "tbody", "tfoot", "thead", "title", "tr",
}
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
    "td": _CELLS | {"p"},
    "th": _CELLS | {"p"},
    "tr": _CELLS | {"p", "tr"},
    "tbody": _CELLS | {"p", "tr", "thead", "tbody"},
    "tfoot": _CELLS | {"p", "tr", "thead", "tbody"},
}
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


@dataclass(slots=True)
class _Table:
    rows: list[list[list[str]]] = field(default_factory=list)  # of cells, which hold their parts
    labelled: bool = True  # the first row consists of header cells
    cell_open: bool = False
    layout: bool = (
        False  # headings or tables in its cells: it arranges a page and means nothing itself
    )

    def enter_cell(self, tag: str) -> None:
        if not self.rows:
            self.rows.append([])
        self.rows[-1].append([])
        self.labelled = self.labelled and (tag == "th" or len(self.rows) > 1)
        self.cell_open = True

    def lines(self) -> list[str]:
        labelled = self.labelled and bool(self.rows) and any(self.rows[0])
        rows = [[" ".join(cell) for cell in row] for row in self.rows if any(row)]
        if not labelled or len(rows) == 1:
            return [" | ".join(filter(None, row)) for row in rows]
        labels, *body = rows
        complete = all(len(row) == len(labels) and all(row) for row in body)
        lines = [] if complete else [" | ".join(filter(None, labels))]
        for row in body:
            names = labels if len(row) == len(labels) else [""] * len(row)
            cells = [
                (name.rstrip(":"), cell) for name, cell in zip(names, row, strict=True) if cell
            ]
            lines.append(" | ".join(f"{name}: {cell}" if name else cell for name, cell in cells))
        return lines


class Outline(HTMLParser):
    """Turns tags and text into blocks under headings, leaving out what a browser would not show.

    HTML comes in through ``markup``; Markdown calls the ``handle_`` methods with its own tokens and
    ``markup`` with the HTML between them, so that a hidden element hides the Markdown inside it
    too. Nothing here recurses. Only blocks, and whatever is inside a hidden element, are kept on
    the stack.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._document = Document(title)
        self._path: list[tuple[int, str]] = []
        self._bare = False  # the last heading has nothing below it yet
        self._parts: list[str] = []  # the headings of level 1; "" for a first one that comes late
        self._open: list[str] = []
        self._hidden_at: int | None = None
        self._text: list[str] = []
        self._level = 0
        self._listings = 0
        self._lists: list[int | None] = []
        self._marker = ""
        self._lines: list[str] = []
        self._tables: list[_Table] = []

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
        self._flush()
        self._end_lines()
        self._keep_bare_heading(0)
        # The first of several is the name of one part; before the others it would mislead.
        if not self._document.title and len(self._parts) == 1:
            self._document.title = self._parts[0]
        return self._document

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        # HTML ignores the slash, so <div hidden/> hides what follows; only SVG and MathML heed it
        if self._hidden_at is None and tag not in ("svg", "math"):
            self.handle_starttag(tag, attrs)

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        if tag in _VOID:
            if self._hidden_at is None and tag == "br":
                self._text.append("\n")
            elif self._hidden_at is None and tag == "hr":
                self._flush()
            return
        if tag in _BLOCKS:
            self._end_implied(_ENDED_BY.get(tag, _ENDED_BY_ANY_BLOCK))
        if self._hidden_at is None:
            if _hides(tag, attrs):
                if tag in _BLOCKS:
                    self._flush()
                self._hidden_at = len(self._open)
            elif tag in _BLOCKS:
                self._enter(tag, attrs)
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
            if self._open[index] in _BLOCKS and tag not in _BLOCKS:
                return

    def handle_data(self, data: str) -> None:
        if self._hidden_at is None:
            self._text.append(data if self._listings else data.replace("\n", " "))

    def _end_implied(self, ended: frozenset[str]) -> None:
        cut = len(self._open)
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index] in ended:
                cut = index
            elif self._open[index] in _BLOCKS:
                break
        self._close_from(cut)

    def _close_from(self, index: int) -> None:
        while len(self._open) > index:
            tag = self._open.pop()
            if self._hidden_at is None:
                self._leave(tag)
            elif self._hidden_at == len(self._open):
                self._hidden_at = None

    def _enter(self, tag: str, attrs: Attributes) -> None:
        self._flush()
        if tag in _HEADINGS:
            self._unfold_table()
            self._level = int(tag[1])
        elif tag == "pre":
            self._unfold_table()
            self._listings += 1
        elif tag in _LISTS:
            start = dict(attrs).get("start") or ""
            number = int(start) if start.isdecimal() and len(start) < 9 else 1
            self._lists.append(number if tag == "ol" else None)
        elif tag == "li" and self._lists:
            item = self._lists[-1]
            self._marker = "- " if item is None else f"{item}. "
            self._lists[-1] = None if item is None else item + 1
        elif tag == "table":
            self._unfold_table()
            self._tables.append(_Table())
        elif tag == "tr" and self._tables:
            self._tables[-1].rows.append([])
        elif tag in _CELLS and self._tables:
            self._tables[-1].enter_cell(tag)

    def _leave(self, tag: str) -> None:
        if tag == "title":
            self._document.title = self._document.title or one_line("".join(self._text))
            self._text.clear()
        self._flush()
        if tag in _HEADINGS:
            self._level = 0
        elif tag == "pre":
            self._listings -= 1
        elif tag in _LISTS:
            self._lists.pop()
            if not self._lists:
                self._end_lines()
        elif tag == "li":
            self._marker = ""
        elif tag == "table":
            self._unfold_table()
            self._tables.pop()
        elif tag in _CELLS and self._tables:
            self._tables[-1].cell_open = False

    def _flush(self) -> None:
        raw = "".join(self._text)
        self._text.clear()
        if self._listings:
            self._add(raw.strip("\n").rstrip(), verbatim=True)
            return
        text = "\n".join(filter(None, map(one_line, raw.split("\n"))))
        table = self._tables[-1] if self._tables else None
        if not text:
            return
        if self._level:
            self._begin_section(self._level, one_line(text))
        elif table and table.cell_open and not table.layout:
            table.rows[-1][-1].append(one_line(text))
        elif self._lists:
            self._lines.append(self._marker + text)
            self._marker = ""
        else:
            self._add(text)

    def _add(self, text: str, verbatim: bool = False) -> None:
        self._end_lines()
        if text:
            heading = heading_path([heading for _, heading in self._path])
            self._document.blocks.append(Block(text, heading, verbatim=verbatim))
            self._bare = False

    def _end_lines(self) -> None:
        if self._lines:
            text = "\n".join(self._lines)
            self._lines.clear()
            self._add(text)

    def _unfold_table(self) -> None:
        if self._tables and not self._tables[-1].layout:
            self._tables[-1].layout = True
            self._add("\n".join(self._tables[-1].lines()))

    def _begin_section(self, level: int, heading: str) -> None:
        self._level = 0
        self._end_lines()
        if level == 1:
            comes_first = not self._path and not self._document.blocks
            self._parts.append(heading if comes_first else "")
        self._keep_bare_heading(level)
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, shortened(heading)))
        self._bare = True
        if len(heading) > MAX_HEADING_CHARS:
            self._add(heading)

    def _keep_bare_heading(self, next_level: int) -> None:
        if self._bare and self._path[-1][0] >= next_level:
            *above, (_, heading) = self._path
            self._document.blocks.append(
                Block(heading, heading_path([heading for _, heading in above]))
            )


def read(data: bytes) -> Document:
    """Read a page in UTF-8 or the character set that it declares.

    Raises ``UnreadableDocument``.
    """
    declared = _CHARSET.search(data[:2048])
    try:
        text = decoded(data)
    except UnreadableDocument:
        if declared is None:
            raise
        try:
            text = decoded(data, declared[1].decode())
        except LookupError:
            raise UnreadableDocument("The page declares an unknown character set.") from None
    outline = Outline("")
    outline.markup(text)
    return outline.finished()
