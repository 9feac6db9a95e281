"""What the commands print on: results on standard output, as they are; the rest beside it."""

import pytest
from rich.table import Table

from orbit_server.cli.console import out, print_table, progress, say


def test_status_is_not_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    """What a command was run for can be piped on; sentences about it cannot get in between."""
    say("Key key_1 is created.")
    out.print("api_secret")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("api_secret\n", "Key key_1 is created.\n")


def test_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal nothing is cut or wrapped, and brackets are no orders."""
    table = Table("name")
    table.add_row("[bold]:smile:[/] " + "very " * 100)
    print_table(table)
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert row.strip("│ ") == ("[bold]:smile:[/] " + "very " * 100).strip()


def test_progress_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Each call is one step, and standard output stays free."""
    with progress("Searching", 3) as advanced:
        for _ in range(3):
            advanced()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Searching" in captured.err and "3/3" in captured.err
