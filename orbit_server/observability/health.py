"""Is every component well? For ``/health``, and for the log when one breaks or recovers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from ..errors import OrbitError
from .chatlog import ChatLog

logger = logging.getLogger(__name__)

REMEMBER_SECONDS = 5.0
WATCH_SECONDS = 30.0
_TIMEOUT = 2.0


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


class Health:
    """The state of every component: ``await health()`` gives ``{"status", "components"}``.

    All ``checks`` are made at once, each with a short time limit, at most every
    ``REMEMBER_SECONDS``, by one caller at a time. In ``async with`` they are also made every
    ``WATCH_SECONDS``; a component that breaks or recovers is handed to ``note``, which writes it
    into the chat log. Outside of that all is ``error``.
    """

    def __init__(self, checks: Mapping[str, Check], *, note: Callable[..., None]) -> None:
        self.checks = dict(checks)
        self._note = note
        self._watcher: asyncio.Task[None] | None = None
        self._remembered: tuple[float, dict[str, Any]] | None = None
        self._lock = asyncio.Lock()
        self._before: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc: object) -> None:
        watcher, self._watcher = self._watcher, None
        self.forget()
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def __call__(self) -> dict[str, Any]:
        """Return the state of the server and of every component."""
        if self._watcher is None:
            return {"status": "error", "components": {"server": {"status": "error"}}}
        async with self._lock:
            now = time.monotonic()
            if self._remembered is None or now - self._remembered[0] > REMEMBER_SECONDS:
                state = await self._check()
                self._note_changes(state["components"])
                self._remembered = (now, state)
            return self._remembered[1]

    def forget(self) -> None:
        """Make all checks again at the next call."""
        self._remembered = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
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
        states = await asyncio.gather(*(_state(*item) for item in self.checks.items()))
        found = {name: state for name, state in zip(self.checks, states, strict=True) if state}
        components: dict[str, dict[str, Any]] = {"server": {"status": "ok"}, **found}
        failing = any(component["status"] == "error" for component in components.values())
        return {"status": "error" if failing else "ok", "components": components}


async def _state(name: str, check: Check) -> dict[str, Any]:
    """Return the state of one component, empty when it is left out."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            more = await check.test()
    except (OrbitError, TimeoutError) as error:
        if check.optional:
            return {}
        logger.warning("health check of %s: %s", name, error or "no answer in time")
        return {**check.about, "status": "error", "error": "unreachable"}
    if check.optional and not more:
        return {}
    return {**check.about, "status": "ok", **(more or {})}
