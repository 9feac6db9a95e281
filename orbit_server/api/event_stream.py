"""An answer becomes Server-Sent Events; the response owns the answer as long as it is sent.

The text is sent by a task, which is interrupted by whatever comes first: its end, a client that has
left or takes no ping, the end of the server or of the key. All pieces that one read of the model's
stream brought go out as bytes in one ``send``.

Importing this module imports sse-starlette, which patches ``uvicorn.Server.handle_exit``.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..answering import Answer
from ..errors import KeyEnded, OrbitError, ShuttingDown
from ..types import ExchangeResult, Outcome
from ._middleware._disconnect import Ended, Interruptible, unless, unless_client_leaves
from .events import STREAM_HEADERS, AnswerFormat, ChatFormat
from .shutdown import Calling, Shutdown, never

logger = logging.getLogger(__name__)

_HEADERS = {**STREAM_HEADERS, "Connection": "keep-alive"}
_PING = b": ping\n\n"
_LAST_WORDS_SECONDS = 3.0
_CUMULATIVE_CHARACTERS = 24
_CUMULATIVE_SHARE = 0.02


async def server_stopping() -> None:
    """Return when the server that runs this application begins to stop."""
    await EventSourceResponse._listen_for_exit_signal()


class EventStream(Response):
    """Stream ``answer`` to the client, closing it the moment the client is gone.

    The head waits for the first text, at most ``head_timeout`` seconds: an ``OrbitError`` before it
    is raised to become a status; after it, it becomes a readable sentence, an ``error`` code and
    the last event. ``finish`` is called once for every stream, before its last event goes out or
    after the client left. While nothing is said, a comment goes out every ``ping`` seconds; a
    client that does not take one for ``stalled`` seconds is treated as gone. ``shutdown`` says how
    long a stream may go on once the server stops, ``key_ending`` calls when its key has ended: both
    end it with an error. With ``cumulative`` every event holds the text
    from its beginning, sent after ``cumulative_seconds`` at the latest. ``format`` writes the
    events.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        answer: Answer,
        *,
        finish: Callable[[ExchangeResult], Awaitable[None]],
        shutdown: Shutdown,
        key_ending: Calling = never,
        format: AnswerFormat | None = None,
        cumulative: bool = False,
        cumulative_seconds: float = 0.25,
        head_timeout: float = 5.0,
        ping: float = 15.0,
        stalled: float = 30.0,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._answer = answer
        self._finish = finish
        self._format = format or ChatFormat()
        self._opening = self._format.opening
        self._cumulative = cumulative
        self._cumulative_seconds = cumulative_seconds
        self._head_timeout = head_timeout
        self._ping_seconds = ping
        self._shutdown = shutdown
        self._key_ending = key_ending
        self._stalled = stalled
        self._pieces: list[str] = []
        self._opened = False
        self._refused = False
        self._ended = False
        self._complete = False
        self._stopped_by: OrbitError | None = None
        self._saying: Interruptible | None = None
        self._sending = asyncio.Lock()
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Bodies need not pass the layers that look at heads only; each costs a microsecond a token.
        self._send = scope.get("state", {}).get("send_body", send)
        # The answer is entered out here, not inside the race: when the client leaves, everything in
        # there is cancelled, and clean-up that has to await something would be cut short.
        async with self._answer:
            error: OrbitError | None = None
            try:
                # A task of its own: every token would wake all layers that wait above this one.
                answering = asyncio.create_task(self._answer_until_stopped(send))
                await unless_client_leaves(unless(answering, self._ping(send)), receive)
            except Ended:
                pass
            except OrbitError as raised:
                error = raised
                raise
            finally:
                if not self._ended:
                    await self._end(error, "failed" if error else "disconnected")

    async def _answer_until_stopped(self, send: Send) -> None:
        """Stream the answer; end it with a few last words when the server or the key ends."""
        loop = asyncio.get_running_loop()
        with Interruptible() as all_of_it:

            def stop(error: OrbitError) -> None:
                self._stopped_by = self._stopped_by or error
                if self._saying is not None:
                    self._saying.interrupt()
                loop.call_later(_LAST_WORDS_SECONDS, all_of_it.interrupt)

            shutting_down = self._shutdown.calling(partial(stop, ShuttingDown()))
            with shutting_down, self._key_ending(partial(stop, KeyEnded())):
                await self._stream(send)

    async def _stream(self, send: Send) -> None:
        error = self._stopped_by  # of a key that has ended before
        try:
            if error is None:
                with Interruptible() as self._saying:
                    await self._say(send)
        except Ended:
            error = self._stopped_by
        except OrbitError as raised:
            error = raised
        except Exception:
            request_id = self._answer.question.request_id
            logger.exception("request %s: a stream failed unexpectedly", request_id)
            error = OrbitError()
        if error is not None:
            # Decided under the lock: a ping may be opening the head at this very moment.
            async with self._sending:
                self._refused = not self._opened
            if self._refused:
                raise error
        await self._open(send)
        closing = self._closing()
        last_words = ""
        if error is not None:
            last_words = self._format.error_text(error, "".join(self._pieces))
            self._pieces.append(last_words)
            if self._cumulative:
                last_words = "".join(self._pieces)
        end = self._opening + self._format.end(closing, error, last_words)
        await self._end(error, "failed" if error else "completed")
        async with self._sending:
            self._complete = True
            await _send_body(send, end, more=False)

    def _say(self, send: Send) -> Awaitable[None]:
        return self._send_cumulative(send) if self._cumulative else self._send_pieces(send)

    async def _send_pieces(self, send: Send) -> None:
        said, direct, event = self._pieces, self._send, self._format.event
        async for pieces in self._answer:
            if not pieces:
                continue
            said += pieces
            if not self._opened:
                await self._open(send)
            body = b"".join(map(event, pieces))
            if self._opening:
                body, self._opening = self._opening + body, b""
            await direct({"type": "http.response.body", "body": body, "more_body": True})

    async def _send_cumulative(self, send: Send) -> None:
        """Send the whole text so far, when enough is new or has waited long enough."""
        sent = waiting = 0
        due = 0.0
        step = asyncio.ensure_future(anext(self._answer, None))
        try:
            while True:
                patience = max(0.0, due - time.monotonic()) if waiting else None
                await asyncio.wait({step}, timeout=patience)
                pieces = await step if step.done() else []
                if pieces is None:
                    break
                if pieces:
                    self._pieces += pieces
                    if not waiting:
                        due = time.monotonic() + self._cumulative_seconds
                    waiting += sum(map(len, pieces))
                    step = asyncio.ensure_future(anext(self._answer, None))
                enough = max(_CUMULATIVE_CHARACTERS, sent * _CUMULATIVE_SHARE) if sent else 1
                if waiting >= enough or (waiting and time.monotonic() >= due):
                    await self._open(send)
                    await _send_body(send, self._format.event("".join(self._pieces)))
                    sent, waiting = sent + waiting, 0
            if waiting:
                await self._open(send)
                await _send_body(send, self._format.event("".join(self._pieces)))
        finally:
            step.cancel()
            # The answer is closed after this, and its running step must have ended before; what is
            # cancelled in here waits for that too.
            await asyncio.gather(step, return_exceptions=True)

    async def _open(self, send: Send, first: bytes = b"") -> None:
        if self._opened:
            return
        async with self._sending:
            if self._opened or self._refused:
                return
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            self._opened = True
            if first:
                await _send_body(send, first)

    def _closing(self) -> dict[str, Any]:
        try:
            return self._answer.closing("".join(self._pieces))
        except Exception:  # whatever is wrong with it, the stream must end as one
            logger.exception("the end of a stream could not be written")
            return {}

    async def _end(self, error: OrbitError | None, outcome: Outcome) -> None:
        self._ended = True
        try:
            await self._finish(ExchangeResult("".join(self._pieces), outcome, error))
        except Exception:
            logger.exception("the end of a stream could not be logged")

    async def _ping(self, send: Send) -> None:
        """Open a head that is overdue, then say every few seconds that the stream is alive.

        Returning ends the race: a client that takes no ping is gone.
        """
        with suppress(TimeoutError):
            await asyncio.sleep(self._head_timeout)
            async with asyncio.timeout(self._stalled):
                await self._open(send, _PING)
            while True:
                await asyncio.sleep(self._ping_seconds)
                async with asyncio.timeout(self._stalled), self._sending:
                    if not self._complete:
                        await _send_body(send, _PING)


async def _send_body(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
