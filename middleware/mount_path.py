"""Where an application is mounted: prefixes that a proxy keeps, and one slash too many."""

import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from ._scope import Network, header_values, is_from

_PREFIX = re.compile(r"(?:/[^/\\\s?#]+)+")
_LONGEST = 256


class MountPathMiddleware:
    """Let routes match behind a prefix that the proxy has not taken off, and before a last ``/``.

    The prefix is ``prefix``, or what a proxy in ``trusted_proxies`` says in ``X-Forwarded-Prefix``.
    It becomes a part of ``root_path``; a path without it is left as it is. Nothing is redirected: a
    redirect would repeat the path, where a secret may stand, and lead to whatever host the request
    names. Put it outermost, since layers below see a scope of their own.
    """

    def __init__(
        self, app: ASGIApp, *, prefix: str | None = None, trusted_proxies: Sequence[Network] = ()
    ) -> None:
        self.app = app
        self.prefix = prefix
        self.trusted_proxies = tuple(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = self._without_slash(self._below_prefix(scope))
        await self.app(scope, receive, send)

    def _below_prefix(self, scope: Scope) -> Scope:
        root, path = _split(scope)
        for prefix in (self.prefix, self._forwarded(scope)):
            if prefix and f"{path}/".startswith(f"{prefix}/"):
                return {**scope, "root_path": root + prefix}
        return scope

    def _forwarded(self, scope: Scope) -> str | None:
        values = header_values(scope, b"x-forwarded-prefix")
        if len(values) != 1 or not is_from(scope, self.trusted_proxies):
            return None
        prefix = values[0].strip().rstrip("/")
        return prefix if len(prefix) <= _LONGEST and _PREFIX.fullmatch(prefix) else None

    def _without_slash(self, scope: Scope) -> Scope:
        _, path = _split(scope)
        if len(path) < 2 or not path.endswith("/") or path.endswith("//"):
            return scope
        raw = scope.get("raw_path")
        shorter = {"raw_path": raw[:-1]} if raw and raw.endswith(b"/") else {}
        return {**scope, "path": scope["path"][:-1], **shorter}


def _split(scope: Scope) -> tuple[str, str]:
    # Some servers and frameworks put root_path before path, as ASGI says; others leave it out.
    root, path = scope.get("root_path", ""), scope["path"]
    if root and f"{path}/".startswith(f"{root}/"):
        return root, path[len(root) :]
    return "", path
