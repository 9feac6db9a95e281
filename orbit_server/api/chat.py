"""``POST /chat``: a question in, an answer out, streamed or whole."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from ..auth import Key
from ..config import Config
from ..errors import Unprocessable
from ..services import Services
from ..types import ExchangeResult, Question
from .event_stream import EventStream
from .events import AnswerFormat
from .exchange_log import log_answer
from .json_body import read_json, validated
from .responses import WholeAnswer, chat_body, wants_stream
from .shutdown import Shutdown

_BODY_LIMIT = 64 * 1024
_FIELDS = ("message", "stream", "history", "stream_format")


def question_reader(config: Config) -> Callable[[Scope, Receive], Awaitable[Question]]:
    """Return the one parser of chat requests: scope and receive in, a valid ``Question`` out.

    It raises 400 for what is not JSON, 413 over 64 KiB, 415 for another media type, 422 for wrong
    content.
    """
    longest = config.chat.max_message_chars

    async def read_question(scope: Scope, receive: Receive) -> Question:
        body = await read_json(Request(scope, receive), limit=_BODY_LIMIT)
        if isinstance(body, dict):  # unknown fields are ignored
            body = {name: body[name] for name in _FIELDS if name in body}
            body["request_id"] = scope.get("state", {}).get("request_id")
        question = validated(Question, body)
        if not question.message.strip():
            raise Unprocessable("message must not be empty.")
        if len(question.message) > longest:
            raise Unprocessable(f"message must have at most {longest} characters.")
        return question

    return read_question


async def chat(request: Request) -> Response:
    """Answer the question that the safety layer has read, from the caller's documents."""
    services: Services = request.app.state.services
    question: Question = request.scope["state"]["question"]
    caller: Key = request.scope["state"]["caller"]
    stream_format = (
        question.stream_format or caller.stream_format or services.config.chat.stream_format
    )
    return answer_response(
        request,
        id=services.answer_ids.new(caller.id),
        stream=wants_stream(request, question),
        cumulative=stream_format == "cumulative",
    )


def answer_response(
    request: Request,
    *,
    id: str,
    stream: bool,
    cumulative: bool = False,
    format: AnswerFormat | None = None,
    body: Callable[[str, dict[str, Any]], dict[str, Any]] = chat_body,
) -> Response:
    """Return the answer to the request's question, streamed or whole, to be counted and logged.

    ``id`` is what the log and ``POST /feedback`` call the answer. ``format`` writes the events of a
    stream, ``body`` the object of a whole answer.
    """
    services: Services = request.app.state.services
    state: dict[str, Any] = request.scope["state"]
    question: Question = state["question"]
    caller: Key = state["caller"]
    answer = services.pipeline.answer(question, caller.collection, owner=caller.id, id=id)
    if stream:
        services.metrics.stream_begins()

    async def finish(result: ExchangeResult) -> None:
        if stream:
            services.metrics.stream_ends()
        services.metrics.answer(
            result.outcome,
            result=answer.result,
            timings_ms=answer.timings(),
            usage=answer.usage,
        )
        await log_answer(services, state, answer, result)

    shutdown: Shutdown = request.app.state.shutdown
    key_ending = partial(services.key_watch.using, caller)
    if not stream:
        return WholeAnswer(
            answer, finish=finish, shutdown=shutdown, key_ending=key_ending, body=body
        )
    chat = services.config.chat
    return EventStream(
        answer,
        finish=finish,
        shutdown=shutdown,
        key_ending=key_ending,
        format=format,
        cumulative=cumulative,
        head_timeout=chat.head_timeout,
        ping=chat.ping_seconds,
    )
