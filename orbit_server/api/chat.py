"""``POST /chat``: a question in, an answer out, streamed or whole."""

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..answering.answer import NO_TOKENS, Answer
from ..auth.keys import Key
from ..config.loader import Config
from ..errors import OrbitError, ShuttingDown, Unprocessable
from ..safety.guard import Verdict, refusal_text
from ..services import Services
from ..types import Question
from .event_stream import (
    Ending,
    EventStream,
    Outcome,
    Shutdown,
    StreamedAtOnce,
    done_event,
    event,
    to_json,
)
from .json_body import read_json, validated

logger = logging.getLogger(__name__)

_BODY_LIMIT = 64 * 1024


def question_reader(config: Config) -> Callable[[Scope, Receive], Awaitable[Question]]:
    """Return the one parser of chat requests: scope and receive in, a valid ``Question`` out.

    It raises 400 for what is not JSON, 413 over 64 KiB, 415 for another media type, 422 for wrong
    content.
    """
    longest = config.chat.max_message_chars

    async def read_question(scope: Scope, receive: Receive) -> Question:
        body = await read_json(Request(scope, receive), limit=_BODY_LIMIT)
        if isinstance(body, dict):
            body["request_id"] = scope.get("state", {}).get("request_id")
        question = validated(Question, body)
        if not question.message.strip():
            raise Unprocessable("message: must not be empty")
        if len(question.message) > longest:
            raise Unprocessable(f"message: must have at most {longest} characters")
        return question

    return read_question


async def chat(request: Request) -> Response:
    """Answer the question that the safety layer has read, from the caller's documents."""
    services: Services = request.app.state.services
    state: dict[str, Any] = request.scope["state"]
    question: Question = state["question"]
    caller: Key = state["caller"]
    answer = services.answer(question, caller.collection, request_id=state["request_id"])
    streaming = wants_stream(request, question)
    if streaming:
        services.metrics.stream_begins()

    async def finish(ending: Ending) -> None:
        if streaming:
            services.metrics.stream_ends()
        services.metrics.answer(ending.outcome, timings_ms=answer.timings(), usage=answer.usage)
        if ending.error is not None:
            state["error"] = ending.error.code
            services.report(ending.error, state["request_id"])
        record = _record(services, state, answer, ending)
        logger.debug("request %s: took ms: %s", state["request_id"], record["timings_ms"])
        await services.chatlog.write("exchange", **record)

    shutdown: Shutdown = request.app.state.shutdown
    if not streaming:
        return WholeAnswer(answer, finish=finish, shutdown=shutdown)
    chat = services.config.chat
    stream_format = question.stream_format or caller.stream_format or chat.stream_format
    return EventStream(
        answer,
        finish=finish,
        shutdown=shutdown,
        cumulative=stream_format == "cumulative",
        head_timeout=chat.head_timeout,
        ping=chat.ping_seconds,
    )


class WholeAnswer(Response):
    """Send ``answer`` as one JSON object; stop making it the moment the client is gone.

    ``finish`` is called once, before the reply goes out or after the client left. ``shutdown``
    says how long the answer may take once the server stops; then it is ``ShuttingDown``.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        finish: Callable[[Ending], Awaitable[None]],
        shutdown: Shutdown,
    ) -> None:
        super().__init__()
        self._answer = answer
        self._finish = finish
        self._shutdown = shutdown
        self._said: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As with streams, the answer is entered outside of what is cancelled.
        async with self._answer:
            outcome: Outcome = "disconnected"
            error: OrbitError | None = None
            try:
                if await self._collect(receive):
                    outcome = "completed"
            except OrbitError as raised:
                outcome, error = "failed", raised
                raise
            finally:
                await self._finish(Ending("".join(self._said), outcome, error))
            if outcome == "completed":
                text = "".join(self._said)
                reply = {"response": text, **self._answer.closing(text)}
                whole = Response(to_json(reply), media_type="application/json")
                await whole(scope, receive, send)

    async def _collect(self, receive: Receive) -> bool:
        """Gather the whole text; tell whether it came to its end before the client left."""
        failure: OrbitError | None = None
        completed = False
        async with anyio.create_task_group() as race:

            async def watch_for_disconnect() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                race.cancel_scope.cancel()

            async def watch_for_shutdown() -> None:
                nonlocal failure
                await self._shutdown.over()
                failure = ShuttingDown()
                race.cancel_scope.cancel()

            race.start_soon(watch_for_disconnect)
            race.start_soon(watch_for_shutdown)
            try:
                async for pieces in self._answer:
                    self._said += pieces
                completed = True
            except OrbitError as error:  # raised below, where no group wraps it
                failure = error
            except Exception:
                request_id = self._answer.question.request_id
                logger.exception("request %s: an answer failed unexpectedly", request_id)
                failure = OrbitError()
            race.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return completed


class Refusal(Response):
    """Tell a caller, in the shape that was asked for, that ``question`` is not answered.

    It is a normal 200: published clients show the body of any other status to the reader.
    """

    def __init__(self, services: Services, question: Question, verdict: Verdict) -> None:
        super().__init__()
        self._services = services
        self._question = question
        self._verdict = verdict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = refusal_text(self._verdict)
        question, verdict = self._question, self._verdict
        ending = Ending(text, "completed")
        await self._services.chatlog.write(
            "exchange",
            **_common(self._services, scope["state"], question, ending),
            blocked=True,
            block_reason=verdict.reason,
            sources=[],
            tokens=NO_TOKENS,
            timings_ms={"moderation": round(verdict.seconds * 1000, 1)},
        )
        closing = {"sources": [], "blocked": True}
        response: Response = JSONResponse({"response": text, **closing})
        if wants_stream(Request(scope), question):
            response = StreamedAtOnce(event(text) + done_event(**closing))
        await response(scope, receive, send)


def wants_stream(request: Request, question: Question) -> bool:
    """Tell whether to stream: the body or the ``Accept`` header may ask for it."""
    return question.stream or "text/event-stream" in request.headers.get("accept", "")


def _record(
    services: Services, state: dict[str, Any], answer: Answer, ending: Ending
) -> dict[str, Any]:
    moderation = {"moderation": state["checked_ms"]} if services.guard else {}
    return {
        **_common(services, state, answer.question, ending),
        "blocked": False,
        "block_reason": None,
        "sources": [{"id": passage.id, "score": passage.score} for passage in answer.passages],
        "tokens": answer.usage,
        "timings_ms": moderation | answer.timings(),
    }


def _common(
    services: Services, state: dict[str, Any], question: Question, ending: Ending
) -> dict[str, Any]:
    caller: Key = state["caller"]
    backend, model = services.backend
    return {
        "request_id": state["request_id"],
        "query": question.message,
        "response": ending.text,
        "backend": backend,
        "model": model,
        "outcome": ending.outcome,
        "error": ending.error.code if ending.error else None,
        "ip": state["client"],
        "ip_metadata": _address_metadata(state["client"], state["peer"]),
        "api_key": {"id": caller.id, "prefix": caller.prefix},
        "collection": caller.collection,
        "elasticsearch_status": services.elasticsearch_status,
    }


def _address_metadata(client: str, peer: str) -> dict[str, Any]:
    """Return what the original logged about an address, under its names."""
    try:
        address = ip_address(client)
    except ValueError:
        kind, local = "unknown", False
    else:
        kind, local = f"ipv{address.version}", address.is_loopback
    source = "direct" if client == peer else "proxy"
    return {"type": kind, "isLocal": local, "source": source, "originalValue": peer}
