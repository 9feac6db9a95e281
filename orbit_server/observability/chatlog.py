"""The chat log: what was asked and answered, errors and the server's own state, a JSON line each.

A file a day, known by its name, so that several processes can write it: nothing is ever renamed. A
writer thread does all disk I/O; a slow disk delays only its own exchange, by at most ``max_wait``.
"""

import asyncio
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import orjson

from ..config import make_private_folder
from .chatlog_files import ends_torn, expired_files, file_path, timestamp

logger = logging.getLogger(__name__)

Kind = Literal["exchange", "feedback", "error", "status"]


class _Line(NamedTuple):
    record: dict[str, Any]
    confirm: Callable[[], None] | None


class ChatLog:
    """Append records to ``directory/chat-YYYY-MM-DD.log``, by the record's own day in ``timezone``.

    Each line is one ``write`` to a file opened for appending, so that several processes may share
    it; at ``max_bytes`` the day goes on in ``chat-YYYY-MM-DD.1.log``, then ``.2``. Files older than
    ``retention_days`` (``chatlog_files.expired_files``) are removed, except those for which
    ``keep(path)`` is true. ``redact`` is applied to ``query``, ``response``, ``user`` and
    ``comment`` before anything is written.

    Writing never fails an exchange: what could not be written is counted in ``lost``, ``failing``
    is the reason until writing works again, and the server's log has it too. The thread runs in
    ``async with``; leaving that writes everything queued.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_wait: float = 0.05,
        max_bytes: int = 20 * 1024 * 1024,
        retention_days: int = 14,
        timezone: tzinfo = UTC,
        redact: Callable[[str], str] | None = None,
        keep: Callable[[Path], bool] = lambda path: False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.directory = directory
        self.max_wait = max_wait
        self.max_bytes = max_bytes
        self.retention_days = retention_days
        self.timezone = timezone
        self.redact = redact
        self.keep = keep
        self.lost = 0
        self.failing: str | None = None
        self._now = now
        self._queue: queue.SimpleQueue[_Line | None] = queue.SimpleQueue()
        self._handed_over = 0
        self._dealt_with = 0  # only the thread counts here, so that neither needs a lock
        self._thread: threading.Thread | None = None
        self._file: int | None = None
        self._day = ""
        self._part = 0

    async def __aenter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="chatlog", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    @property
    def waiting(self) -> int:
        """How many lines are neither written nor lost yet."""
        return self._handed_over - self._dealt_with

    async def write(self, kind: Kind, **fields: Any) -> None:
        """Write a record; return when the operating system has the line.

        It gets a ``timestamp`` (UTC, milliseconds) and an ``id``. Waits at most ``max_wait``
        seconds; the line is written all the same.
        """
        loop = asyncio.get_running_loop()
        written = loop.create_future()

        def confirm() -> None:
            if not written.done():
                written.set_result(None)

        self._put(kind, fields, lambda: _call(loop, confirm))
        timer = loop.call_later(self.max_wait, confirm)
        try:
            await written
        finally:
            timer.cancel()

    def write_nowait(self, kind: Kind, **fields: Any) -> None:
        """Write a record without waiting for it."""
        self._put(kind, fields, None)

    def _put(self, kind: Kind, fields: dict[str, Any], confirm: Callable[[], None] | None) -> None:
        moment = timestamp(self._now())
        record = {"timestamp": moment, "id": secrets.token_hex(16), "kind": kind, **fields}
        self._handed_over += 1
        self._queue.put(_Line(record, confirm))

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._append(line.record)
            except Exception as error:
                self._close()
                self.lost += 1
                if self.failing is None:
                    logger.error("the chat log cannot be written, its lines are lost: %s", error)
                self.failing = str(error)
            else:
                if self.failing is not None:
                    logger.warning("the chat log is written again; %d lines were lost", self.lost)
                self.failing = None
            self._dealt_with += 1
            if line.confirm is not None:
                line.confirm()
        self._close()

    def _append(self, record: dict[str, Any]) -> None:
        moment = datetime.fromisoformat(record["timestamp"])
        self._open(moment.astimezone(self.timezone).date().isoformat())
        if self.redact is not None:
            for name in ("query", "response", "user", "comment"):
                if isinstance(record.get(name), str):
                    record[name] = self.redact(record[name])
        data = _json(record) + b"\n"
        if self._file is None or os.write(self._file, data) != len(data):
            raise OSError("only a part of the line was written")

    def _open(self, day: str) -> None:
        """Have the file of ``day`` open that has room: other processes move on at the same size."""
        if self._file is not None and day == self._day:
            stat = os.fstat(self._file)
            if stat.st_nlink and stat.st_size < self.max_bytes:
                return
            first = self._part + 1 if stat.st_nlink else 0  # without a link somebody removed it
        else:
            first = 0
            make_private_folder(self.directory)
            if day != self._day:
                self._remove_old(date.fromisoformat(day))
        self._close()
        self._day, self._part = day, first
        while True:
            path = file_path(self.directory, day, self._part)
            # The log holds people's questions: for the server's user and group only.
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            if os.fstat(self._file).st_size < self.max_bytes:
                break
            self._close()
            self._part += 1
        if ends_torn(self._file):
            os.write(self._file, b"\n")  # a process that died in the middle of a line

    def _remove_old(self, today: date) -> None:
        for path in expired_files(self.directory, today, self.retention_days):
            if not self.keep(path):
                path.unlink(missing_ok=True)
                logger.info("removed %s: older than %d days", path.name, self.retention_days)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


def _json(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(record), default=str)


def _encodable(value: Any) -> Any:
    # A lone surrogate cannot be written as UTF-8; nothing else here can fail to be JSON.
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
