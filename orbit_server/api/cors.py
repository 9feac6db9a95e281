"""Cross-origin requests (CORS): Starlette's middleware, with a log line for a refused origin."""

import logging
from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

_EXPOSED = (
    *("X-Request-ID", "Retry-After", "X-Should-Retry"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
)
_MOST_LOGGED = 100
_LONGEST_ORIGIN = 200


class Cors(CORSMiddleware):
    """Let the pages of ``allow_origins`` ask; any of them for ``"*"``.

    No cookie is ever used, so a page gains nothing by a header that its visitor's browser would not
    send by itself: a preflight may ask for any. An origin that is refused is logged, each once and
    a hundred of them at most, since a client may send whatever it likes.
    """

    def __init__(self, app: ASGIApp, *, allow_origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=allow_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=_EXPOSED,
        )
        self._logged: set[str] = set()

    def is_allowed_origin(self, origin: str) -> bool:
        """Tell whether ``origin`` may ask, and log it if not."""
        allowed = super().is_allowed_origin(origin)
        origin = origin[:_LONGEST_ORIGIN]
        if not allowed and origin not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(origin)
            logger.warning("a page of %r was refused: web.cors_origins does not list it", origin)
        return allowed
