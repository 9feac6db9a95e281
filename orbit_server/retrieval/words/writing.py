"""The index of one collection while its lock is held, for whoever writes to it."""

import asyncio
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from . import record
from .analyzer import Analyzer
from .errors import translated
from .record import META, Record

T = TypeVar("T")


class Writing:
    """What may be done to the index in ``folder``, in the threads that ``submit`` gives work to.

    A call that is cancelled returns at once. What its thread had begun is completed, and keeps the
    lock until then.
    """

    def __init__(
        self, folder: Path, outdated: Sequence[Path], submit: Callable[..., Future[Any]]
    ) -> None:
        self.folder = folder
        self._outdated = outdated
        self._submit = submit
        self._running: Future[Any] | None = None

    async def add(self, rows: Sequence[tuple[str, str]], analyzer: Analyzer) -> None:
        """Store ``rows`` of (id, text) in one commit; known ids get the new text.

        In an index of another analyzer nothing else is left, so that it is too small.
        """
        from . import commit

        await self._run(commit.add, self.folder, rows, analyzer)

    async def remove(self, ids: Collection[str]) -> None:
        """Forget these passages; unknown ids, and collections without an index, are no error."""
        from . import commit

        await self._run(commit.remove, self.folder, ids)

    async def compact(self) -> None:
        """Take deleted passages out of the files, where they still count."""
        from . import commit

        await self._run(commit.compact, self.folder)

    async def merge(self) -> None:
        """Put files together where there are many, so that a question looks into few."""
        from . import commit

        await self._run(commit.merge, self.folder)

    async def sound(self) -> bool:
        """Return whether what is in the files is what was written; reads all of it."""
        from . import commit

        return await self._run(commit.sound, self.folder)

    async def begin(self, analyzer: Analyzer) -> None:
        """Delete the index if what is in its files is not what was written."""
        if not await self.sound():
            await self.drop()

    async def finish(self) -> None:
        """Put files together, and delete what the index stands in for."""
        await self.merge()
        await self.drop_outdated()

    async def note(self, seen: Mapping[str, int]) -> None:
        """Write down which writes of whom the index has taken in, instead of what it says now."""

        def replace() -> None:
            if (known := record.read(self.folder)) is not None and known.seen != seen:
                record.write(self.folder, Record(known.analyzer, seen))

        await self._run(replace)

    async def drop(self) -> int:
        """Delete the index, also a broken one; the number of bytes freed."""
        return await self._run(_drop, self.folder)

    async def drop_outdated(self) -> int:
        """Delete the word index of the kind before this one; the number of bytes freed."""
        return await self._run(_unlink, self._outdated)

    def unlock(self, descriptor: int) -> None:
        """Give the lock back, as soon as no thread writes any more."""
        if self._running is None or self._running.done():
            os.close(descriptor)
        else:
            self._running.add_done_callback(lambda _: os.close(descriptor))

    async def _run(self, call: Callable[..., T], *values: Any) -> T:
        def work() -> T:
            with translated(self.folder):
                return call(*values)

        self._running = self._submit(work)
        return await asyncio.wrap_future(self._running)


def _drop(folder: Path) -> int:
    if not folder.exists():
        return 0
    freed = sum(path.stat().st_size for path in folder.iterdir())
    (folder / META).unlink(missing_ok=True)  # first, so that a part of an index is none
    shutil.rmtree(folder)
    return freed


def _unlink(paths: Sequence[Path]) -> int:
    there = [path for path in paths if path.is_file()]
    freed = sum(path.stat().st_size for path in there)
    for path in there:
        path.unlink(missing_ok=True)
    return freed
