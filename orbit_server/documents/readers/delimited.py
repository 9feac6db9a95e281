"""CSV and its relatives: columns by their names, rows, and what is wrong with a row."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import UnreadableDocument
from ..cleaning import one_line
from ..model import Block, Document, shortened

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 20
_SAMPLE_CHARS = 100_000
_SEPARATOR_LINE = re.compile(r"sep=(.)[ \t]*(?:\r\n|\r|\n)", re.I)  # of spreadsheet programs


class Row(NamedTuple):
    """One row: what to call it in a message, and its cells that hold text by their columns."""

    name: str
    cells: Mapping[str, str]


class Table(NamedTuple):
    """The names of the columns, and the rows; of a malformed one, what is wrong with it."""

    columns: list[str]
    rows: Iterator[Row | str]


def table(text: str) -> Table:
    """Return the table that ``text`` is; its delimiter is named by ``sep=``, or found.

    Raises ``UnreadableDocument`` where there is no header.
    """
    if named := _SEPARATOR_LINE.match(text):
        delimiter, start = named[1], named.end()
    else:
        delimiter, start = _delimiter(text[:_SAMPLE_CHARS]), 0
    lines = io.StringIO(text, newline="")
    lines.seek(start)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except (csv.Error, StopIteration) as error:
        raise UnreadableDocument("The file has no header with the names of its columns.") from error
    columns: list[str] = []
    for number, cell in enumerate(header, start=1):
        name = one_line(cell)
        columns.append(name if name and name not in columns else f"{name or 'column'} {number}")
    return Table(columns, _rows(reader, columns, bool(start)))


def _rows(reader: Iterator[list[str]], columns: list[str], below: int) -> Iterator[Row | str]:
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"The row that ends in line {reader.line_num + below} is malformed: {error}."  # type: ignore[attr-defined]
            continue
        name = f"The row that ends in line {reader.line_num + below}"  # type: ignore[attr-defined]
        if any(cell.strip() for cell in row[len(columns) :]):
            yield f"{name} has more cells than the header."
        elif cells := {
            column: cell for column, cell in zip(columns, row, strict=False) if cell.strip()
        }:
            yield Row(name, cells)


def _delimiter(sample: str) -> str:
    """Return what divides most of the first rows as the first one, into the most cells."""

    def evenness(delimiter: str) -> tuple[int, int]:
        widths: list[int] = []
        try:
            for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
                if any(row):
                    widths.append(len(row))
                if len(widths) == _SAMPLE_ROWS:
                    break
        except csv.Error:
            pass
        if not widths or widths[0] == 1:
            return 0, 0
        return Counter(widths)[widths[0]], widths[0]

    return max(_DELIMITERS, key=evenness)


def rows_document(tables: Mapping[str, Table]) -> Document:
    """Return the rows of tables as paragraphs under the tables' names (empty for an only one).

    Each cell stands behind the name of its column, if that has one.
    """
    document = Document("")
    for name, table in tables.items():
        for row in table.rows:
            if isinstance(row, str):
                document.left_out.append(row)
            else:
                cells = (_named(column, one_line(cell)) for column, cell in row.cells.items())
                document.blocks.append(Block(" | ".join(cells), shortened(name)))
    return document


def _named(column: str, cell: str) -> str:
    return f"{column}: {cell}" if column else cell
