"""The chat page at ``/`` and its files under ``/web``."""

import html
from collections.abc import Awaitable, Callable
from pathlib import Path
from string import Template
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..config import Config
from ..config.files import read_file
from ..errors import ConfigError

_STATIC = Path(__file__).with_name("static")
_LOGO_LIMIT = 512 * 1024
_LOGO_TYPES = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}

# Nothing but the page's own files is loaded or asked, so that neither an answer nor a document can
# send what was said elsewhere. The page holds a key: no other site may show it in a frame.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def page_routes(config: Config) -> list[BaseRoute]:
    """Return the routes of the chat page, none where ``web.page`` is off.

    Raises ``ConfigError`` when the file of ``web.logo_file`` cannot be used.
    """
    if not config.web.page:
        return []
    logo = _logo(config.web.logo_file)
    template = Template((_STATIC / "index.html").read_text(encoding="utf-8"))
    settings = _settings(config)

    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        own = settings | ({"logo": f"{root}/web/logo"} if logo else {})
        filled = template.substitute(
            lang="en" if config.web.language == "auto" else config.web.language,
            root=html.escape(root),
            title=html.escape(config.web.title),
            # A script block ends at the first "</", whatever the quotes around it.
            settings=orjson.dumps(own).decode().replace("<", "\\u003c"),
        )
        return HTMLResponse(filled, headers=_HEADERS)

    return [
        Route("/", page),
        *([Route("/web/logo", logo)] if logo else []),
        Mount("/web", _PageFiles(directory=_STATIC)),
    ]


class _PageFiles(StaticFiles):
    """The page's files, with the headers of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def _settings(config: Config) -> dict[str, Any]:
    web, keys = config.web, config.api_keys
    return {
        "title": web.title,
        "greeting": web.greeting,
        "examples": web.examples,
        "color": web.color,
        "links": [{"label": label, "url": url} for label, url in web.links.items()],
        "language": None if web.language == "auto" else web.language,
        "max_message_chars": config.chat.max_message_chars,
        "key_header": keys.header_name,
        "key_required": not (keys.allow_default and config.chroma.collection is not None),
    }


def _logo(name: str | None) -> Callable[[Request], Awaitable[Response]] | None:
    """Return the endpoint of the logo, read once; ``None`` without one."""
    if name is None:
        return None
    path = Path(name)
    media_type = _LOGO_TYPES.get(path.suffix.lower())
    if media_type is None:
        known = ", ".join(_LOGO_TYPES)
        raise ConfigError(
            [f"web.logo_file: {name}: must be an image file that ends in one of {known}"]
        )
    try:
        content = read_file(path, limit=_LOGO_LIMIT)
    except OSError as error:
        raise ConfigError([f"web.logo_file: {name}: cannot be read: {error.strerror}"]) from error

    async def logo(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return logo
