"""Long work that tells its progress: as Server-Sent Events, or as one JSON object at its end.

Whoever leaves ends it. Before the head an error is a status, after it the last event.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..auth import ADMIN
from ..errors import OrbitError
from ._middleware._disconnect import ClientLeft, unless_client_leaves
from .error_handlers import note, note_unexpected
from .events import STREAM_HEADERS, to_json

_PING = b": ping\n\n"

Tell = Callable[[dict[str, Any]], None]  # takes an event
Work = Callable[[Tell], Coroutine[Any, Any, dict[str, Any]]]  # returns the fields of the last one


async def answer_whole(
    work: Work, scope: Scope, receive: Receive, send: Send, *, events: Mapping[str, Sequence[str]]
) -> None:
    """Send what ``work`` returns as one JSON object.

    With it go lists of ``events``: under each name those of these kinds, in their order.
    """
    told: list[dict[str, Any]] = []
    try:
        result = await unless_client_leaves(work(told.append), receive)
    except ClientLeft:
        return
    for name, kinds in events.items():
        result[name] = [event for event in told if event["event"] in kinds]
    whole = Response(to_json(result), media_type="application/json")
    await whole(scope, receive, send)


class ProgressStream(Response):
    """The events of ``work`` as they come, and at the end one with ``done: true``.

    The head goes out with the first of them, or after ``ping`` seconds, in which a comment is sent
    when there is nothing else. A client that takes nothing for ``stalled`` seconds is gone. When
    this returns, the work has come to its end.
    """

    media_type = "text/event-stream"

    def __init__(self, work: Work, *, ping: float = 15.0, stalled: float = 30.0) -> None:
        super().__init__(headers=STREAM_HEADERS)
        del self.headers["content-length"]
        self._work = work
        self._ping = ping
        self._stalled = stalled
        self._opened = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_client_leaves(self._run(Request(scope), send), receive)
        except ClientLeft:
            return

    async def _run(self, request: Request, send: Send) -> None:
        events: asyncio.Queue[bytes] = asyncio.Queue()

        def tell(event: dict[str, Any]) -> None:
            events.put_nowait(_event(event | {"done": False}))

        work = asyncio.ensure_future(self._work(tell))
        work.add_done_callback(lambda _: events.put_nowait(b""))
        try:
            while body := await self._next(events):
                if not await self._send(send, body):
                    return
            await self._send(send, _event(self._last(request, work)), more=False)
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _next(self, events: asyncio.Queue[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._ping):
                return await events.get()
        except TimeoutError:
            return _PING

    def _last(self, request: Request, work: "asyncio.Future[dict[str, Any]]") -> dict[str, Any]:
        try:
            return work.result() | {"done": True}
        except OrbitError as error:
            if not self._opened:
                raise
            note(request, error)
            failed = error
        except Exception as error:
            if not self._opened:
                raise
            failed = note_unexpected(request, error)
        last = {"error": failed.code, "detail": failed.detail, "done": True}
        if request.scope.get("state", {}).get("caller") == ADMIN:
            last["cause"] = str(failed)
        return last

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> bool:
        """Send ``body`` behind the head, and tell whether the client took it."""
        try:
            async with asyncio.timeout(self._stalled):
                if not self._opened:
                    self._opened = True
                    head = {"status": self.status_code, "headers": self.raw_headers}
                    await send({"type": "http.response.start", **head})
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            return False
        return True


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: " + to_json(fields) + b"\n\n"
