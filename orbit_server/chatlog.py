"""The chat log: one JSON line for every exchange, in a file for every day.

A writer thread of its own touches the disk, so that a slow one holds up nobody but the line's own
exchange, and that only for a moment.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pythonjsonlogger.orjson import OrjsonFormatter

logger = logging.getLogger(__name__)

_Line = tuple[dict[str, Any], Callable[[], None]]


class ChatLog:
    """Append records to ``directory/chat-YYYY-MM-DD.log``, by the record's own UTC day.

    Each line is one ``write`` to a file opened for appending, so that several processes may share
    it. Writing never fails an exchange: what could not be written is counted in ``lost`` and said
    in the server's log. Runs its thread in ``async with``; leaving it writes everything queued.
    """

    def __init__(self, directory: Path, *, max_wait: float = 0.05) -> None:
        self.directory = directory
        self.max_wait = max_wait
        self.lost = 0
        self._queue: queue.SimpleQueue[_Line | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._formatter = OrjsonFormatter(["timestamp"])
        self._file: int | None = None
        self._day = ""

    async def __aenter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="chatlog", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def write(self, record: dict[str, Any]) -> None:
        """Write ``record`` with its ``timestamp``; return when the operating system has the line.

        Waits at most ``max_wait`` seconds for that; the line is written all the same.
        """
        loop = asyncio.get_running_loop()
        written = loop.create_future()

        def confirm() -> None:
            if not written.done():
                written.set_result(None)

        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._queue.put(({"timestamp": now, **record}, lambda: _call(loop, confirm)))
        await asyncio.wait({written}, timeout=self.max_wait)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            record, confirm = item
            try:
                self._append(record)
            except Exception as error:
                self.lost += 1
                self._close()
                logger.error("a line of the chat log was lost (%d so far): %s", self.lost, error)
            confirm()
        self._close()

    def _append(self, record: dict[str, Any]) -> None:
        day = record["timestamp"][:10]
        if self._file is None or day != self._day:
            self._close()
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"chat-{day}.log"
            # The log holds people's questions: for the server's user and group only.
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            self._day = day
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # a process that died in the middle of a line
        line = logging.makeLogRecord({"msg": _encodable(record)})
        data = self._formatter.format(line).encode() + b"\n"
        if os.write(self._file, data) != len(data):
            raise OSError("the disk took only a part of the line")

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


def _encodable(value: Any) -> Any:
    # A lone surrogate cannot be written as UTF-8; nothing else here can fail to be JSON.
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
