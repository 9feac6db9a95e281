"""Who is calling: an API key in a header, verified before anything else is done."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ._scope import header_values, shared_state

INVALID = {"detail": "Invalid or missing API key", "code": "invalid_api_key"}


def refuse_with_401() -> Response:
    """Return the one answer for a missing, unknown, expired or inactive key."""
    return JSONResponse(INVALID, status_code=401, headers={"WWW-Authenticate": "Bearer"})


class ApiKeyMiddleware:
    """Let a request pass only with a key that ``verify`` recognises.

    The key comes in ``header`` or as ``Authorization: Bearer``; with ``header=None`` only as the
    latter. Two different keys are refused like a wrong one. ``verify(key, client)`` returns the
    caller, any object, or ``None``; it is asked with ``None`` when no key came, so that a default
    caller is its decision too, and gets what the layers above left in ``state["client"]``. The
    caller is left in ``state["caller"]``. What ``verify`` raises passes through:
    a key store that is down is not a wrong key. WebSocket handshakes are guarded as well; other
    scope types pass.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        verify: Callable[[str | None, str], Awaitable[Any | None]],
        header: str | None = "X-API-Key",
        refuse: Callable[[], Response] = refuse_with_401,
    ) -> None:
        self.app = app
        self.verify = verify
        own = (header or "").lower().encode("latin-1")
        self.header = own if own not in (b"", b"authorization") else None
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        keys = self._keys(scope)
        state = shared_state(scope)
        caller = None
        # Two different keys leave open which one was meant, and proxies differ in which they pass
        # on.
        if len(keys) < 2:
            caller = await self.verify(keys.pop() if keys else None, state.get("client", ""))
        if caller is None:
            await self.refuse()(scope, receive, send)
            return
        state["caller"] = caller
        await self.app(scope, receive, send)

    def _keys(self, scope: Scope) -> set[str]:
        own = header_values(scope, self.header) if self.header is not None else []
        bearer = (value.partition(" ") for value in header_values(scope, b"authorization"))
        given = [*own, *(rest for scheme, _, rest in bearer if scheme.lower() == "bearer")]
        return {value.strip() for value in given}
