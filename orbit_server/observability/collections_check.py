"""Can the collections be searched? A tiny search in those asked lately, in the others by turns."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

from cachetools import TTLCache

from ..errors import CollectionNotFound, OrbitError, SearchError

logger = logging.getLogger(__name__)

T = TypeVar("T")

SOME_FAIL = "a collection cannot be searched"
ALL_FAIL = "no collection can be searched"

_TELLING = 3  # so many failing collections, and no other, are not to blame themselves


class CollectionsCheck:
    """Probe collections by name, and remember in ``failing`` which cannot be searched, and why.

    ``probe(name)`` searches one, and raises an ``OrbitError`` when that fails; ``names()`` lists
    all of them.
    Each ``test`` probes the ``most`` collections asked lately (``asked``, for ``lately_seconds``)
    and those that fail. The others come one every ``turn_seconds``, since probing thousands would
    push those that are used out of Chroma's memory; where there are at most ``most``, all of them.

    A real search that failed counts for ``failed_seconds``, or until another one succeeds, since it
    may reach what a probe does not.

    A test takes at most ``wait_seconds``. A probe that does not return blocks no other and is not
    started again; after ``patience`` seconds it counts as failed, not before: documents may be
    being loaded. Probes that run are ended on leaving ``async with``.
    """

    def __init__(
        self,
        *,
        probe: Callable[[str], Awaitable[None]],
        names: Callable[[], Awaitable[Iterable[str]]],
        most: int = 8,
        lately_seconds: float = 600.0,
        turn_seconds: float = 30.0,
        wait_seconds: float = 1.5,
        patience: float = 10.0,
        failed_seconds: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failing: dict[str, str] = {}
        self._probe, self._names = probe, names
        self._most = most
        self._turn_seconds = turn_seconds
        self._wait_seconds = wait_seconds
        self._patience = patience
        self._now = now
        self._failed: TTLCache[str, str] = TTLCache(most, failed_seconds, timer=now)
        self._lately: TTLCache[str, None] = TTLCache(most, lately_seconds, timer=now)
        self._turns: list[str] = []
        self._known: set[str] = set()
        self._last_turn = float("-inf")
        self._listing: asyncio.Task[set[str]] | None = None
        self._running: dict[str, tuple[float, asyncio.Task[str]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks: list[asyncio.Task[Any]] = [task for _, task in self._running.values()]
        if self._listing is not None:
            tasks.append(self._listing)
        self._running.clear()
        self._listing = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self, name: str, search: Awaitable[T]) -> T:
        """Return what ``search`` in this collection finds, and note how it went."""
        self._lately[name] = None
        try:
            found = await search
        except SearchError as error:
            if not isinstance(error, CollectionNotFound):
                self._failed[name] = str(error)
            raise
        self._failed.pop(name, None)
        return found

    async def test(self) -> Mapping[str, Any]:
        """Probe what is due; return what the health check adds, nothing when all is well."""
        due = {*self._lately, *list(self.failing)[: self._most], *await self._take_turns()}
        for name in due - self._running.keys():
            self._running[name] = self._now(), asyncio.create_task(self._cause(name))
        if tasks := [task for _, task in self._running.values()]:
            await asyncio.wait(tasks, timeout=self._wait_seconds * 2 / 3)
        found = self._collect()
        found |= self._failed
        self._note(found)
        if not self.failing:
            return {}
        return {"status": "error", "error": ALL_FAIL if self._all_fail() else SOME_FAIL}

    def _all_fail(self) -> bool:
        failing, lately = self.failing.keys(), set(self._lately)
        return failing >= self._known or (len(lately) >= _TELLING and failing >= lately)

    async def _take_turns(self) -> list[str]:
        if not self._turns:
            if self._listing is None:
                self._listing = asyncio.create_task(self._list())
            done, _ = await asyncio.wait({self._listing}, timeout=self._wait_seconds / 3)
            if not done:
                return []
            listing, self._listing = self._listing, None
            self._known = listing.result()
            self._turns = sorted(self._known)
        if len(self._turns) <= self._most:
            turns, self._turns = self._turns, []
            return turns
        if self._now() - self._last_turn < self._turn_seconds:
            return []
        self._last_turn = self._now()
        return [self._turns.pop()]

    async def _list(self) -> set[str]:
        return set(await self._names())

    async def _cause(self, name: str) -> str:
        """Return why ``name`` cannot be searched; empty when it can, or is not there any more."""
        try:
            try:
                await self._probe(name)
            except CollectionNotFound:
                if name in await self._names():  # a part of it is missing
                    raise
                self._lately.pop(name, None)
        except OrbitError as error:
            return str(error) or type(error).__name__
        return ""

    def _collect(self) -> dict[str, str]:
        """Return what is known of the probes now: the cause of a failure, or an empty text."""
        found = {}
        for name, (began, task) in list(self._running.items()):
            if task.done():
                del self._running[name]
                found[name] = task.result()
            elif self._now() - began > self._patience:
                found[name] = f"no answer for {self._patience:.0f} seconds"
        return found

    def _note(self, found: Mapping[str, str]) -> None:
        for name, cause in found.items():
            before = self.failing.pop(name, "")
            if cause:
                self.failing[name] = cause
            if cause and cause != before:
                logger.error("collection %s cannot be searched: %s", name, cause)
            elif before and not cause:
                logger.warning("collection %s can be searched again", name)
