"""``error_handlers``: what a failure looks like to the user, and what to the operator."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orbit_server.api.error_handlers import EXPECTED, answer_unexpected, wrong_admin_token
from orbit_server.auth.policy import ADMIN
from orbit_server.errors import CollectionNotFound, Conflict, ModelBusy, OrbitError
from tests.support import asgi

pytestmark = pytest.mark.anyio


class ChatLog:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write_nowait(self, kind: str, **fields: Any) -> None:
        self.written.append({"kind": kind, **fields})


async def failing(
    error: Exception, *, caller: str | None = None
) -> tuple[asgi.Result, list[dict[str, Any]]]:
    """Return what a client gets, and what the chat log, when an endpoint raises ``error``."""
    log = ChatLog()

    async def endpoint(request: Request) -> Response:
        raise error

    app = Starlette(
        routes=[Route("/x", endpoint), Route("/x", endpoint, methods=["POST"])],
        middleware=[Middleware(ExceptionMiddleware, handlers={Exception: answer_unexpected})],
        exception_handlers=EXPECTED,
    )
    app.state.services = SimpleNamespace(chatlog=log)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"request_id": "r-1", "caller": caller}
        await app(scope, receive, send)

    return await asgi.call(with_state, "GET", "/x"), log.written


async def test_an_expected_error() -> None:
    """The user reads its sentence, the operator its cause."""
    result, written = await failing(ModelBusy("queue of secret.example is full"))
    assert (result.status, result.json()) == (
        503,
        {"detail": ModelBusy.sentence, "code": "model_busy"},
    )
    (record,) = written
    assert record["request_id"] == "r-1" and "secret.example" in record["cause"]


async def test_the_operator_is_told_the_cause_at_once() -> None:
    """Who holds the admin token may read the log anyway."""
    result, _ = await failing(ModelBusy("queue is full"), caller=ADMIN)
    assert result.json()["cause"] == "queue is full"


async def test_a_mistake_of_the_caller_is_not_reported() -> None:
    """It is in the request log, by its status."""
    result, written = await failing(Conflict("Already there."))
    assert (result.status, written) == (409, [])


async def test_a_collection_that_is_not_there() -> None:
    """The operator has named it, the user cannot: 404 for one, 503 for the other."""
    error = CollectionNotFound("collection 'town' is gone")
    asked, reported = await failing(error)
    assert (asked.status, len(reported)) == (503, 1)
    named, unreported = await failing(error, caller=ADMIN)
    assert (named.status, named.json()["code"], unreported) == (404, "collection_not_found", [])


async def test_a_bug_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """500 without a detail; the traceback is in the log."""
    with caplog.at_level(logging.ERROR):
        result, written = await failing(ZeroDivisionError("secret"))
    assert (result.status, result.json()) == (500, OrbitError().body())
    assert "Traceback" in caplog.text
    assert len(written) == 1


async def test_a_wrong_admin_token() -> None:
    """A status, a body and the header that the standard wants."""
    result = await asgi.call(wrong_admin_token(), "GET", "/")
    assert (result.status, result.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert result.json()["code"] == "invalid_admin_token"


async def test_405_names_every_method_of_the_path() -> None:
    """Also where each method is a route of its own."""
    app = Starlette(
        routes=[
            Route("/x", wrong_admin_token, methods=["GET"]),
            Route("/x", wrong_admin_token, methods=["POST"]),
        ],
        exception_handlers=EXPECTED,
    )
    result = await asgi.call(app, "DELETE", "/x")
    assert (result.status, result.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert result.json()["code"] == "method_not_allowed"
