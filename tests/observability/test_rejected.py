"""``rejected.log``: lines that cannot be sent, kept until they can."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from orbit_server.observability.rejected import Rejected, RejectedLog


def test_lines_are_kept_with_the_reason(tmp_path: Path) -> None:
    """Each entry tells file, reason and line; none of them is for other users."""
    log = RejectedLog(tmp_path)
    assert log.count() == 0
    log.append("chat-2026-03-01.log", [])
    assert not log.path.exists()
    log.append("chat-2026-03-01.log", [Rejected(b"torn\n", "not JSON"), Rejected(b"\xff\n", "x")])
    entries = [orjson.loads(line) for line in log.path.read_bytes().splitlines()]
    assert [entry["line"] for entry in entries] == ["torn", "\\xff"]
    assert entries[0]["reason"] == "not JSON" and entries[0]["file"] == "chat-2026-03-01.log"
    assert log.count() == RejectedLog(tmp_path).count() == 2
    assert log.path.stat().st_mode & 0o007 == 0
    log.path.unlink()
    assert log.count() == 0


def test_taking_them_out(tmp_path: Path) -> None:
    """Batches are of one file; what is rejected meanwhile is kept, and a failure loses none."""
    log = RejectedLog(tmp_path)
    for name in "ab":
        log.append(name, [Rejected(b"%d\n" % number, "no") for number in range(5)])
    with pytest.raises(RuntimeError), log.taken(2) as batches:
        next(batches)
        raise RuntimeError
    assert log.count() == 10
    with log.taken(3) as batches:
        taken = list(batches)
        log.append("c", [Rejected(b"new\n", "no")])
    assert taken == [
        ("a", [b"0\n", b"1\n", b"2\n"]),
        ("a", [b"3\n", b"4\n"]),
        ("b", [b"0\n", b"1\n", b"2\n"]),
        ("b", [b"3\n", b"4\n"]),
    ]
    with log.taken(9) as batches:
        assert list(batches) == [("c", [b"new\n"])]
    assert log.count() == 0
    with log.taken(9) as batches:
        assert list(batches) == []


def test_one_takes_at_a_time(tmp_path: Path) -> None:
    """Two programs that send rejected lines at once would keep each of them twice."""
    log = RejectedLog(tmp_path)
    log.append("a", [Rejected(b"1\n", "no")])
    with (
        log.taken(9),
        pytest.raises(OSError, match="already"),
        RejectedLog(tmp_path).taken(9),
    ):
        pass


APPEND = """
import sys
from pathlib import Path
from orbit_server.observability.rejected import Rejected, RejectedLog

for number in range(300):
    RejectedLog(Path(sys.argv[1])).append("a", [Rejected(b"%d" % number, "no")])
"""


def test_nothing_is_lost_between_two_processes(tmp_path: Path) -> None:
    """Whatever another process appends while lines are taken out is found, once."""
    command = [sys.executable, "-c", APPEND, str(tmp_path)]
    found: list[bytes] = []
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while (running := process.poll() is None) or RejectedLog(tmp_path).count():
            with RejectedLog(tmp_path).taken(7) as batches:
                found += [line for _, lines in batches for line in lines]
            assert running or process.returncode == 0
    assert process.returncode == 0
    assert sorted(map(int, found)) == list(range(300))
