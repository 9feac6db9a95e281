"""Spreadsheets: each sheet is a table, under its name."""

import io
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from ....errors import UnreadableDocument
from ...cleaning import one_line
from ..delimited import Row, Table
from .archive import opened

_MOST_COLUMNS = 1000


def tables(data: bytes) -> dict[str, Table]:
    """Return the sheets that a reader sees, by name: ``.xlsx``, ``.ods``, and ``.xls``.

    The first row that names more than one column is the header; a sheet of one column is headed by
    its first cell. Raises ``UnreadableDocument``.
    """
    from python_calamine import (
        CalamineError,
        CalamineWorkbook,
        PasswordError,
        SheetTypeEnum,
        SheetVisibleEnum,
    )

    if data.startswith(b"PK"):
        with opened(data):
            pass  # within limits, though another parser reads it
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        found = {}
        for sheet in book.sheets_metadata:
            if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet:
                rows = book.get_sheet_by_name(sheet.name)
                table = _table(
                    one_line(sheet.name), rows.iter_rows(), 1 + (rows.start or (0, 0))[0]
                )
                if table is not None:
                    found[one_line(sheet.name)] = table
    except PasswordError as error:
        raise UnreadableDocument("The file is protected by a password.") from error
    except CalamineError as error:
        raise UnreadableDocument("The spreadsheet is broken.") from error
    return found


def _table(sheet: str, rows: Iterator[list[Any]], first: int) -> Table | None:
    numbered = [
        (number, [_shown(cell) for cell in row[:_MOST_COLUMNS]])
        for number, row in enumerate(rows, start=first)
    ]
    filled = [(number, row) for number, row in numbered if any(row)]
    if not filled:
        return None
    head = next((n for n, (_, row) in enumerate(filled) if sum(map(bool, row)) > 1), 0)
    columns: list[str] = []
    for number, name in enumerate(filled[head][1], start=1):
        columns.append(name if name and name not in columns else f"{name or 'column'} {number}")
    above = [
        Row(f"Row {number} of sheet {sheet}", {"": " ".join(filter(None, row))})
        for number, row in filled[:head]
    ]
    body = [
        Row(
            f"Row {number} of sheet {sheet}",
            {name: cell for name, cell in zip(columns, row, strict=False) if cell},
        )
        for number, row in filled[head + 1 :]
    ]
    return Table(columns, iter([*above, *body]))


def _shown(cell: Any) -> str:
    """Return a cell as a reader sees it, but for the number of decimals."""
    if isinstance(cell, float):
        return f"{cell:.15g}"
    if isinstance(cell, datetime):
        midnight = cell.time() == time()
        return cell.date().isoformat() if midnight else cell.isoformat(" ", "minutes")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, time):
        return cell.isoformat("minutes")
    if isinstance(cell, timedelta):
        return str(cell)
    return one_line(str(cell))
