"""Notebooks: texts and programs, without results."""

import json
from pathlib import Path

import pytest

from ...support.documents import complaint, load


def test_texts_are_markdown_and_programs_listings(tmp_path: Path) -> None:
    """Sources are strings or lists of lines."""
    cells = [
        {"cell_type": "markdown", "source": ["# Fees\n", "\n", "How they are *made*."]},
        {"cell_type": "code", "source": "fee = 37\n", "outputs": [{"text": "RESULT"}]},
        {"cell_type": "raw", "source": "RAW"},
        {"cell_type": "code", "source": ""},
    ]
    [chunk] = load(tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4}))
    assert chunk.text == "How they are made.\n\nfee = 37"
    assert chunk.metadata["title"] == "Fees"


@pytest.mark.parametrize("content", ["[", "[]", "{}", '{"cells": [5]}', '{"cells": 5}'])
def test_what_is_no_notebook(tmp_path: Path, content: str) -> None:
    """It is one sentence."""
    assert "notebook" in complaint(tmp_path, "a.ipynb", content)
