"""What is asked: the request is read and validated once, then judged, then answered."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ._disconnect import ClientLeft, unless_client_leaves
from ._scope import shared_state


class SafetyMiddleware:
    """Read a request into an object, have it judged, and pass on that same object.

    ``read(scope, receive)`` consumes the body and returns the validated request, or a ``Response``
    that refuses it, or raises. ``check(question)`` returns ``None`` when it may be answered, else
    the reason, any object; then ``refuse(question, reason)`` makes the response. The endpoint finds
    the object in ``state["question"]`` and must not parse the body again: what was judged is what
    is answered, a second parser would be a way round the guard. ``check=None`` judges nothing. A
    client that leaves meanwhile stops the check.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        read: Callable[[Scope, Receive], Awaitable[Any]],
        check: Callable[[Any], Awaitable[Any | None]] | None = None,
        refuse: Callable[[Any, Any], Response] | None = None,
    ) -> None:
        if check is not None and refuse is None:
            raise TypeError("a check needs a refuse to answer with")
        self.app = app
        self.read = read
        self.check = check
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            question = await self.read(scope, receive)
            if isinstance(question, Response):
                await question(scope, receive, send)
                return
            reason = None
            started = time.perf_counter()
            if self.check is not None:
                reason = await unless_client_leaves(self.check(question), receive)
            checked = round((time.perf_counter() - started) * 1000, 1)
        except (ClientDisconnect, ClientLeft):
            return
        if reason is not None and self.refuse is not None:
            await self.refuse(question, reason)(scope, receive, send)
            return
        state = shared_state(scope)
        state["question"], state["checked_ms"] = question, checked
        await self.app(scope, receive, send)
