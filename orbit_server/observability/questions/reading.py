"""The chat log read back from this host's files, a record at a time.

Several processes write the same files, and a file may have been compressed since. A line that holds
no record is counted and left out.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ..chatlog_files import log_files, split_torn
from ..ecs import parsed

Record = dict[str, Any]

_LONGEST_LINE = 16 * 1024 * 1024  # beyond it a line is damaged, and memory is not for it
_BROKEN = (EOFError, OSError, lzma.LZMAError, zlib.error)


class LogReader:
    """The records of the chat log in ``directory`` from ``since`` on.

    ``damaged`` counts the lines of the latest reading that held no record, or only behind a torn
    one, and the compressed files that end too early.
    """

    def __init__(self, directory: Path, since: datetime) -> None:
        self.directory = directory
        self.since = since
        self.damaged = 0

    def records(self, kind: str) -> Iterator[Record]:
        """Yield the records of one kind in the order of the files. Raises ``OSError``."""
        self.damaged = 0
        wanted = f'"{kind}"'.encode()
        for path in self._files():
            for line in self._lines(path):
                # Most of a line that is not wanted need not be parsed; all are looked at once.
                if kind != "exchange" and wanted not in line:
                    continue
                record = self._record(line)
                if record is not None and record.get("kind") == kind and self._recent(record):
                    yield record

    def _files(self) -> list[Path]:
        # A day begins when its own time zone says so, and a process may have been slow.
        first = (self.since - timedelta(days=2)).date().isoformat()
        files = log_files(self.directory, compressed=True)
        return [file.path for file in files if file.day >= first]

    def _lines(self, path: Path) -> Iterator[bytes]:
        try:
            file = _open(path)
        except FileNotFoundError:  # too old, and removed meanwhile
            return
        with file:
            while True:
                try:
                    line = file.readline(_LONGEST_LINE)
                except _BROKEN:
                    if path.suffix == ".log":
                        raise
                    self.damaged += 1
                    return
                if not line:
                    return
                yield line

    def _record(self, line: bytes) -> Record | None:
        if not line.strip():
            return None
        for torn, rest in split_torn(line):
            with suppress(ValueError):
                record = parsed(rest)
                self.damaged += bool(torn)
                return record
        self.damaged += 1
        return None

    def _recent(self, record: Record) -> bool:
        return datetime.fromisoformat(record["timestamp"]).astimezone(UTC) >= self.since


def _open(path: Path) -> BinaryIO:
    openers: dict[str, Callable[[Path], Any]] = {
        ".gz": gzip.open,
        ".bz2": bz2.open,
        ".xz": lzma.open,
    }
    file: BinaryIO = openers.get(path.suffix, partial(open, mode="rb"))(path)
    return file
