"""Cross-origin requests (CORS): Starlette's middleware, for the sites of keys as well."""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..auth.origins import is_one_of, is_own_page

logger = logging.getLogger(__name__)

_ALLOWED: dict[str, Any] = {
    "allow_methods": ("GET", "POST", "DELETE"),
    "allow_headers": ("*",),
    "expose_headers": (
        *("X-Request-ID", "Retry-After", "X-Should-Retry"),
        *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    ),
}
_MOST_LOGGED = 100
_LONGEST_ORIGIN = 200


class Cors(CORSMiddleware):
    """Let the pages of ``allow_origins`` ask, any of them for ``"*"``, and those that keys name.

    A preflight carries no key: it may go on if ``allowed_by_keys(origin)`` says that any key is for
    that site. What is answered then, a page can read only if the key that it sent is. So whoever
    gives a site a key need not list it in the configuration too.

    No cookie is ever used, so a page gains nothing by a header that its visitor's browser would not
    send by itself: a preflight may ask for any. An origin that is refused is logged, each once and
    a hundred of them at most, since a client may send whatever it likes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allow_origins: Collection[str],
        allowed_by_keys: Callable[[str], Awaitable[bool]],
    ) -> None:
        super().__init__(app, allow_origins=allow_origins, **_ALLOWED)
        self._allowed_by_keys = allowed_by_keys
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None or super().is_allowed_origin(origin):
            await super().__call__(scope, receive, send)
            return
        if not await self._allowed_by_keys(origin):
            if not is_own_page(Headers(scope=scope)):
                self._log(origin)
            await super().__call__(scope, receive, send)
            return

        async def send_to_own_pages(message: Message) -> None:
            if message["type"] == "http.response.start":
                caller = scope.get("state", {}).get("caller")
                if caller is not None and not is_one_of(origin, getattr(caller, "origins", ())):
                    del MutableHeaders(scope=message)["Access-Control-Allow-Origin"]
            await send(message)

        listed = CORSMiddleware(self.app, allow_origins=(origin,), **_ALLOWED)
        await listed(scope, receive, send_to_own_pages)

    def _log(self, origin: str) -> None:
        origin = origin[:_LONGEST_ORIGIN]
        if origin not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(origin)
            reason = "neither web.cors_origins nor a key names it"
            logger.warning("a page of %r was refused: %s", origin, reason)
