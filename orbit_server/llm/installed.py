"""What is installed at the model's host: the models, and a version with or without known holes."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..errors import ModelError

_MENDED = (0, 17, 1)
_SHORT_DIGEST = 12


class Host(Protocol):
    """The host of the models, as far as this module asks it; raises the ``ModelError`` family."""

    async def models(self) -> list[str]: ...

    async def version(self) -> str: ...


def outdated(version: str) -> bool:
    """Tell whether an Ollama of this version has a hole that a later one has closed.

    Builds without a number (0.0.0) and names that are none count as current.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and (0, 0, 0) < tuple(map(int, found.groups())) < _MENDED


def present(model: str | None, installed: set[str]) -> bool:
    """Tell whether ``model`` is among ``installed`` names, which always carry a tag."""
    return model is not None and tagged(model) in installed


def tagged(model: str) -> str:
    """Return the name of a model with its tag, as Ollama lists it: ``latest`` where it has none."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def short(digest: str | None) -> str:
    """Return the beginning of a digest, as Ollama's own list shows it."""
    return (digest or "unknown").removeprefix("sha256:")[:_SHORT_DIGEST]


class InstalledModels:
    """The names of the installed models; who asks at the same time shares one request."""

    def __init__(self, host: Host, *, timeout: float = 2.0) -> None:
        self._host, self._timeout = host, timeout
        self._asking: asyncio.Task[set[str]] | None = None

    async def __call__(self) -> set[str]:
        """Return the names; raise the ``ModelError`` family, or ``TimeoutError``."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            # Its exception is read here, or asyncio warns when everyone has stopped waiting.
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> set[str]:
        async with asyncio.timeout(self._timeout):
            return set(await self._host.models())


def model_check(
    installed: Callable[[], Awaitable[set[str]]], model: str
) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return the health check of one model: whether it is installed."""

    async def check() -> dict[str, Any]:
        if present(model, await installed()):
            return {}
        return {"status": "error", "error": "model not installed"}

    return check


def version_check(host: Host) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return the health check of the host's version: a warning, or nothing to say.

    A host that does not answer is none of its business: the checks of its models say so.
    """

    async def check() -> dict[str, Any]:
        try:
            version = await host.version()
        except ModelError:
            return {}
        if not outdated(version):
            return {}
        return {"warning": f"Ollama {version} has a known security hole; update it"}

    return check
