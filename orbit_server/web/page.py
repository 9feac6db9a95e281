"""The chat page at ``/``, the widget at ``/widget.js``, and their files under ``/web``."""

import html
from pathlib import Path
from string import Template
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from ..config import Config
from ..config.files import read_file
from ..errors import ConfigError
from .assets import HEADERS, STATIC, TYPES, Asset

_LOGO_LIMIT = 512 * 1024
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_SHORT = "public, max-age=300"


def page_routes(config: Config) -> list[BaseRoute]:
    """Return the routes of the chat page and the widget, none where ``web.page`` is off.

    Raises ``ConfigError`` when the file of ``web.logo_file`` cannot be used.
    """
    if not config.web.page:
        return []
    names = {"js": "chat.js", "css": "chat.css", "icon": "icon.svg"}
    assets = {key: Asset.static(name) for key, name in names.items()}
    logo = _logo(config.web.logo_file)
    files = {asset.name: asset for asset in (*assets.values(), *([logo] if logo else []))}
    file_names = {key: asset.name for key, asset in assets.items()}
    template = Template((STATIC / "index.html").read_text(encoding="utf-8"))
    settings = _settings(config)
    secret = config.web.page_key
    key = None if secret is None else secret.get_secret_value()

    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        own = settings | {"key": key, "logo": f"{root}/web/{logo.name}" if logo else None}
        filled = template.substitute(
            file_names,
            lang="en" if config.web.language == "auto" else config.web.language,
            root=html.escape(root),
            title=html.escape(config.web.title),
            settings=_in_script(own),
        )
        cache = _ASK_AGAIN if key is None else f"private, {_ASK_AGAIN}"
        return HTMLResponse(filled, headers={**HEADERS, "Cache-Control": cache})

    loader = Template((STATIC / "widget.js").read_text(encoding="utf-8"))
    filled = loader.substitute(file_names, settings=_in_script(settings))
    widget_js = Asset.of("widget", ".js", filled.encode())

    async def widget(request: Request) -> Response:
        return widget_js.response(request, cache=_SHORT)

    async def file(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found.response(request, cache=_FOR_EVER)

    return [Route("/", page), Route("/widget.js", widget), Route("/web/{name}", file)]


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


def _in_script(value: Any) -> str:
    # A script ends at the first "</", whatever the quotes around it.
    return orjson.dumps(value).decode().replace("<", "\\u003c")


def _logo(name: str | None) -> Asset | None:
    if name is None:
        return None
    path = Path(name)
    suffix = path.suffix.lower()
    if not TYPES.get(suffix, "").startswith("image/"):
        known = ", ".join(sorted(each for each, kind in TYPES.items() if kind[:6] == "image/"))
        raise ConfigError(
            [f"web.logo_file: {name}: must be an image file that ends in one of {known}"]
        )
    try:
        return Asset.of("logo", suffix, read_file(path, limit=_LOGO_LIMIT))
    except OSError as error:
        raise ConfigError([f"web.logo_file: {name}: cannot be read: {error.strerror}"]) from error
