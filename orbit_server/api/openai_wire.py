"""The wire format of ``/v1``: completions, their chunks, and errors.

https://platform.openai.com/docs/api-reference/chat is where its clients take it from.
"""

import time
from typing import Any, Literal

from ..errors import CollectionNotFound, EmbedderMismatch, ModelNotFound, OrbitError
from ..types import NO_TOKENS
from .events import to_json
from .openai_request import BadParameter, CompletionQuestion
from .openai_sources import citations, sources_list

SourcesIn = Literal["text", "field"]

ID_PREFIX = "chatcmpl-"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# Not cured by asking again, which clients of OpenAI otherwise do twice.
_USELESS_TO_RETRY = (ModelNotFound, CollectionNotFound, EmbedderMismatch)


class CompletionFormat:
    """How one answer is written: as chunks of a stream, or as one completion.

    ``sources_in`` says whether users see the sources at the end of the text, or only programs in a
    field of their own. ``id`` is the answer's own, without ``ID_PREFIX``.
    """

    def __init__(self, question: CompletionQuestion, *, id: str, sources_in: SourcesIn) -> None:
        self._include_usage = question.include_usage
        self._sources_in = sources_in
        self._common = {
            "id": ID_PREFIX + id,
            "created": int(time.time()),
            "model": question.model,
        }
        self._chunk = {
            **self._common,
            "object": "chat.completion.chunk",
            **({"usage": None} if self._include_usage else {}),
        }
        # A token costs one concatenation: everything around its text is the same for all.
        self._before = (
            b"data: " + to_json(self._chunk)[:-1] + b',"choices":[{"index":0,"delta":{"content":'
        )
        self._after = b'},"finish_reason":null}]}\n\n'
        self.opening = self._event({"role": "assistant", "content": ""})

    def event(self, text: str) -> bytes:
        """Return the chunk that carries ``text``."""
        return self._before + to_json(text) + self._after

    def error_text(self, error: OrbitError, text: str) -> str:
        """Return nothing: an error is an event of its own here, not a part of the text."""
        return ""

    def end(
        self, closing: dict[str, Any], error: OrbitError | None = None, text: str = ""
    ) -> bytes:
        """Return what ends the stream; a stream that failed does not end with ``[DONE]``."""
        if error is not None:
            return _data(to_json(error_body(error)))
        sources = closing.get("sources", [])
        reason = closing.get("finish_reason", "stop")
        last = self._event({}, finish_reason=reason, **_sources(sources))
        events = [self.event(listed)] if (listed := self._listed(closing)) else []
        events.append(last)
        if self._include_usage:
            usage = {**self._chunk, "choices": [], "usage": closing.get("usage", NO_TOKENS)}
            events.append(_data(to_json(usage)))
        return b"".join([*events, b"data: [DONE]\n\n"])

    def whole(self, text: str, closing: dict[str, Any]) -> dict[str, Any]:
        """Return the completion that holds the whole ``text``."""
        message = {
            "role": "assistant",
            "content": text + self._listed(closing),
            "refusal": None,
        }
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": closing["finish_reason"],
            "logprobs": None,
        }
        return {
            **self._common,
            "object": "chat.completion",
            "choices": [choice],
            "usage": closing["usage"],
            "system_fingerprint": None,
            **_sources(closing.get("sources", [])),
        }

    def _listed(self, closing: dict[str, Any]) -> str:
        if self._sources_in == "field":
            return ""
        return sources_list(closing.get("sources", []), closing.get("cited", []))

    def _event(self, delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _data(to_json({**self._chunk, "choices": [choice], **more}))


def error_body(error: OrbitError) -> dict[str, Any]:
    """Return the JSON object of an error."""
    param, code = None, error.code
    if isinstance(error, BadParameter):
        param, code = error.param, error.own_code
    return error_object(error.status, error.detail, code=code, param=param)


def error_object(
    status: int, message: str, *, code: str, param: str | None = None
) -> dict[str, Any]:
    """Return the JSON object of an error with the HTTP ``status``."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_headers(error: OrbitError) -> dict[str, str]:
    """Return the headers that say whether and when a client should try again."""
    headers = error.headers()
    # Clients obey a Retry-After up to a minute, and instead of a longer one come back in a second.
    far_off = int(headers.get("Retry-After", 0)) > 60
    useless = isinstance(error, _USELESS_TO_RETRY) or far_off
    return headers | ({"x-should-retry": "false"} if useless else {})


def _sources(sources: list[dict[str, Any]]) -> dict[str, Any]:
    return {"sources": sources, "citations": citations(sources)}


def _data(json: bytes) -> bytes:
    return b"data: " + json + b"\n\n"
