"""What comes over the wire from Ollama, in our terms: JSON, counts, failures."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import orjson

from ...errors import (
    ModelBusy,
    ModelError,
    ModelInterrupted,
    ModelNotFound,
    ModelTimeout,
    ModelUnreachable,
)

FOREIGN = (aiohttp.ClientError, OSError, aiohttp.http_exceptions.HttpProcessingError)

_HIGHEST_COUNT = 2**53  # what every reader of JSON keeps exactly


@contextmanager
def translated(base_url: str) -> Iterator[None]:
    """Turn what aiohttp raises before the answer begins into our errors."""
    try:
        yield
    except FOREIGN as error:
        raise translation(base_url, error, begun=False) from error


def translation(base_url: str, error: Exception, *, begun: bool) -> ModelError:
    """Return our error for one of ``FOREIGN``; ``begun``: part of the answer is already out."""
    if isinstance(error, TimeoutError):
        return ModelTimeout(f"{base_url} did not answer: {type(error).__name__}")
    cause = f"{base_url}: {type(error).__name__}: {error}"
    return (ModelInterrupted if begun else ModelUnreachable)(cause)


def refusal(status: int, body: bytes, what: str) -> ModelError:
    """Return the error for a response that is not 200; ``what`` names the model or the path."""
    try:
        reason = str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        reason = body[:200].decode(errors="replace")
    kind = {404: ModelNotFound, 429: ModelBusy, 503: ModelBusy, 504: ModelTimeout}
    remedy = f". Install it: ollama pull {what}" if status == 404 and what[:1] != "/" else ""
    error = kind.get(status, ModelError)(f"{what}: Ollama answered {status}: {reason}{remedy}")
    error.answered = status
    return error


def content(event: Mapping[str, Any]) -> str:
    """Return the text of one event or reply; raise ``ModelError`` if it is none."""
    message = event.get("message") or {}
    text = (message.get("content") or "") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise ModelError(f"Ollama sent a message that is not text: {str(message)[:80]!r}")
    return text


def count(value: object) -> int:
    """Return a counter of a reply; whatever is no whole number counts as zero."""
    return value if type(value) is int and 0 <= value < _HIGHEST_COUNT else 0


def loads(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``; raise ``ModelError`` if there is none."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            # The standard library also takes lone surrogates, which orjson refuses.
            value = json.loads(data.decode(errors="replace"))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"Ollama sent something that is not JSON: {data[:80]!r}") from error
    if not isinstance(value, dict):
        raise ModelError(f"Ollama sent something that is not an object: {data[:80]!r}")
    return value
