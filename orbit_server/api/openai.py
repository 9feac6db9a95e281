"""``/v1``: the same answers for the clients of OpenAI's API."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ..auth import Key
from ..errors import OrbitError
from ..services import Services
from ..types import NO_TOKENS, Question
from . import error_handlers
from ._middleware.api_key import INVALID
from .chat import answer_response
from .events import to_json
from .openai_request import CompletionQuestion
from .openai_wire import CompletionFormat, error_body, error_headers, error_object
from .responses import CompleteStream, Refusal


async def completions(request: Request) -> Response:
    """Answer the question that the safety layer has read, as a chat completion."""
    services: Services = request.app.state.services
    question: CompletionQuestion = request.scope["state"]["question"]
    caller: Key = request.scope["state"]["caller"]
    id = services.answer_ids.new(caller.id)
    written = CompletionFormat(question, id=id, sources_in=services.config.openai.sources)
    return answer_response(
        request, id=id, stream=question.stream, format=written, body=written.whole
    )


async def models(request: Request) -> Response:
    """List the one model that a key opens, named for its collection."""
    return JSONResponse({"object": "list", "data": [_model(request)]})


async def model(request: Request) -> Response:
    """Show the model of the key, 404 for any other."""
    found = _model(request)
    if request.path_params["model"] == found["id"]:
        return JSONResponse(found)
    message = "This model does not exist, or the key does not open it."
    return _error(404, message, code="model_not_found")


async def unknown(request: Request) -> Response:
    """Answer what the API of OpenAI has and this server has not."""
    return _error(404, f"There is no {request.method} here.", code="not_found")


class CompletionRefusal(Refusal):
    """Tell a caller that the question is not answered: a completion that a filter has ended."""

    def response(self, text: str, question: Question, request: Request) -> Response:
        """Return ``text`` as the answer to ``question``: whether as a stream, its body says."""
        assert isinstance(question, CompletionQuestion)  # noqa: S101 - the reader of this route
        written = CompletionFormat(question, id=str(question.request_id), sources_in="field")
        closing = {"sources": [], "usage": NO_TOKENS, "finish_reason": "content_filter"}
        if question.stream:
            return CompleteStream(written.opening + written.event(text) + written.end(closing))
        return Response(to_json(written.whole(text, closing)), media_type="application/json")


def refuse_key() -> Response:
    """Return the answer for a missing, unknown, expired or inactive key."""
    headers = {"WWW-Authenticate": "Bearer"}
    return _error(401, INVALID["detail"], code=INVALID["code"], headers=headers)


async def answer_error(request: Request, error: OrbitError) -> Response:
    """Answer an expected error in the form of this API."""
    error_handlers.note(request, error)
    return JSONResponse(error_body(error), status_code=error.status, headers=error_headers(error))


async def answer_unexpected(request: Request, error: Exception) -> Response:
    """Answer a bug of ours with 500; the traceback goes to the log."""
    unexpected = error_handlers.note_unexpected(request, error)
    return JSONResponse(error_body(unexpected), status_code=unexpected.status)


async def answer_http_exception(request: Request, error: HTTPException) -> Response:
    """Answer what starlette refuses."""
    code = error.detail.lower().replace(" ", "_")
    return _error(error.status_code, error.detail, code=code, headers=error.headers)


ERRORS: dict[Any, Any] = {
    OrbitError: answer_error,
    HTTPException: answer_http_exception,
    ClientDisconnect: error_handlers.ignore_disconnect,
    Exception: answer_unexpected,
}


def _model(request: Request) -> dict[str, Any]:
    caller: Key = request.scope["state"]["caller"]
    return {
        "id": caller.collection,
        "object": "model",
        "created": int(caller.created_at.timestamp()),
        "owned_by": "orbit",
    }


def _error(
    status: int, message: str, *, code: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = error_object(status, message, code=code)
    return JSONResponse(body, status_code=status, headers=headers)
