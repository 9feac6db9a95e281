"""``create_app``: the table of contents. Read downwards, it is the way of a request."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route

from .api import admin, openai
from .api._middleware.api_key import ApiKeyMiddleware
from .api._middleware.mount_path import MountPathMiddleware
from .api._middleware.rate_limit import Admitted, RateLimitMiddleware
from .api._middleware.request_log import RequestLogMiddleware
from .api._middleware.safety import SafetyMiddleware
from .api.acme import acme_route
from .api.chat import chat, question_reader
from .api.cors import Cors
from .api.error_handlers import EXPECTED, answer_unexpected, wrong_admin_token
from .api.event_stream import server_stopping
from .api.feedback import feedback
from .api.files import upload_files
from .api.health import ByVerbosity, health, live, ready
from .api.metrics import metrics
from .api.openai_request import completion_reader
from .api.responses import Refusal
from .api.shutdown import Shutdown
from .auth import Key
from .config import ConfigSource
from .config.guest import named_errors, resolve
from .observability.metrics import Metrics
from .safety import Verdict
from .services import Services
from .types import Question
from .web import page_routes

logger = logging.getLogger(__name__)
requests = logging.getLogger("orbit_server.requests")


def create_app(
    config: ConfigSource | None = None, *, services: Services | None = None
) -> Starlette:
    """Return the chat server as an ASGI application; ``ConfigError`` when it cannot be configured.

    ``config`` is a ``Config``, a mapping of the sections of ``config.yaml``, or the path of such a
    file; without it, the file that ``ORBIT_CONFIG`` names is read, and no other. ``services`` may
    bring parts of its own; they are opened by the application's lifespan unless they are open
    already. A host that mounts the application must enter ``app.router.lifespan_context(app)`` in
    its own lifespan: hosts do not run the lifespans of what they mount.
    """
    with named_errors(config):
        config = services.config if services and config is None else resolve(config)
        services = services or Services(config)
        pages = page_routes(config)

    # What a reload replaces is found when it is asked, not when the routes are made.
    async def verify(key: str | None, address: str) -> Key | None:
        services.require_open()
        return await services.guesses.verify(key, address)

    async def verify_admin(token: str | None, address: str) -> str | None:
        caller = await services.guesses.verify_admin(token, address)
        services.require_open()
        return caller

    async def admit(key: Key, address: str, headers: Mapping[str, str]) -> Admitted:
        return await services.admission.admit(key, address, headers)

    async def refusal(question: Question) -> Verdict | None:
        return await services.guard.refusal(question) if services.guard else None

    # Answers see to their end themselves, since theirs may be an event instead of a status.
    shutdown = Shutdown(config.general.drain_seconds, stopping=server_stopping)
    until_shutdown: Any = shutdown.cancel_on_shutdown
    header = config.api_keys.header_name
    with_key = Middleware(ApiKeyMiddleware, verify=verify, header=header)
    with_admin_token = Middleware(
        ApiKeyMiddleware, verify=verify_admin, header=None, refuse=wrong_admin_token
    )
    with_openai_errors = Middleware(ExceptionMiddleware, handlers=openai.ERRORS)
    with_openai_key = Middleware(
        ApiKeyMiddleware, verify=verify, header=header, refuse=openai.refuse_key
    )
    within_limits = Middleware(RateLimitMiddleware, admit=admit)

    def with_safe_question(read: Any, refuse: type[Refusal]) -> Middleware:
        return Middleware(
            SafetyMiddleware,
            read=until_shutdown(read(config)),
            check=until_shutdown(refusal) if services.guard else None,
            refuse=partial(refuse, services),
        )

    def compatible(path: str, endpoint: Any, methods: list[str], *more: Middleware) -> Route:
        middleware = [with_openai_errors, with_openai_key, within_limits, *more]
        return Route("/v1" + path, endpoint, methods=methods, middleware=middleware)

    def administer(path: str, endpoint: Any, method: str) -> Route:
        endpoint = until_shutdown(endpoint)
        return Route("/admin" + path, endpoint, methods=[method], middleware=[with_admin_token])

    acme_dir = config.general.acme_dir
    health_key = with_key if config.api_keys.require_for_health else None

    app = Starlette(
        middleware=[
            Middleware(
                MountPathMiddleware,
                public_path=config.general.root_path,
                trusted_proxies=config.general.trusted_proxies,
            ),
            Middleware(
                RequestLogMiddleware,
                emit=partial(_record_request, services.metrics),
                trusted_proxies=config.general.trusted_proxies,
            ),
            Middleware(
                Cors,
                allow_origins=config.web.cors_origins,
                allowed_by_keys=services.keys.known.name_origin,
            ),
            # Starlette answers unexpected exceptions outside of all middleware, where neither the
            # log nor a browser (for want of CORS headers) would see it; so it is answered in here.
            Middleware(ExceptionMiddleware, handlers={Exception: answer_unexpected}),
        ],
        routes=[
            Route(
                "/chat",
                chat,
                methods=["POST"],
                middleware=[with_key, within_limits, with_safe_question(question_reader, Refusal)],
            ),
            Route(
                "/feedback",
                until_shutdown(feedback),
                methods=["POST"],
                middleware=[with_key, within_limits],
            ),
            Route(
                "/health",
                health,
                middleware=[Middleware(ByVerbosity, verbose=with_admin_token, plain=health_key)],
            ),
            Route("/health/ready", ready, middleware=[health_key] if health_key else None),
            Route("/health/live", live),
            Route(
                "/metrics",
                metrics,
                middleware=None if config.metrics.public else [with_admin_token],
            ),
            *([] if acme_dir is None else [acme_route(Path(acme_dir))]),
            *pages,
            compatible("/models", openai.models, ["GET"]),
            compatible("/models/{model}", openai.model, ["GET"]),
            compatible(
                "/chat/completions",
                openai.completions,
                ["POST"],
                with_safe_question(completion_reader, openai.CompletionRefusal),
            ),
            compatible("/{path:path}", openai.unknown, ["GET", "POST", "PUT", "PATCH", "DELETE"]),
            administer("/api-keys", admin.create_key, "POST"),
            administer("/api-keys", admin.list_keys, "GET"),
            administer("/api-keys/deactivate", admin.deactivate_key, "POST"),
            administer("/api-keys/limits", admin.limit_key, "POST"),
            administer("/api-keys/rotate", admin.rotate_key, "POST"),
            administer("/api-keys/{key}/status", admin.key_status, "GET"),
            administer("/api-keys/{key}", admin.delete_key, "DELETE"),
            administer("/collections", admin.list_collections, "GET"),
            administer("/collections", admin.clean_collections, "POST"),
            administer("/collections/{name}", admin.show_collection, "GET"),
            administer("/collections/{name}", admin.drop_collection, "DELETE"),
            administer("/collections/{name}/documents", admin.list_documents, "GET"),
            administer("/collections/{name}/documents", admin.put_documents, "POST"),
            administer("/collections/{name}/files", admin.list_files, "GET"),
            # It sees to its end itself, as answers do.
            Route(
                "/admin/collections/{name}/files",
                upload_files,
                methods=["POST"],
                middleware=[with_admin_token],
            ),
            administer("/collections/{name}/files/{source:path}", admin.remove_file, "DELETE"),
            administer("/collections/{name}/search", admin.search_collection, "POST"),
            administer("/collections/{name}/candidates", admin.list_candidates, "POST"),
            administer("/collections/{name}/sample", admin.sample_collection, "GET"),
            administer("/collections/{name}/threshold", admin.set_threshold, "POST"),
            administer("/collections/{name}/reindex", admin.reindex_collection, "POST"),
            administer("/collections/{name}/repair", admin.repair_collection, "POST"),
        ],
        exception_handlers=EXPECTED,
        lifespan=_lifespan,
    )
    # A redirect to the path without its slash would repeat the path, where a key may stand, and
    # lead to whatever host the request named.
    app.router.redirect_slashes = False
    app.state.services = services
    app.state.shutdown = shutdown
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    services: Services = app.state.services
    if services.opened:
        yield
        return
    async with services:
        yield


def _record_request(metrics: Metrics, record: dict[str, Any]) -> None:
    metrics.request(record)
    ended = "refused: %(refused)s" if record["refused"] else "%(outcome)s"
    requests.info(f"%(method)s %(route)s %(status)s {ended}", record, extra=record)
