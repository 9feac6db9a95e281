"""Looks after the word indexes of this host, whether anybody asks their collections or not.

Indexes that are not whole are mended, one after the other; those of the kind before this one are
replaced, those of collections that are gone deleted. Where other hosts answer from the same Chroma,
deleted passages are taken out of the files in a quiet moment: scores are then the same on each.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Self

from ...errors import OrbitError
from ..chroma.protocol import Chroma, Collection
from .errors import WordsUnavailable
from .mending import IndexMender, writes_of
from .protocol import Words

logger = logging.getLogger(__name__)

_REST = 5  # times as long as it took to write an index anew, until the same is again


class IndexUpkeep:
    """Looks at all collections ``every`` so many seconds while in ``async with``.

    ``others`` says that other hosts may answer from the same Chroma. An index whose collection has
    been missing for ``gone_seconds`` is deleted: until then it may be the wrong Chroma. One that
    nobody has written to for ``quiet_seconds`` may be written anew.
    """

    def __init__(
        self,
        chroma: Chroma,
        lexical: Words,
        mender: IndexMender,
        *,
        others: bool,
        every: float = 15.0,
        gone_seconds: float = 600.0,
        quiet_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chroma = chroma
        self.lexical = lexical
        self.mender = mender
        self._others = others
        self._every = every
        self._gone_seconds = gone_seconds
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._whole: dict[str, Mapping[str, int]] = {}
        self._missed: dict[str, float] = {}
        self._resting: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except WordsUnavailable:
                pass  # which is said once, where it is noticed
            except OrbitError as error:
                logger.warning("the word indexes could not be maintained: %s", error)
            except Exception:
                logger.exception("the word indexes could not be maintained")
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Look once at every collection and every index; return when all is done.

        Raises what ``chroma`` does when it is asked for its collections.
        """
        there = {each.id: each for each in await self.chroma.collections()}
        await self._drop_missed(there)
        outdated = frozenset(self.lexical.outdated())
        for id, collection in there.items():
            try:
                if await self._is_whole(collection):
                    if id in outdated:
                        async with self.lexical.writing(id) as words:
                            await words.finish()
                    if self._others:
                        await self._compact(collection)
            except WordsUnavailable:
                return
            except OrbitError as error:
                logger.warning(
                    "collection %s: words could not be maintained: %s", collection.name, error
                )

    async def _is_whole(self, collection: Collection) -> bool:
        told = writes_of(collection)
        if self._whole.get(collection.id) == told:
            return True
        whole = await self.mender.is_complete(collection)
        if not whole:
            await self.mender.mended(collection.id)
            whole = await self.mender.is_complete(collection)
        if whole:
            self._whole[collection.id] = told
        return whole

    async def _drop_missed(self, there: Mapping[str, Collection]) -> None:
        missing, now = await self.lexical.leftovers(there), self._clock()
        self._missed = {id: self._missed.get(id, now) for id in missing}
        self._whole = {id: told for id, told in self._whole.items() if id in there}
        self._resting = {id: until for id, until in self._resting.items() if id in there}
        for id, since in self._missed.items():
            if now - since >= self._gone_seconds:
                freed = await self.lexical.drop(id)
                logger.info("the word index of a deleted collection was removed: %d bytes", freed)

    async def _compact(self, collection: Collection) -> None:
        started = self._clock()
        if self._resting.get(collection.id, started) > started:
            return
        await self.lexical.compact(collection.id, quiet_seconds=self._quiet_seconds)
        ended = self._clock()
        self._resting[collection.id] = ended + _REST * (ended - started)
