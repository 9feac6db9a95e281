"""How much is asked: a caller who is past a limit is refused before anything is read."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._scope import shared_state

Admitted = tuple[Mapping[str, str], Callable[[], None]]


class RateLimitMiddleware:
    """Let a request pass that ``admit`` admits; what it raises is the refusal, and passes through.

    ``admit(caller, client, headers)`` gets what the layers above left in ``state["caller"]`` and
    ``state["client"]``, and the headers of the request. It returns headers for the response, and a
    function that is called once, when the request has ended, however it did: answered, refused
    below, failed, cancelled, or left by its client.
    """

    def __init__(
        self, app: ASGIApp, *, admit: Callable[[Any, str, Headers], Awaitable[Admitted]]
    ) -> None:
        self.app = app
        self.admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = shared_state(scope)
        client = state.get("client", "")
        headers, leave = await self.admit(state.get("caller"), client, Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            leave()
