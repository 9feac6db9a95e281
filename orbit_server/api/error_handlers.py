"""Everything that goes wrong before a head is sent, as a response with the one error body."""

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from ..auth import ADMIN
from ..errors import CollectionNotFound, OrbitError, OriginNotAllowed, TooManyRequests
from ..services import Services
from .exchange_log import report

logger = logging.getLogger(__name__)


async def answer_error(request: Request, error: OrbitError) -> Response:
    """Answer an expected error with its status, its code and its sentence for users."""
    state = request.scope.get("state", {})
    admin = state.get("caller") == ADMIN
    if admin and isinstance(error, CollectionNotFound):
        # To a chat this is the operator's fault, 503; to the operator it is the answer.
        body = {"detail": "Collection not found", "code": error.code, "cause": str(error)}
        return JSONResponse(body, status_code=404)
    note(request, error)
    body = error.body()
    if admin:
        body["cause"] = str(error)  # the holder of the admin token is the operator
    return JSONResponse(body, status_code=error.status, headers=error.headers())


def note(request: Request, error: OrbitError) -> None:
    """Report an expected error that is ours, unless the endpoint has done so."""
    state = request.scope.get("state", {})
    if isinstance(error, OriginNotAllowed | TooManyRequests):
        state["refused"] = error.reason
    if error.status >= 500 and not state.get("error"):
        state["error"] = error.code
        report(_services(request), error, state.get("request_id"))


async def answer_http_exception(request: Request, error: HTTPException) -> Response:
    """Answer what the router refuses: an unknown path, a method that the path does not have."""
    code = error.detail.lower().replace(" ", "_")
    headers = error.headers
    if error.status_code == 405:  # the router knows of the first route only
        headers = {"Allow": ", ".join(sorted(_methods(request)))}
    return JSONResponse(
        {"detail": error.detail, "code": code}, status_code=error.status_code, headers=headers
    )


async def answer_unexpected(request: Request, error: Exception) -> Response:
    """Answer a bug of ours with 500; the traceback goes to the log."""
    unexpected = note_unexpected(request, error)
    return JSONResponse(unexpected.body(), status_code=unexpected.status)


def note_unexpected(request: Request, error: Exception) -> OrbitError:
    """Report a bug of ours with its traceback; what the client is told."""
    request_id = request.scope.get("state", {}).get("request_id")
    logger.error("request %s failed unexpectedly", request_id, exc_info=error)
    unexpected = OrbitError(f"{type(error).__name__}: {error}")
    note(request, unexpected)
    return unexpected


async def ignore_disconnect(request: Request, error: Exception) -> None:
    """Do nothing: the client left while it was still sending."""


def wrong_admin_token() -> Response:
    """Return the one answer for a missing or wrong admin token."""
    body = {"detail": "Invalid or missing admin token", "code": "invalid_admin_token"}
    return JSONResponse(body, status_code=401, headers={"WWW-Authenticate": "Bearer"})


EXPECTED: dict[Any, Any] = {
    OrbitError: answer_error,
    HTTPException: answer_http_exception,
    ClientDisconnect: ignore_disconnect,
}


def _methods(request: Request) -> set[str]:
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in matching for method in route.methods or ()}


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
