"""The wire format of a stream: one event for each piece of text, and a last one."""

import json
from typing import Any, Protocol

import orjson

from ..errors import OrbitError

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_LINE_ENDS = tuple((char.encode(), json.dumps(char)[1:-1].encode()) for char in "\x85\u2028\u2029")


class AnswerFormat(Protocol):
    """How the parts of a streamed answer are written."""

    @property
    def opening(self) -> bytes:
        """What goes before the first piece of text."""

    def event(self, text: str) -> bytes:
        """Return a piece of text as an event."""

    def error_text(self, error: OrbitError, text: str) -> str:
        """Return what a reader finds behind ``text``, the answer so far, when ``error`` ends it."""

    def end(
        self, closing: dict[str, Any], error: OrbitError | None = None, text: str = ""
    ) -> bytes:
        """Return what ends the stream; ``text`` is what the last event says about ``error``."""


class ChatFormat:
    """The events of ``POST /chat``."""

    opening = b""

    def event(self, text: str) -> bytes:
        """Return one event that carries ``text``."""
        return event(text)

    def error_text(self, error: OrbitError, text: str) -> str:
        """Return the error's sentence, which published clients show to the reader."""
        return ("\n\n" if text else "") + error.detail

    def end(
        self, closing: dict[str, Any], error: OrbitError | None = None, text: str = ""
    ) -> bytes:
        """Return the last event, after one with ``text`` and the code of ``error`` if any."""
        if error is None:
            return done_event(**closing)
        failed: dict[str, Any] = {"error": error.code, "finish_reason": "error"}
        if error.retry_after is not None:
            failed["retry_after"] = error.retry_after
        return event(text, error=error.code) + done_event(**closing | failed)


def event(text: str, **more: Any) -> bytes:
    """Return one event that carries ``text`` and is not the last; ``more`` fields follow."""
    extra = b", " + orjson.dumps(more)[1:-1] if more else b""
    return b'data: {"text": ' + to_json(text) + b', "done": false' + extra + b"}\n\n"


def done_event(**fields: Any) -> bytes:
    """Return the last event of a stream, with ``fields`` beside its empty text."""
    extra = b", " + to_json(fields)[1:-1] if fields else b""
    return b'data: {"text": "", "done": true' + extra + b"}\n\n"


def to_json(value: Any) -> bytes:
    """Return ``value`` as one line of JSON, also for readers with a broad idea of line ends."""
    try:
        data = orjson.dumps(value)
    except orjson.JSONEncodeError:  # a lone surrogate: legal in JSON as an escape only
        return json.dumps(value).encode()
    if not data.isascii():
        # Line ends for some readers that split text instead of bytes.
        for raw, escaped in _LINE_ENDS:
            data = data.replace(raw, escaped)
    return data
