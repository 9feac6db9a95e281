"""``rejected.log``: lines of the chat log that cannot be sent, each with the reason."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from .chatlog_files import timestamp

logger = logging.getLogger(__name__)

NAME = "rejected.log"
_RESENDING = "rejected.resending.log"
_PATIENCE_SECONDS = 0.5


class Rejected(NamedTuple):
    """A line of the chat log as it stands there, and why it cannot be sent."""

    line: bytes
    reason: str


class RejectedLog:
    """The rejected lines of the chat log in ``directory``. Touches the disk: use it in a thread."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._taken = directory / _RESENDING
        self._counted: dict[Path, tuple[tuple[int, int], int]] = {}

    def append(self, file: str, rejected: Sequence[Rejected]) -> None:
        """Add lines of the chat log's ``file``. Raises ``OSError`` when they cannot be kept."""
        if not rejected:
            return
        now = timestamp(datetime.now(UTC))
        entries = [
            orjson.dumps(
                {
                    "timestamp": now,
                    "file": file,
                    "reason": each.reason,
                    "line": each.line.decode(errors="backslashreplace").removesuffix("\n"),
                }
            )
            for each in rejected
        ]
        self._write(b"\n".join([*entries, b""]))
        logger.warning(
            "%d lines of %s cannot be sent; they are in %s", len(entries), file, self.path
        )

    def count(self) -> int:
        """Return how many lines are in it; reads a file only when it has changed."""
        return sum(self._count(path) for path in (self.path, self._taken))

    @contextmanager
    def taken(self, batch_lines: int) -> Iterator[Iterator[tuple[str, list[bytes]]]]:
        """Take all lines out, in batches with the name of their file; on an error they stay.

        What cannot be sent still, the caller appends again. Lines that are rejected meanwhile go
        into a new ``rejected.log``. Raises ``OSError`` while another process takes them.
        """
        with suppress(FileNotFoundError), _locked(self.path, create=False) as file:
            if not self._taken.exists():
                self.path.rename(self._taken)
        try:
            file = self._taken.open("rb")
        except FileNotFoundError:
            yield iter(())
            return
        with file:
            if not _lock_within(file, _PATIENCE_SECONDS):
                raise OSError("another program is already sending the rejected lines")
            yield _batches(file, batch_lines)
            self._taken.unlink(missing_ok=True)

    def _count(self, path: Path) -> int:
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                known, lines = self._counted.get(path, ((0, 0), 0))
                if known != (now := (stat.st_ino, stat.st_size)):
                    lines = sum(1 for _ in file)
                    self._counted[path] = now, lines
                return lines
        except OSError:
            return 0

    def _write(self, data: bytes) -> None:
        with _locked(self.path, create=True) as file:
            size = file.seek(0, os.SEEK_END)
            if file.write(data) != len(data):
                file.truncate(size)
                raise OSError(f"only a part was written of what belongs into {self.path}")


def _lock_within(file: BinaryIO, seconds: float) -> bool:
    """Tell whether the lock was had; who waited for it to append keeps it for a moment only."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        else:
            return True


def _batches(entries: BinaryIO, batch_lines: int) -> Iterator[tuple[str, list[bytes]]]:
    for name, of_file in groupby(_entries(entries), key=itemgetter(0)):
        while batch := [line for _, line in islice(of_file, batch_lines)]:
            yield name, batch


def _entries(entries: BinaryIO) -> Iterator[tuple[str, bytes]]:
    for text in entries:
        try:
            entry = orjson.loads(text)
            yield entry["file"], entry["line"].encode() + b"\n"
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s: a line that is not an entry is skipped", NAME)


@contextmanager
def _locked(path: Path, *, create: bool) -> Iterator[BinaryIO]:
    """Open ``path``, locked, and be sure that it was not renamed meanwhile."""
    while True:
        if create:
            path.touch(mode=0o640)  # it holds people's questions, as the log does
        try:
            opened = path.open("r+b", buffering=0)
        except FileNotFoundError:
            if create:  # renamed since it was created
                continue
            raise
        with opened as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    yield file
                    return
        if not create:
            raise FileNotFoundError(path)
