"""Elements and text in reading order become blocks under headings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..cleaning import one_line, unwrapped
from ..model import MAX_HEADING_CHARS, Block, Document, heading_path, shortened

_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_LISTS = frozenset(("ul", "ol", "menu", "dl"))
CELLS = frozenset(("td", "th"))
# fmt: off
BLOCKS = _HEADINGS | _LISTS | CELLS | {
    "address", "article", "aside", "blockquote", "body", "button", "caption", "center", "dd",
    "details", "dialog", "div", "dt", "fieldset", "figcaption", "figure", "footer", "form",
    "header", "hgroup", "html", "legend", "li", "main", "optgroup", "option", "p", "pre",
    "search", "section", "select", "summary", "table", "tbody", "tfoot", "thead", "title", "tr",
}
# fmt: on


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


class Outline:
    """Collects one document: ``enter`` and ``leave`` its block elements, give ``text`` between.

    What is hidden is not given. Nothing here recurses.
    """

    def __init__(self) -> None:
        self._document = Document("")
        self._path: list[tuple[int, str]] = []
        self._bare = False  # the last heading has nothing below it yet
        self._parts: list[str] = []  # the headings of level 1; "" for a first one that comes late
        self._text: list[str] = []
        self._level = 0
        self._listings = 0
        self._lists: list[int | None] = []
        self._marker = ""
        self._lines: list[str] = []
        self._tables: list[_Table] = []

    def finished(self) -> Document:
        """Return the document; call once, at the end."""
        self._flush()
        self._end_lines()
        self._keep_bare_heading(0)
        # The first of several is the name of one part; before the others it would mislead.
        if not self._document.title and len(self._parts) == 1:
            self._document.title = self._parts[0]
        return self._document

    def text(self, data: str) -> None:
        """Add text; outside of listings its line breaks are no breaks for a reader."""
        self._text.append(data if self._listings else unwrapped(data))

    def break_line(self) -> None:
        """End a line that the author ended."""
        self._text.append("\n")

    def break_paragraph(self) -> None:
        """End a paragraph where no block element begins or ends."""
        self._flush()

    def enter(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        """Begin a block element."""
        self._flush()
        if tag in _HEADINGS:
            self._unfold_table()
            self._level = int(tag[1])
        elif tag == "pre":
            self._unfold_table()
            self._listings += 1
        elif tag in _LISTS:
            start = attributes.get("start") or ""
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
        elif tag in CELLS and self._tables:
            self._tables[-1].enter_cell(tag)

    def leave(self, tag: str) -> None:
        """End the block element that was entered last."""
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
        elif tag in CELLS and self._tables:
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
