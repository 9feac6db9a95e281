"""The files of the page and the widget, in memory: named by their content, compressed once."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

STATIC = Path(__file__).with_name("static")
TYPES = {
    ".css": "text/css",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
# Nothing but the page's own files is loaded or asked, so that neither an answer nor a document can
# send what was said elsewhere. The page holds a key: no other site may show it in a frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its ``name`` says what is in it, so that a browser may keep it for ever."""

    name: str
    media_type: str
    content: bytes
    compressed: bytes

    @classmethod
    def of(cls, stem: str, suffix: str, content: bytes) -> Self:
        """Return ``content`` as a file with a known ``suffix`` (a key of ``TYPES``)."""
        digest = hashlib.sha256(content).hexdigest()[:12]
        compressed = gzip.compress(content, 9, mtime=0)
        return cls(f"{stem}-{digest}{suffix}", TYPES[suffix], content, compressed)

    @classmethod
    def static(cls, name: str) -> Self:
        """Return a file of this package."""
        path = STATIC / name
        return cls.of(path.stem, path.suffix, path.read_bytes())

    def response(self, request: Request, *, cache: str) -> Response:
        """Return the file, compressed where the client takes that; ``cache`` is Cache-Control."""
        headers = {**HEADERS, "Cache-Control": cache, "Vary": "Accept-Encoding"}
        content = self.content
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            content = self.compressed
        return Response(content, media_type=self.media_type, headers=headers)
