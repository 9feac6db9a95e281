"""What every test of the configuration works with."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that no file of the developer is read."""
    monkeypatch.chdir(tmp_path)
