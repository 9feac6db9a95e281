"""``GET /health``: the state of the server and of its components."""

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..auth import ADMIN
from ..errors import OrbitError
from ..llm import Hosts, Ollama
from ..observability import can_answer
from ..services import Services

_TIMEOUT = 2.0


async def health(request: Request) -> Response:
    """Answer 200 with the state of every part; the status is in the body, as clients expect it.

    With the admin token it also shows versions, models, sizes of the collections and the end of the
    certificate.
    """
    services: Services = request.app.state.services
    state = await services.health()
    if request.scope.get("state", {}).get("caller") == ADMIN:
        state = {**state, **await _details(services)}
    return JSONResponse(state)


async def ready(request: Request) -> Response:
    """Answer as ``health`` does, with 503 when no question could be answered."""
    services: Services = request.app.state.services
    state = await services.health()
    return JSONResponse(state, status_code=200 if can_answer(state) else 503)


async def live(request: Request) -> Response:
    """Answer 200: the process runs. Nothing is checked."""
    return JSONResponse({"status": "ok"})


class ByVerbosity:
    """Let requests with ``?verbose`` pass through ``verbose``, others through ``plain`` if any."""

    def __init__(self, app: ASGIApp, *, verbose: Middleware, plain: Middleware | None) -> None:
        self.verbose = _around(app, verbose)
        self.plain = _around(app, plain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = QueryParams(scope.get("query_string", b""))  # takes any bytes, as parse_qs does not
        await (self.verbose if "verbose" in asked else self.plain)(scope, receive, send)


def _around(app: ASGIApp, middleware: Middleware | None) -> ASGIApp:
    return middleware.cls(app, *middleware.args, **middleware.kwargs) if middleware else app


async def _details(services: Services) -> dict[str, Any]:
    ollama, models, stored = await asyncio.gather(
        _in_time(services.ollama.version) if services.uses_ollama else _nothing(),
        _in_time(services.ollama.models) if services.uses_ollama else _nothing(),
        _in_time(services.store.collections),
    )
    sizes = None if stored is None else {each["name"]: each["chunks"] for each in stored}
    # A Chroma server tells the version of its interface only, the same for every release.
    chroma = version("chromadb") if services.config.chroma.host is None else None
    certificate = services.certificate
    return {
        "versions": {"orbit": __version__, "ollama": ollama, "chroma": chroma},
        "models": models,
        **_hosts(services.ollama),
        "collections": sizes,
        "failing_collections": services.collections_check.failing,
        "incomplete_word_indexes": services.retrieval.mender.incomplete,
        "chatlog": {
            "waiting": services.chatlog.waiting,
            "lost": services.chatlog.lost,
            "failing": services.chatlog.failing,
        },
        "certificate": certificate
        and {
            "expires_at": certificate.expires.isoformat(),
            "days_left": certificate.days_left(),
        },
    }


def _hosts(ollama: Ollama | Hosts) -> dict[str, Any]:
    if not isinstance(ollama, Hosts):
        return {}
    return {"hosts": ollama.states(), "hosts_that_embed_nothing": ollama.refused()}


async def _in_time(question: Callable[[], Awaitable[Any]]) -> Any:
    """Return the answer, ``None`` when there is none in time; the components show why."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await question()
    except (OrbitError, TimeoutError):
        return None


async def _nothing() -> None:
    return None
