"""Is every component well? For ``/health``, and for the log when one breaks or recovers."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from ..errors import OrbitError
from .chatlog import ChatLog
from .collections_check import SOME_FAIL

logger = logging.getLogger(__name__)

_LEAST_FREE = 1 << 20


class Check(NamedTuple):
    """How one component is tested.

    ``test`` raises an ``OrbitError``, or takes too long, when the component does not work. What it
    returns is added to ``about`` and to ``{"status": "ok"}``, and may replace both. An ``optional``
    component is left out while it works and its test returns nothing.
    """

    test: Callable[[], Awaitable[Mapping[str, Any] | None]]
    about: Mapping[str, Any] = MappingProxyType({})
    optional: bool = False


async def works() -> None:
    """Test nothing: for a component that cannot fail."""


def chatlog_check(chatlog: ChatLog) -> Check:
    """Return the check of the chat log's files: whether they can be written, and what was lost."""

    async def test() -> dict[str, Any]:
        state: dict[str, Any] = {"lost": chatlog.lost}
        if chatlog.failing is not None:
            state |= {"status": "error", "error": "cannot be written"}
        return state

    return Check(test)


def elasticsearch_check(
    status: Callable[[], str], rejected: Callable[[], int] | None = None
) -> Check:
    """Return the check of Elasticsearch, which is ``ok``, ``disabled`` or ``unavailable``.

    It is never an error: it holds a copy, without it the server works, and the files have all of
    it. ``rejected`` returns how many records it did not take; it reads a file.
    """

    async def test() -> dict[str, Any]:
        state = status()
        found: dict[str, Any] = {"status": "ok" if state == "enabled" else state}
        if rejected is not None and (count := await asyncio.to_thread(rejected)):
            found["rejected"] = count
        return found

    return Check(test)


def words_check(ping: Callable[[], Awaitable[None]], *, seconds: float = 1.0) -> Check:
    """Return the check of what holds the word indexes; left out while that answers.

    It is never an error: without words, questions are answered by meaning alone. An answer that
    takes longer than ``seconds`` is none.
    """

    async def test() -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                await ping()
        except (OrbitError, TimeoutError):
            return {"status": "unavailable", "warning": "questions are answered by meaning alone"}
        return {}

    return Check(test, optional=True)


def disk_check(folders: Iterable[Path], *, least: int = _LEAST_FREE) -> Check:
    """Return the check that there is room in ``folders``: at least ``least`` bytes, and one file.

    It is left out while there is. A folder that is not there yet is where its parent is.
    """

    def full() -> bool:
        for folder in folders:
            place = next((each for each in (folder, *folder.parents) if each.exists()), None)
            if place is not None:
                room = os.statvfs(place)
                free, no_files = room.f_bavail * room.f_frsize, room.f_files and not room.f_favail
                if free < least or no_files:
                    return True
        return False

    async def test() -> dict[str, Any]:
        return {"status": "error", "error": "full"} if await asyncio.to_thread(full) else {}

    return Check(test, optional=True)


class Health:
    """The state of every component: ``await health()`` gives ``{"status", "components"}``.

    The status is ``ok`` when a question could be answered now. All ``checks`` are made at once,
    each within ``check_seconds``, at most every ``remember_seconds``, by one caller at a time. In
    ``async with`` they are also made every ``watch_seconds``; a component that breaks or recovers
    is handed to ``note``, which writes it into the chat log. Outside of that all is ``error``.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        note: Callable[..., None],
        remember_seconds: float = 5.0,
        watch_seconds: float = 30.0,
        check_seconds: float = 2.0,
    ) -> None:
        self.checks = dict(checks)
        self._note = note
        self._remember_seconds = remember_seconds
        self._watch_seconds = watch_seconds
        self._check_seconds = check_seconds
        self._watcher: asyncio.Task[None] | None = None
        self._remembered: tuple[float, dict[str, Any]] | None = None
        self._lock = asyncio.Lock()
        self._before: dict[str, str] = {}
        self._running: dict[str, asyncio.Future[Mapping[str, Any] | None]] = {}

    async def __aenter__(self) -> Self:
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc: object) -> None:
        watcher, self._watcher = self._watcher, None
        self.forget()
        tasks: list[asyncio.Future[Any]] = list(self._running.values())
        self._running.clear()
        if watcher is not None:
            tasks.append(watcher)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __call__(self) -> dict[str, Any]:
        """Return the state of the server and of every component."""
        if self._watcher is None:
            return {"status": "error", "components": {"server": {"status": "error"}}}
        async with self._lock:
            now = time.monotonic()
            if self._remembered is None or now - self._remembered[0] > self._remember_seconds:
                state = await self._check()
                self._note_changes(state["components"])
                self._remembered = (now, state)
            return self._remembered[1]

    def forget(self) -> None:
        """Make all checks again at the next call."""
        self._remembered = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_seconds)
            await self()

    def _note_changes(self, components: dict[str, dict[str, Any]]) -> None:
        for name, component in components.items():
            status = component["status"]
            if status not in ("disabled", self._before.get(name, "ok")):
                self._note(
                    "status",
                    event="component",
                    component=name,
                    status=status,
                    detail=component.get("error"),
                )
            self._before[name] = status

    async def _check(self) -> dict[str, Any]:
        states = await asyncio.gather(*(self._state(*item) for item in self.checks.items()))
        found = {name: state for name, state in zip(self.checks, states, strict=True) if state}
        components: dict[str, dict[str, Any]] = {"server": {"status": "ok"}, **found}
        failing = any(component["status"] == "error" for component in components.values())
        return {"status": "error" if failing else "ok", "components": components}

    async def _state(self, name: str, check: Check) -> dict[str, Any]:
        """Return the state of one component, empty when it is left out.

        A test that does not end goes on, and is not made a second time meanwhile: what hangs in a
        thread cannot be cancelled, and would take one more thread with each check.
        """
        before = self._running.pop(name, None)
        if before is None or before.done():
            before = asyncio.ensure_future(check.test())
        done, _ = await asyncio.wait({before}, timeout=self._check_seconds)
        try:
            if not done:
                self._running[name] = before
                raise TimeoutError("no answer in time")
            more = before.result()
        except (OrbitError, TimeoutError) as error:
            if check.optional:
                return {}
            logger.warning("health check of %s: %s", name, error)
            return {**check.about, "status": "error", "error": "unreachable"}
        except Exception:
            logger.exception("health check of %s", name)
            return {**check.about, "status": "error", "error": "unreachable"}
        if check.optional and not more:
            return {}
        return {**check.about, "status": "ok", **(more or {})}


def can_answer(state: Mapping[str, Any]) -> bool:
    """Tell whether some question could be answered: a single bad collection is no reason to stop.

    ``state`` is what ``Health`` returned.
    """
    return all(
        component["status"] != "error" or component.get("error") == SOME_FAIL
        for component in state["components"].values()
    )
