"""Is every part well? For ``/health``, and for the log when a part breaks or recovers."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from ..auth.keys import Keys
from ..config.loader import Config
from ..errors import ModelError, OrbitError
from ..llm.ollama import Ollama
from ..retrieval.chroma.client import Chroma
from ..retrieval.embedders import Embedder
from .chatlog import ChatLog

logger = logging.getLogger(__name__)

REMEMBER_SECONDS = 5.0
WATCH_SECONDS = 30.0
_TIMEOUT = 2.0
_OLLAMA_MENDED = (0, 17, 1)


class Health:
    """The state of every part: ``await health()`` gives ``{"status", "components"}``.

    All parts are asked at once, each with a short patience, at most every ``REMEMBER_SECONDS``, by
    one caller at a time. In ``async with`` it also looks by itself every ``WATCH_SECONDS``; a part
    that breaks or recovers is written into the chat log. Outside of that all is ``error``.
    """

    def __init__(
        self,
        config: Config,
        *,
        ollama: Ollama,
        chroma: Chroma,
        keys: Keys,
        chatlog: ChatLog,
        embedder: Embedder,
        elasticsearch_status: Callable[[], str],
    ) -> None:
        self.config = config
        self.ollama = ollama
        self.chroma = chroma
        self.keys = keys
        self.chatlog = chatlog
        self.embedder = embedder
        self.elasticsearch_status = elasticsearch_status
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
        """Return the state of the server and of every part."""
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
        """Look anew at the next call."""
        self._remembered = None

    @property
    def uses_ollama(self) -> bool:
        """Whether answers are worded or questions embedded by Ollama."""
        return "ollama" in (self.config.answer.provider, self.embedder.provider)

    async def models_present(self) -> bool:
        """Tell whether Ollama answers and holds both the chat and the embedding model."""
        ollama = self.config.ollama
        try:
            installed = await self._installed()
        except (ModelError, TimeoutError):
            return False
        return present(ollama.model, installed) and present(ollama.embed_model, installed)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self()

    def _note_changes(self, components: dict[str, dict[str, Any]]) -> None:
        for name, component in components.items():
            status = component["status"]
            if status not in ("disabled", self._before.get(name, "ok")):
                self.chatlog.note(
                    "status",
                    event="component",
                    component=name,
                    status=status,
                    detail=component.get("error"),
                )
            self._before[name] = status

    async def _check(self) -> dict[str, Any]:
        chroma, keys, models, ollama = await asyncio.gather(
            _status("Chroma", self.chroma.heartbeat()),
            _status("the key table", self.keys.ping()),
            self._models(),
            self._ollama_warning(),
        )
        components = {
            "server": {"status": "ok"},
            "chroma": chroma,
            "keys": keys,
            "logs": self._logs(),
            "elasticsearch": self._elasticsearch(),
            **models,
            **ollama,
        }
        failing = any(component["status"] == "error" for component in components.values())
        return {"status": "error" if failing else "ok", "components": components}

    def _logs(self) -> dict[str, Any]:
        state: dict[str, Any] = {"status": "ok", "lost": self.chatlog.lost}
        if self.chatlog.failing is not None:
            state |= {"status": "error", "error": "cannot be written"}
        return state

    def _elasticsearch(self) -> dict[str, Any]:
        # It holds a copy: without it the server works, and the files have all of it.
        status = self.elasticsearch_status()
        return {"status": "ok" if status == "enabled" else status}

    async def _ollama_warning(self) -> dict[str, dict[str, Any]]:
        if not self.uses_ollama:
            return {}
        try:
            async with asyncio.timeout(_TIMEOUT):
                version = await self.ollama.version()
        except (ModelError, TimeoutError):
            return {}
        if not outdated(version):
            return {}
        warning = f"Ollama {version} has a known security hole; update it"
        return {"ollama": {"status": "ok", "warning": warning}}

    async def _models(self) -> dict[str, dict[str, Any]]:
        provider = self.config.answer.provider
        model = self.config.ollama.model if provider == "ollama" else None
        parts: dict[str, dict[str, Any]] = {
            "llm": {"provider": provider, "model": model},
            "embedding": {"provider": self.embedder.provider, "model": self.embedder.model},
        }
        failure: str | None = None
        installed: set[str] = set()
        if self.uses_ollama:
            try:
                installed = await self._installed()
            except (ModelError, TimeoutError) as error:
                logger.warning("health check of Ollama: %s", error or "no answer in time")
                failure = "unreachable"
        for part in parts.values():
            problem = failure
            if problem is None and not present(part["model"], installed):
                problem = "model not installed"
            if part["provider"] != "ollama" or problem is None:
                part["status"] = "ok"
            else:
                part |= {"status": "error", "error": problem}
        return parts

    async def _installed(self) -> set[str]:
        async with asyncio.timeout(_TIMEOUT):
            return set(await self.ollama.models())


def outdated(version: str) -> bool:
    """Tell whether an Ollama of this version has a hole that a later one has closed.

    Builds without a number (0.0.0) and names that are none count as current.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and (0, 0, 0) < tuple(map(int, found.groups())) < _OLLAMA_MENDED


def present(model: str | None, installed: set[str]) -> bool:
    """Tell whether ``model`` is among ``installed`` names, which always carry a tag."""
    return model in installed or f"{model}:latest" in installed


async def _status(name: str, check: Awaitable[None]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_TIMEOUT):
            await check
    except (OrbitError, TimeoutError) as error:
        logger.warning("health check of %s: %s", name, error or "no answer in time")
        return {"status": "error", "error": "unreachable"}
    return {"status": "ok"}
