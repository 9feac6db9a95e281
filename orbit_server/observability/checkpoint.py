"""The backlog: what of the chat log's files is still to be sent, and how far sending has come.

The files only grow, and several processes write them. A checkpoint remembers a place in each of
them, always behind the end of a line; whoever holds its lock, one process of a host, moves it.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

logger = logging.getLogger(__name__)

REJECTED = "rejected.log"

_FILE_NAME = re.compile(r"chat-(\d{4}-\d\d-\d\d)(?:\.(\d+))?\.log")
_HEAD_BYTES = 256  # hold the first record's id, which tells a file from all others
_TORN_SECONDS = 60.0
_RECORD_START = re.compile(rb'\{"timestamp"')  # inside of a text, its quotes would be escaped
_TORN_IN_A_ROW = 20


class Mark(BaseModel):
    """A place in a file: bytes and lines before it, and what tells the file from another one."""

    model_config = ConfigDict(frozen=True)

    offset: NonNegativeInt = 0
    lines: NonNegativeInt = 0
    head: str = ""


class Checkpoint(BaseModel):
    """How far sending has come, and whether there is somebody to send to."""

    model_config = ConfigDict(frozen=True)

    available: bool = True
    cause: str = ""
    files: dict[str, Mark] = {}


class Line(NamedTuple):
    """A line of a file: as it stands there, and as it is sent."""

    text: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines of one file in their order, and the place behind them.

    ``rejected`` takes those that cannot be sent, each with the reason, until the batch is done.
    """

    file: str
    lines: list[Line]
    rejected: list[tuple[bytes, str]]
    mark: Mark


class Backlog:
    """The files of the chat log in ``directory``, and the checkpoint in the file ``state``.

    ``encode`` turns a line into what is sent, and raises ``ValueError`` for one that cannot be.
    Everything here touches the disk and belongs into a thread. Only the process for which ``hold``
    was true may ``commit`` and ``note``; all may ask ``lag`` and ``pending``.
    """

    def __init__(
        self,
        directory: Path,
        state: Path,
        *,
        encode: Callable[[bytes], bytes],
        batch_lines: int,
        batch_bytes: int,
    ) -> None:
        self.directory = directory
        self.state = state
        self.checkpoint = Checkpoint()
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
        self.state.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.state}.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            self._lock = lock
        self.checkpoint = self._load()
        self._following = True
        return self.held

    def known(self) -> Checkpoint:
        """Return the checkpoint as of the last ``hold``; from the disk when there was none."""
        return self.checkpoint if self._following else self._load()

    def release(self) -> None:
        """Let another process be the one that sends."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def files(self) -> list[Path]:
        """Return the files of the chat log, oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                if name := _FILE_NAME.fullmatch(path.name):
                    found.append((name[1], int(name[2] or 0), path))
        return [path for *_, path in sorted(found)]

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
            if start != self.checkpoint.files.get(path.name, start):
                logger.warning("%s is not the file it was; it is sent from its start", path.name)
            end, count, size = start.offset, start.lines, 0
            lines: list[Line] = []
            rejected: list[tuple[bytes, str]] = []
            file.seek(end)
            for text in file:
                if not text.endswith(b"\n"):
                    _end_torn_line(path)
                    break
                line, torn = self._understood(text)
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
            mark = Mark(offset=end, lines=count, head=_head(file, end))
        return Batch(path.name, lines, rejected, mark)

    def commit(self, batch: Batch) -> None:
        """Put the rejected lines of ``batch`` aside and remember that it is done with.

        Files that are gone are forgotten. Raises ``OSError`` when there is no putting aside.
        """
        self._put_aside(batch)
        here = {path.name for path in self.files()}
        files = {**self.checkpoint.files, batch.file: batch.mark}
        self._save(files={name: mark for name, mark in files.items() if name in here})

    def note(self, available: bool, cause: str) -> None:
        """Remember, for the other processes too, whether there is somebody to send to."""
        self._save(available=available, cause=cause)

    def lag(self) -> tuple[int, int]:
        """Return how many lines and bytes are still to be sent.

        Reads what has come since it was last asked.
        """
        checkpoint = self.checkpoint if self.held else self._load()
        lines = size = 0
        for path in self.files():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                mark = self._start(file, path.name, checkpoint)
                stat = os.fstat(file.fileno())
                at, counted = self._counted.get((path.name, stat.st_ino), (0, 0))
                another = mark != checkpoint.files.get(path.name, mark)
                if another or not mark.offset <= at <= stat.st_size:
                    at, counted = mark.offset, mark.lines
                file.seek(at)
                while block := file.read(1 << 20):
                    at, counted = at + len(block), counted + block.count(b"\n")
                self._counted[path.name, stat.st_ino] = at, counted
                lines, size = lines + counted - mark.lines, size + at - mark.offset
        return lines, size

    def pending(self, path: Path) -> bool:
        """Tell whether something in ``path`` is still to be sent."""
        checkpoint = self.checkpoint if self.held else self._load()
        try:
            with path.open("rb") as file:
                mark = self._start(file, path.name, checkpoint)
                return mark.offset < os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return False

    def _start(self, file: BinaryIO, name: str, checkpoint: Checkpoint | None = None) -> Mark:
        """Return the mark of ``name`` if it still fits the file, else its start."""
        mark = (checkpoint or self.checkpoint).files.get(name, Mark())
        if mark.offset and _head(file, mark.offset) == mark.head:
            file.seek(mark.offset - 1)
            if file.read(1) == b"\n":
                return mark
        return Mark()

    def _understood(self, text: bytes) -> tuple[Line | None, list[tuple[bytes, str]]]:
        """Return the record that a line of the file holds, and what else is in it, with reasons."""
        if not text.strip():
            return None, []  # two processes may both have ended a torn line
        try:
            return Line(text, self._encode(text)), []
        except ValueError as error:
            reason = str(error)
        # Behind the torn line of a killed process, another one may have gone on in the same line.
        for found in islice(_RECORD_START.finditer(text, 1), _TORN_IN_A_ROW):
            torn, rest = text[: found.start()], text[found.start() :]
            with contextlib.suppress(ValueError):
                return Line(rest, self._encode(rest)), [(torn, reason)]
        return None, [(text, reason)]

    def _put_aside(self, batch: Batch) -> None:
        if not batch.rejected:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entries = [
            orjson.dumps(
                {
                    "timestamp": now,
                    "file": batch.file,
                    "reason": reason,
                    "line": text.decode(errors="backslashreplace").removesuffix("\n"),
                }
            )
            for text, reason in batch.rejected
        ]
        path = self.directory / REJECTED
        path.touch(mode=0o640)  # it holds people's questions, as the log does
        with path.open("ab", buffering=0) as file:
            size, data = path.stat().st_size, b"\n".join([*entries, b""])
            if file.write(data) != len(data):
                file.truncate(size)
                raise OSError(f"the disk took only a part of what belongs into {path}")
        logger.warning(
            "%d lines of %s cannot be sent; %s holds them", len(entries), batch.file, path
        )

    def _load(self) -> Checkpoint:
        try:
            return Checkpoint.model_validate_json(self.state.read_bytes())
        except FileNotFoundError:
            return Checkpoint()
        except ValidationError:
            if self.held:
                logger.warning("%s cannot be understood: all files are sent again", self.state)
            return Checkpoint()

    def _save(self, **changes: object) -> None:
        self.checkpoint = self.checkpoint.model_copy(update=changes)
        whole = self.state.with_name(f"{self.state.name}.new")
        try:
            with whole.open("wb") as file:
                file.write(self.checkpoint.model_dump_json(indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            whole.replace(self.state)
        except OSError as error:
            logger.warning("after a restart, lines will be sent again: %s", error)


def _end_torn_line(path: Path) -> None:
    # Who writes a file again ends its torn line first. Nobody writes those of earlier days again,
    # and a line without an end would keep them for ever.
    if time.time() - path.stat().st_mtime > _TORN_SECONDS:
        with path.open("ab") as file:
            file.write(b"\n")


def _head(file: BinaryIO, offset: int) -> str:
    file.seek(0)
    head = file.read(min(offset, _HEAD_BYTES))
    return hashlib.blake2b(head, digest_size=8).hexdigest()
