"""A small document that the tests of the commands load and ask about."""

from pathlib import Path


def write_town(folder: Path) -> None:
    """Write ``town.md``, two passages with signs in a heading that a terminal could obey."""
    (folder / "town.md").write_text(
        "# Library [/x] [bold]\n\nThe library opens at nine.\n\n# Pool\n\nThe pool costs two euros."
    )
