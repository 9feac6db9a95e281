"""What the commands print on: results on standard output, as they are; the rest beside it."""

import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.table import Table

from orbit_server.cli.console import MOST_ROWS, out, print_table, progress, say, some
from tests.support.program import environment


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


def test_many_names_are_some_and_a_number() -> None:
    """A folder of thousands is one line."""
    names = [f"{n}.md" for n in range(MOST_ROWS + 2)]
    assert some(names[:2]) == "0.md, 1.md"
    assert some(names[:MOST_ROWS]).endswith(names[MOST_ROWS - 1])
    assert some(names).endswith(f"{names[MOST_ROWS - 1]} and 2 more")


def test_progress_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Each call is one step, and standard output stays free."""
    with progress("Searching", 3) as advanced:
        for _ in range(3):
            advanced()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Searching" in captured.err and "3/3" in captured.err


@pytest.mark.process
def test_ctrl_c_ends_a_prompt_before_it_waits() -> None:
    """One that comes while the prompt is written is not kept until somebody types a line."""
    ours, theirs = pty.openpty()
    ready, write = os.pipe()
    termios.tcflow(theirs, termios.TCOOFF)  # as Ctrl-S: what is written waits
    program = f"""
import os
from orbit_server.cli.console import typed
os.write({write}, b".")
try:
    typed("> ")
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        pass_fds=[write],
        start_new_session=True,
    )
    try:
        assert os.read(ready, 1) == b"."
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] != "S":
            pass
        process.send_signal(signal.SIGINT)
        termios.tcflow(theirs, termios.TCOON)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        for file in (ours, theirs, ready, write):
            os.close(file)
