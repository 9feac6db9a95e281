"""Notebooks: their texts as Markdown, their programs as listings; results are left out."""

import json
from typing import Any

from ...errors import UnreadableDocument
from ..model import Document
from . import markdown


def read(text: str) -> Document:
    """Read an ``.ipynb`` (nbformat 3 and 4). Raises ``UnreadableDocument``."""
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableDocument(
            f"The notebook is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    try:
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        return markdown.read("\n\n".join(map(_as_markdown, cells)))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UnreadableDocument("The notebook has no cells.") from error


def _as_markdown(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = source if isinstance(source, str) else "".join(source)
    if cell["cell_type"] != "code" or not text.strip():
        return "" if cell["cell_type"] == "raw" else text
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
