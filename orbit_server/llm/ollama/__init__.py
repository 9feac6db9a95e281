"""Ollama's REST API over aiohttp.

The surprises that shape this package: options are only read inside ``options``; nothing is sent,
not even headers, before the model is loaded and has begun to answer; a stream with status 200 may
carry an error line, and may end without ``"done": true``, which is a failure. See Ollama's
``docs/api.md`` and ``api/types.go``.
"""

from .client import Model, Ollama
from .stream import ChatStream

__all__ = ["ChatStream", "Model", "Ollama"]
