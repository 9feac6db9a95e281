"""Where an application is reached: behind prefixes of a proxy, and with one slash too many."""

import re
from collections.abc import Sequence
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from ._scope import Network, header_values, is_from

_PREFIX = re.compile(r"(?:/[^/\\\s?#]+)+")
_LONGEST = 256


class MountPathMiddleware:
    """Let ``root_path`` be the path at which clients see the application, and forgive a last ``/``.

    ``public_path`` is that path, whether the proxy in front takes it off or not. Without it, a
    proxy in ``trusted_proxies`` may name in ``X-Forwarded-Prefix`` what it serves the whole program
    under. Nothing is redirected: a redirect would repeat the path, where a secret may stand, and
    lead to whatever host the request names. Put it outermost: layers below get a scope of their
    own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_path: str | None = None,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self.app = app
        self.public_path = public_path
        self.trusted_proxies = tuple(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = self._located(scope)
        await self.app(scope, receive, send)

    def _located(self, scope: Scope) -> Scope:
        root, below = _split(scope)
        public = self.public_path or self._forwarded(scope, root) or root
        if public != root and _begins(below, public):  # the proxy has kept it
            below = below[len(public) :]
            public = root + public
        if len(below) > 1 and below.endswith("/") and not below.endswith("//"):
            below = below[:-1]
        path = public + (below or "/")
        if (public, path) == (scope.get("root_path", ""), scope["path"]):
            return scope
        located = {**scope, "root_path": public, "path": path}
        if path != scope["path"]:
            located["raw_path"] = quote(path).encode()
        return located

    def _forwarded(self, scope: Scope, root: str) -> str | None:
        values = header_values(scope, b"x-forwarded-prefix")
        if len(values) != 1 or not is_from(scope, self.trusted_proxies):
            return None
        prefix = values[0].strip().rstrip("/")
        if len(prefix) > _LONGEST or not _PREFIX.fullmatch(prefix):
            return None
        return root if _begins(root, prefix) else prefix + root


def _begins(path: str, prefix: str) -> bool:
    return f"{path}/".startswith(f"{prefix}/")


def _split(scope: Scope) -> tuple[str, str]:
    # Some servers and frameworks put root_path before path, as ASGI says; others leave it out.
    root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    return (root, path[len(root) :]) if root and _begins(path, root) else (root, path)
