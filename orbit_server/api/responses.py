"""Responses that know their whole text: an answer as one JSON object, and a refusal."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..answering import Answer
from ..errors import KeyEnded, OrbitError, ShuttingDown
from ..safety import Verdict, refusal_text
from ..services import Services
from ..types import ExchangeResult, Outcome, Question
from ._middleware._disconnect import ClientLeft, unless_client_leaves
from .events import STREAM_HEADERS, done_event, event, to_json
from .exchange_log import log_refusal
from .shutdown import Calling, Shutdown, ended_by, never

logger = logging.getLogger(__name__)


def chat_body(text: str, closing: dict[str, Any]) -> dict[str, Any]:
    """Return the object that ``POST /chat`` answers with when it does not stream."""
    return {"response": text, **closing}


class WholeAnswer(Response):
    """Send ``answer`` as one JSON object; stop making it the moment the client is gone.

    ``finish`` is called once, before the reply goes out or after the client left. ``shutdown``
    says how long the answer may take once the server stops; then it is ``ShuttingDown``.
    ``key_ending`` calls when its key has ended: ``KeyEnded``. ``body`` makes the object from the
    text and the rest.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        finish: Callable[[ExchangeResult], Awaitable[None]],
        shutdown: Shutdown,
        key_ending: Calling = never,
        body: Callable[[str, dict[str, Any]], dict[str, Any]] = chat_body,
    ) -> None:
        super().__init__()
        self._answer = answer
        self._finish = finish
        self._body = body
        self._shutdown = shutdown
        self._key_ending = key_ending
        self._pieces: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As with streams, the answer is entered outside of what is cancelled.
        async with self._answer:
            outcome: Outcome = "disconnected"
            error: OrbitError | None = None
            try:
                # A task of its own: every token would wake all layers that wait above this one.
                collecting = asyncio.create_task(self._collect_until_stopped())
                await unless_client_leaves(collecting, receive)
                outcome = "completed"
            except ClientLeft:
                return
            except OrbitError as raised:
                outcome, error = "failed", raised
                raise
            finally:
                await self._finish(ExchangeResult("".join(self._pieces), outcome, error))
            text = "".join(self._pieces)
            reply = self._body(text, self._answer.closing(text))
            whole = Response(to_json(reply), media_type="application/json")
            await whole(scope, receive, send)

    async def _collect_until_stopped(self) -> None:
        with ended_by({ShuttingDown: self._shutdown.calling, KeyEnded: self._key_ending}):
            await self._collect()

    async def _collect(self) -> None:
        try:
            async for pieces in self._answer:
                self._pieces += pieces
        except OrbitError:
            raise
        except Exception as error:
            request_id = self._answer.question.request_id
            logger.exception("request %s: an answer failed unexpectedly", request_id)
            raise OrbitError from error


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
        await log_refusal(self._services, scope["state"], self._question, self._verdict, text)
        response = self.response(text, self._question, Request(scope))
        await response(scope, receive, send)

    def response(self, text: str, question: Question, request: Request) -> Response:
        """Return ``text`` as the answer to ``question``, whole or as a stream."""
        closing = {"sources": [], "blocked": True}
        if wants_stream(request, question):
            return CompleteStream(event(text) + done_event(**closing))
        return JSONResponse(chat_body(text, closing))


class CompleteStream(Response):
    """A stream whose events are all there already."""

    media_type = "text/event-stream"

    def __init__(self, events: bytes) -> None:
        super().__init__(events, headers=STREAM_HEADERS)


def wants_stream(request: Request, question: Question) -> bool:
    """Tell whether to stream: the body or the ``Accept`` header may ask for it."""
    return question.stream or "text/event-stream" in request.headers.get("accept", "")
