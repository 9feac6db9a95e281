"""Unsent lines of the chat log, and the checkpoint: how far sending has come.

The files only grow, and several processes write them. The checkpoint is a position in each of them,
always behind the end of a line; one process of a host holds its lock and moves it.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ..config import make_private_folder
from .chatlog_files import log_files, split_torn
from .rejected import Rejected, RejectedLog

logger = logging.getLogger(__name__)

_HEAD_BYTES = 256  # hold the first record's id, which tells a file from all others
_NOT_ASKED = "it has not been contacted yet"


class Position(BaseModel):
    """A position in a file: bytes and lines before it, and a hash that tells files apart."""

    model_config = ConfigDict(frozen=True)

    offset: NonNegativeInt = 0
    lines: NonNegativeInt = 0
    head: str = ""


class Progress(BaseModel):
    """How far sending has come, and whether Elasticsearch is available, else the ``cause``."""

    model_config = ConfigDict(frozen=True)

    available: bool = False
    cause: str = _NOT_ASKED
    files: dict[str, Position] = {}


class Line(NamedTuple):
    """A line of a file: as it stands there, and as it is sent."""

    text: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines of one file in their order, and the position behind them.

    ``rejected`` collects those that cannot be sent until the batch is done.
    """

    file: str
    lines: list[Line]
    rejected: list[Rejected]
    end: Position


class Checkpoint:
    """The unsent lines of the chat log in ``directory``, by the checkpoint in ``file``.

    ``encode`` turns a line into what is sent, and raises ``ValueError`` for one that cannot be. A
    last line without an end, in a file not written to for ``torn_seconds``, is taken for torn.

    Everything here touches the disk: use it in a thread. Only the process for which ``hold`` was
    true may ``commit`` and ``set_availability``; all may call ``lag`` and ``pending``.
    """

    def __init__(
        self,
        directory: Path,
        file: Path,
        *,
        encode: Callable[[bytes], bytes],
        batch_lines: int,
        batch_bytes: int,
        torn_seconds: float = 60.0,
    ) -> None:
        self.directory = directory
        self.file = file
        self.progress = Progress()
        self.rejected = RejectedLog(directory)
        self._torn_seconds = torn_seconds
        self._encode = encode
        self._batch_lines = batch_lines
        self._batch_bytes = batch_bytes
        self._following = False
        self._lock: int | None = None
        self._counted: dict[tuple[str, int], tuple[int, int]] = {}

    @property
    def held(self) -> bool:
        """Whether this process is the one that sends."""
        return self._lock is not None

    def hold(self) -> bool:
        """Become the one that sends, unless another process is; read how far sending has come."""
        make_private_folder(self.file.parent)
        lock = os.open(f"{self.file}.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            self.progress, self._following = self._load(), True
            return False
        self.progress, self._following = self._load(warn=True), True
        if self.progress.available:
            self._save(available=False, cause=_NOT_ASKED)  # what an earlier process knew
        self._lock = lock
        return True

    def known(self) -> Progress:
        """Return the progress as of the last ``hold``; from the disk when there was none."""
        return self.progress if self._following else self._load()

    def release(self) -> None:
        """Let another process be the one that sends."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def files(self) -> list[Path]:
        """Return the files of the chat log, oldest first."""
        return [file.path for file in log_files(self.directory)]

    def read(self, path: Path) -> Batch | None:
        """Return the next lines of ``path``; ``None`` when all its whole lines are done with.

        Raises ``OSError`` when the file cannot be read.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            start = self._start(file, path.name)
            if start != self.progress.files.get(path.name, start):
                logger.warning(
                    "%s was replaced by another file; it is sent from its start", path.name
                )
            end, count, size = start.offset, start.lines, 0
            lines: list[Line] = []
            rejected: list[Rejected] = []
            file.seek(end)
            for text in file:
                if not text.endswith(b"\n"):
                    self._end_torn_line(path)
                    break
                line, torn = self._parse(text)
                if line is not None:
                    if lines and size + len(line.encoded) > self._batch_bytes:
                        break
                    lines.append(line)
                    size += len(line.encoded)
                rejected += torn
                end, count = end + len(text), count + 1
                if len(lines) + len(rejected) >= self._batch_lines:
                    break
            if end == start.offset:
                return None
            position = Position(offset=end, lines=count, head=_head(file, end))
        return Batch(path.name, lines, rejected, position)

    def commit(self, batch: Batch) -> None:
        """Write the rejected lines of ``batch`` to ``rejected.log`` and move behind the batch.

        Files that are gone are forgotten. Raises ``OSError`` when ``rejected.log`` cannot be
        written.
        """
        self.rejected.append(batch.file, batch.rejected)
        here = {path.name for path in self.files()}
        files = {**self.progress.files, batch.file: batch.end}
        self._save(files={name: end for name, end in files.items() if name in here})

    def set_availability(self, available: bool, cause: str) -> None:
        """Store whether Elasticsearch is available, for the other processes too."""
        self._save(available=available, cause=cause)

    def lag(self) -> tuple[int, int]:
        """Return how many lines and bytes are still to be sent.

        Reads what has come since it was last asked.
        """
        progress = self.progress if self.held else self._load()
        lines = size = 0
        for path in self.files():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                start = self._start(file, path.name, progress)
                stat = os.fstat(file.fileno())
                at, counted = self._counted.get((path.name, stat.st_ino), (0, 0))
                another = start != progress.files.get(path.name, start)
                if another or not start.offset <= at <= stat.st_size:
                    at, counted = start.offset, start.lines
                file.seek(at)
                while block := file.read(1 << 20):
                    at, counted = at + len(block), counted + block.count(b"\n")
                self._counted[path.name, stat.st_ino] = at, counted
                lines, size = lines + counted - start.lines, size + at - start.offset
        return lines, size

    def pending(self, path: Path) -> bool:
        """Tell whether something in ``path`` is still to be sent."""
        progress = self.progress if self.held else self._load()
        try:
            with path.open("rb") as file:
                start = self._start(file, path.name, progress)
                return start.offset < os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return False

    def _start(self, file: BinaryIO, name: str, progress: Progress | None = None) -> Position:
        """Return the position in ``name`` if it still fits the file, else the start."""
        start = (progress or self.progress).files.get(name, Position())
        if start.offset and _head(file, start.offset) == start.head:
            file.seek(start.offset - 1)
            if file.read(1) == b"\n":
                return start
        return Position()

    def _parse(self, text: bytes) -> tuple[Line | None, list[Rejected]]:
        """Return the record that a line of the file holds, and what in it cannot be sent."""
        if not text.strip():
            return None, []  # two processes may both have ended a torn line
        reason = ""
        for torn, rest in split_torn(text):
            try:
                line = Line(rest, self._encode(rest))
            except ValueError as error:
                reason = reason or str(error)
            else:
                return line, [Rejected(torn, reason)] if torn else []
        return None, [Rejected(text, reason)]

    def _end_torn_line(self, path: Path) -> None:
        # A writer that opens the file again ends its torn line first. Files of earlier days are
        # not opened again, and a line without an end would keep them for ever.
        if time.time() - path.stat().st_mtime > self._torn_seconds:
            with path.open("ab") as file:
                file.write(b"\n")

    def _load(self, *, warn: bool = False) -> Progress:
        try:
            return Progress.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return Progress()
        except ValidationError:
            if warn:
                logger.warning("%s cannot be parsed: all files are sent again", self.file)
            return Progress()

    def _save(self, **changes: object) -> None:
        self.progress = self.progress.model_copy(update=changes)
        whole = self.file.with_name(f"{self.file.name}.new")
        try:
            with whole.open("wb") as file:
                file.write(self.progress.model_dump_json(indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            whole.replace(self.file)
        except OSError as error:
            logger.warning("after a restart, lines will be sent again: %s", error)


def _head(file: BinaryIO, offset: int) -> str:
    file.seek(0)
    head = file.read(min(offset, _HEAD_BYTES))
    return hashlib.blake2b(head, digest_size=8).hexdigest()
