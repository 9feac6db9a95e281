"""``GET /.well-known/acme-challenge/{token}``: the proof that this host is ours, for a CA."""

import os
import re
import stat
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import NotFound

_FOLDERS = (".well-known", "acme-challenge")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LIMIT = 4096


def acme_route(webroot: Path) -> Route:
    """Return the route that shows what certbot has put below ``webroot`` (``--webroot -w``).

    RFC 8555, section 8.3: the path ends with a token in base64url, the body is the file of that
    name. Everything else, links among it, is answered 404.
    """
    path = "/" + "/".join((*_FOLDERS, "{token}"))
    return Route(path, partial(_challenge, webroot), methods=["GET"])


def _challenge(webroot: Path, request: Request) -> Response:
    try:
        proof = _proof(webroot, request.path_params["token"])
    except OSError:
        return JSONResponse(NotFound().body(), status_code=NotFound.status)
    return Response(proof, media_type="application/octet-stream")


def _proof(webroot: Path, token: str) -> bytes:
    if not _TOKEN.fullmatch(token):
        raise FileNotFoundError(token)
    # Step by step from one open folder to the next, so that no link leads out of the webroot, nor
    # one that is put there at the last moment.
    with ExitStack() as opened:

        def step(name: str | Path, flags: int, below: int | None = None) -> int:
            handle = os.open(name, os.O_RDONLY | flags, dir_fd=below)
            opened.callback(os.close, handle)
            return handle

        place = step(webroot, os.O_DIRECTORY)
        for folder in _FOLDERS:
            place = step(folder, os.O_DIRECTORY | os.O_NOFOLLOW, place)
        file = step(token, os.O_NOFOLLOW | os.O_NONBLOCK, place)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LIMIT:
            raise FileNotFoundError(token)
        return os.read(file, _LIMIT)
