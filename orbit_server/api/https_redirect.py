"""Redirect HTTP to HTTPS, and answer ACME challenges."""

import re
from functools import partial
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ..config import Config
from ..errors import InvalidRequest
from .acme import acme_route

_HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{0,5})?")
_TARGET = re.compile(r"/[^\x00-\x20\x7f]*")


def redirect_app(config: Config) -> ASGIApp:
    """Return the ASGI application for ``general.port`` while HTTPS is served on its own port.

    It answers a CA where ``general.acme_dir`` is set, and sends everybody else, with status 308, to
    the same host, path and query at HTTPS. Whoever names no proper host is answered 400.
    """
    directory = config.general.acme_dir
    return Router(
        routes=[] if directory is None else [acme_route(Path(directory))],
        redirect_slashes=False,
        default=partial(_redirect, config.general.https.port),
    )


async def _redirect(port: int, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await WebSocketClose()(scope, receive, send)
        return
    location = _location(scope, port)
    response: Response
    if location is None:
        error = InvalidRequest(
            "The request must name one host, and a path that begins with a slash."
        )
        response = JSONResponse(error.body(), status_code=error.status)
    else:
        response = Response(status_code=308, headers={"Location": location})
    await response(scope, receive, send)


def _location(scope: Scope, port: int) -> str | None:
    # As latin-1 from bytes and back again, so that what was sent is passed on byte for byte. What
    # does not begin with a slash could change the host that it is put behind.
    named = Headers(scope=scope).getlist("host")
    host = _HOST.fullmatch(named[0]) if len(named) == 1 else None
    target = scope["raw_path"].decode("latin-1")
    if query := scope["query_string"].decode("latin-1"):
        target += f"?{query}"
    if host is None or not _TARGET.fullmatch(target):
        return None
    return f"https://{host[1]}{'' if port == 443 else f':{port}'}{target}"
