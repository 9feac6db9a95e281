"""The files of the chat log: their names, their order, their age, and lines that were cut off.

``chat-YYYY-MM-DD.log`` holds a day, ``chat-YYYY-MM-DD.1.log`` and so on what did not fit into it.
A process that is killed while it writes leaves a torn line: a line without its end, behind which
another process may have gone on in the same line.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"chat-(\d{4}-\d\d-\d\d)(?:\.(\d+))?\.log(\.(?:gz|bz2|xz))?")
_RECORD_START = re.compile(rb'\{"timestamp"')  # inside of a text, its quotes would be escaped
_TORN_IN_A_ROW = 20


class LogFile(NamedTuple):
    """A file of the chat log; in order of day (``YYYY-MM-DD``) and part."""

    day: str
    part: int
    path: Path


def timestamp(moment: datetime) -> str:
    """Return a moment as the records write it, e.g. ``2026-03-01T09:30:00.000Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_path(directory: Path, day: str, part: int = 0) -> Path:
    """Return the path of the ``part``-th file of ``day`` (``YYYY-MM-DD``)."""
    return directory / (f"chat-{day}.{part}.log" if part else f"chat-{day}.log")


def log_files(directory: Path, *, compressed: bool = False) -> list[LogFile]:
    """Return the files of the chat log, oldest first; none without the directory.

    With ``compressed`` also those that somebody has compressed since.
    """
    found: dict[str, LogFile] = {}
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            name = _NAME.fullmatch(path.name)
            if name is None or (name[3] and not compressed):
                continue
            plain = path.name.removesuffix(name[3] or "")
            if not name[3] or plain not in found:  # both are there while it is compressed
                found[plain] = LogFile(name[1], int(name[2] or 0), path)
    return sorted(found.values())


def expired_files(directory: Path, today: date, retention_days: int) -> list[Path]:
    """Return the files that are more than ``retention_days`` older than ``today``, oldest first.

    A wrong clock must not delete the log. After a gap, days are counted from the day after the last
    one that was logged, so that a clock which jumps ahead makes nothing old on its first day; and a
    file that was written to later than its name says is as old as that.
    """
    files = log_files(directory)
    logged = [file.day for file in files if file.day < today.isoformat()]
    if not logged:
        return []
    with contextlib.suppress(ValueError):  # a name like a date that is none
        today = min(today, date.fromisoformat(max(logged)) + timedelta(days=1))
    oldest = (today - timedelta(days=retention_days)).isoformat()
    return [
        file.path for file in files if file.day < oldest and not _written_since(file, oldest, today)
    ]


def _written_since(file: LogFile, oldest: str, today: date) -> bool:
    try:
        written = date.fromtimestamp(file.path.stat().st_mtime).isoformat()
    except FileNotFoundError:
        return False
    return oldest <= written <= today.isoformat()  # a time to come tells nothing


def ends_torn(file: int) -> bool:
    """Tell whether the last line of an open file, if there is any, has no end."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def split_torn(line: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the ways to read ``line`` as a torn line (at first none) and a record behind it."""
    yield b"", line
    for found in islice(_RECORD_START.finditer(line, 1), _TORN_IN_A_ROW):
        yield line[: found.start()], line[found.start() :]
