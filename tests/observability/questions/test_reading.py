"""``LogReader``: the chat log of this host read back, whatever became of its files."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orbit_server.observability.questions.reading import LogReader

DAY = "2026-03-01"
START = datetime(2026, 3, 1, tzinfo=UTC)
TORN = f'{{"timestamp":"{DAY}T12:00:00.000Z","id":"torn","query":"half a que'


def line(id: str, kind: str = "exchange", time: str = f"{DAY}T12:00:00.000Z") -> str:
    """Return a line of the log."""
    return json.dumps({"timestamp": time, "id": id, "kind": kind}) + "\n"


def read(folder: Path, kind: str = "exchange", since: datetime = START) -> tuple[list[str], int]:
    """Return the ids of the records in ``folder``, and how many lines are damaged."""
    reader = LogReader(folder, since)
    return [record["id"] for record in reader.records(kind)], reader.damaged


def test_one_kind_of_all_files_in_order(tmp_path: Path) -> None:
    """By day and part; other files of the folder are none of its business."""
    (tmp_path / "chat-2026-03-02.log").write_text(line("4", time="2026-03-02T00:00:00Z"))
    (tmp_path / f"chat-{DAY}.10.log").write_text(line("3"))
    (tmp_path / f"chat-{DAY}.2.log").write_text(line("2") + line("rated", "feedback"))
    (tmp_path / f"chat-{DAY}.log").write_text(line("1"))
    (tmp_path / "server.log").write_text(line("server"))
    assert read(tmp_path) == (["1", "2", "3", "4"], 0)
    assert read(tmp_path, "feedback") == (["rated"], 0)
    assert read(tmp_path / "nowhere") == ([], 0)


def test_since(tmp_path: Path) -> None:
    """The time of a record counts; a file of the day before may hold it, by its time zone."""
    (tmp_path / "chat-2026-02-28.log").write_text(
        line("before", time="2026-02-28T23:59:59.999Z")
        + line("first", time="2026-03-01T00:00:00.000Z")
        + line("abroad", time="2026-03-01T01:00:00+02:00")
    )
    (tmp_path / "chat-2026-01-01.log").write_text("not even read\n")
    assert read(tmp_path) == (["first"], 0)


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    """What another process wrote behind a torn line is read; an empty line is no damage."""
    (tmp_path / f"chat-{DAY}.log").write_text(
        line("1") + "no json\n" + "[1]\n" + "\n" + TORN + line("2") + TORN + "\n" + line("3") + TORN
    )
    assert read(tmp_path) == (["1", "2", "3"], 5)


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)],
)
def test_compressed_files(tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]) -> None:
    """They are read like others; of one that is cut off, as much as is there."""
    name = f"chat-{DAY}.log"
    lines = "".join(line(str(number)) for number in range(1000)).encode()
    (tmp_path / f"{name}.{ending}").write_bytes(compress(lines))
    ids, damaged = read(tmp_path)
    assert (len(ids), damaged) == (1000, 0)
    (tmp_path / name).write_text(line("only"))  # it is being compressed
    assert read(tmp_path) == (["only"], 0)
    (tmp_path / name).unlink()
    (tmp_path / f"{name}.{ending}").write_bytes(compress(lines)[:-200])
    ids, damaged = read(tmp_path)
    assert (len(ids) < 1000, damaged) == (True, 1)
    (tmp_path / f"{name}.{ending}").write_bytes(b"not compressed at all")
    assert read(tmp_path) == ([], 1)


def test_odd_records(tmp_path: Path) -> None:
    """Of other kinds, without a kind, or of a time without a zone: nothing is raised."""
    odd: list[dict[str, Any]] = [{"kind": None}, {"kind": 1}, {}, {"kind": "exchange"}]
    for number, each in enumerate(odd):
        each |= {"timestamp": f"{DAY}T12:00:00", "id": str(number)}
    (tmp_path / f"chat-{DAY}.log").write_text("".join(json.dumps(each) + "\n" for each in odd))
    assert read(tmp_path) == (["3"], 0)
