"""Files are read in processes of their own, several at once, each within limits."""

import asyncio
import math
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from ..errors import UnreadableDocument
from .model import Chunk
from .readers.worker import HEAD, frame, unpacked

# The last three are Windows's.
_INHERITED = frozenset(
    ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TESSDATA_PREFIX")
) | {"SYSTEMROOT", "TEMP", "PATHEXT"}
_PACKAGE = __package__.partition(".")[0]


class Chunks(Iterable[Chunk], Sized):
    """The chunks of one file, packed, since of some files they are many."""

    def __init__(self) -> None:
        self._count = 0
        self._frames: list[bytes] = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Chunk]:
        for packed in self._frames:
            yield from unpacked(packed)

    def add(self, packed: bytes, count: int) -> None:
        """Append ``count`` chunks as the process has sent them."""
        self._count += count
        self._frames.append(packed)


class ReadFile(NamedTuple):
    """The chunks of one file, and in a sentence each what could not be read.

    ``notes`` are about the file as a whole; the ``left_out`` are parts that could not be read.
    ``facts`` are what else is known of a page or a sitemap.
    """

    chunks: Chunks
    notes: list[str]
    left_out: list[str]
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Reading:
    """Processes that read files, at most ``processes`` at once; they end with ``async with``.

    A file may take ``seconds``, and a process ``megabytes`` of memory. One that breaks, or takes
    too much, is replaced.
    """

    def __init__(
        self, processes: int | None = None, *, seconds: float = 60.0, megabytes: int = 1024
    ) -> None:
        self.processes = processes or min(os.cpu_count() or 1, 4)
        self._seconds, self._megabytes = seconds, megabytes
        self._free = asyncio.Semaphore(self.processes)
        self._idle: list[Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        while self._idle:
            await _end(self._idle.pop())

    async def read(self, path: Path, source: str, **options: Any) -> ReadFile:
        """Read one file; ``source`` and ``options`` are those of ``readers.read.read``.

        With ``reader="page"`` or ``reader="sitemap"`` they are those of ``site.page.read`` or
        ``site.sitemap.read``. Raises ``UnreadableDocument``.
        """
        async with self._free:
            process = self._idle.pop() if self._idle else await self._start()
            try:
                async with asyncio.timeout(self._seconds):
                    found = await _exchange(process, [str(path), source, options])
            except TimeoutError:
                await _end(process)
                raise UnreadableDocument(
                    f"Reading the file took longer than {self._seconds:g} seconds; divide it."
                ) from None
            except (EOFError, ConnectionError):
                await _end(process)
                raise UnreadableDocument(
                    f"The file is broken, or reading it needs more than {self._megabytes} MB of"
                    " memory."
                ) from None
            except BaseException:
                await _end(process)
                raise
            self._idle.append(process)
        if isinstance(found, str):
            raise UnreadableDocument(found)
        return found

    async def _start(self) -> Process:
        # Found where this one is and its packages are, and nothing else of the working directory.
        place = str(Path(sys.modules[_PACKAGE].__path__[0]).parent)
        path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", f"{__package__}.readers.worker"),
            *(str(self._megabytes), str(math.ceil(self._seconds))),
            stdin=PIPE,
            stdout=PIPE,
            env=_environment() | {"PYTHONPATH": path},
            start_new_session=True,  # so that it ends with what it has started
        )


def _environment() -> dict[str, str]:
    """Return what programs need of the environment, without what may be secret in it."""
    return {name: value for name, value in os.environ.items() if name in _INHERITED}


async def _exchange(process: Process, request: list[Any]) -> ReadFile | str:
    requests, answers = process.stdin, process.stdout
    if requests is None or answers is None:
        raise ValueError("the process has no pipes")
    requests.write(frame(orjson.dumps(request)))
    await requests.drain()
    chunks = Chunks()
    while True:
        count, length = HEAD.unpack(await answers.readexactly(HEAD.size))
        data = await answers.readexactly(length)
        if count:
            chunks.add(data, count)
            continue
        found = orjson.loads(data)
        if "error" in found:
            return str(found["error"])
        return ReadFile(chunks, found["notes"], found["left_out"], found["facts"])


async def _end(process: Process) -> None:
    if process.returncode is None:
        _kill(process)
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _kill(process: Process) -> None:
    if os.name == "posix":
        with suppress(ProcessLookupError):  # it has ended since somebody looked
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
