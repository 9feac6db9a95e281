"""Ollama's REST API over aiohttp: chat, embeddings, what is installed.

The surprises that shape this module: options are only read inside ``options``; nothing is sent, not
even headers, before the model is loaded and has said something; a stream with status 200 may carry
an error line, and may end without ``"done": true``, which is a failure. See Ollama's
``docs/api.md`` and ``api/types.go``.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import aiohttp
import orjson

from ..errors import (
    ModelBusy,
    ModelError,
    ModelInterrupted,
    ModelNotFound,
    ModelTimeout,
    ModelUnreachable,
    NotStarted,
)

Message = dict[str, str]
_LONGEST_LINE = 16 * 1024 * 1024
_TRIES = 3
_HIGHEST_COUNT = 2**53  # what every reader of JSON keeps exactly


class Ollama:
    """A client of one Ollama server. Opens its one HTTP session in ``async with``.

    ``options`` are sent with every chat, so that all callers of a model agree on those that would
    make Ollama load it again (``num_ctx``, ``num_thread``). ``connect_timeout`` and
    ``read_timeout`` are seconds; the latter is the longest silence allowed, model loading included.
    There is no limit on the whole.
    """

    def __init__(
        self,
        base_url: str,
        *,
        options: Mapping[str, Any] | None = None,
        keep_alive: str | float = "10m",
        think: bool | str = False,
        connect_timeout: float = 3.0,
        read_timeout: float = 300.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.options = dict(options or {})
        self.keep_alive = keep_alive
        self.think = think
        self.read_timeout = read_timeout
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._session: aiohttp.ClientSession | None = None
        self._unthinking: set[str] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Every stream holds a connection; aiohttp's default of 100 would make the 101st wait.
            connector=aiohttp.TCPConnector(limit=0),
            timeout=self._timeout,
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def chat(
        self, messages: Sequence[Message], *, model: str, request_id: str | None = None
    ) -> "ChatStream":
        """Return the stream of a reply to ``messages``; nothing is sent before it is opened."""
        return ChatStream(self, self._chat_body(messages, model, self.options), request_id)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        options: Mapping[str, Any] | None = None,
        format: str | dict[str, Any] | None = None,
        think: bool | str | None = None,
        request_id: str | None = None,
    ) -> str:
        """Return the whole text of one reply; ``options`` override the client's own.

        ``format`` is ``"json"`` or a JSON schema. Raises the ``ModelError`` family.
        """
        body = self._chat_body(messages, model, {**self.options, **(options or {})})
        body["stream"] = False
        if format is not None:
            body["format"] = format
        if think is not None and model not in self._unthinking:
            body["think"] = think
        reply = await self._post("/api/chat", body, request_id)
        if not reply.get("done"):
            raise ModelInterrupted(f"{model} ended its reply without done")
        return _content(reply)

    async def embed(
        self, texts: Sequence[str], *, model: str, request_id: str | None = None
    ) -> list[list[float]]:
        """Return one L2-normalised vector a text, in order. Raises the ``ModelError`` family."""
        body = {"model": model, "input": list(texts), "keep_alive": self.keep_alive}
        vectors = (await self._post("/api/embed", body, request_id)).get("embeddings")
        if not isinstance(vectors, list) or len(vectors) != len(texts):
            raise ModelError(f"{model} returned no vector for some of {len(texts)} texts")
        return vectors

    async def models(self) -> list[str]:
        """Return the names of the installed models, each with its tag."""
        listed = (await self._get("/api/tags")).get("models") or []
        try:
            return [str(model["name"]) for model in listed]
        except (TypeError, LookupError) as error:
            raise ModelError("Ollama lists its models in a form of its own") from error

    async def version(self) -> str:
        """Return the server's version, e.g. ``0.32.15``."""
        return str((await self._get("/api/version")).get("version", ""))

    def _chat_body(
        self, messages: Sequence[Message], model: str, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "options": dict(options),
            "keep_alive": self.keep_alive,
        }
        if model not in self._unthinking:
            body["think"] = self.think
        return body

    async def _get(self, path: str) -> dict[str, Any]:
        with _translated(self.base_url):
            async with self._open().get(self.base_url + path) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.read(), path)
                return _loads(await response.read())

    async def _post(
        self, path: str, body: dict[str, Any], request_id: str | None = None
    ) -> dict[str, Any]:
        response = await self.request(path, body, request_id)
        try:
            with _translated(self.base_url):
                return _loads(await response.read())
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def request(
        self, path: str, body: dict[str, Any], request_id: str | None
    ) -> aiohttp.ClientResponse:
        """Post ``body`` and return the response once its status is 200.

        A full queue and a connection that was refused or reset before the first byte are tried
        again shortly; nothing else is.
        """
        headers = {"X-Request-ID": request_id} if request_id else None
        for attempt in range(_TRIES):
            try:
                with _translated(self.base_url):
                    response = await self._open().post(
                        self.base_url + path, json=body, headers=headers
                    )
                    if response.status == 200:
                        return response
                    try:
                        text = await response.read()
                    finally:
                        response.close()
                if response.status == 400 and b"does not support thinking" in text:
                    # Some versions refuse the bare word "think" from a model that cannot.
                    self._unthinking.add(body["model"])
                    if body.pop("think", None) is not None:
                        continue
                raise _refusal(response.status, text, str(body["model"]))
            except (ModelBusy, ModelUnreachable):
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.1 * 2**attempt * (0.5 + random.random()))  # noqa: S311
        raise ModelError(f"{body['model']} refused every form of the request")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotStarted("the Ollama client is used outside of its lifespan")
        return self._session


class ChatStream:
    """One reply while it is being generated: an asynchronous iterator of lists of text pieces.

    Each step gives all pieces that one network read brought, so that they can be sent on in one
    write. Leaving it, at any moment and for any reason, closes the connection, which stops Ollama's
    work. After the last step ``usage`` holds the token counts and ``finish_reason`` is ``stop`` or
    ``length``.
    """

    def __init__(self, ollama: Ollama, body: dict[str, Any], request_id: str | None) -> None:
        self.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        self.finish_reason = "stop"
        self._ollama = ollama
        self._body = body
        self._request_id = request_id
        self._response: aiohttp.ClientResponse | None = None
        self._partial = b""
        self._begun = False
        self._done = False
        self._failure: ModelError | None = None
        self._silent_since = math.inf
        self._watcher: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        response = await self._ollama.request("/api/chat", self._body, self._request_id)
        self._response = response
        # aiohttp sets a timer anew with every read, which costs a tenth of all the work for a
        # token; from the head on, one of our own looks now and then.
        if response.connection is not None and response.connection.protocol is not None:
            response.connection.protocol.read_timeout = None
        self._watch(response.content)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if self._response is not None:
            self._response.close()

    def _watch(self, content: aiohttp.StreamReader) -> None:
        patience = self._ollama.read_timeout
        left = min(patience, self._silent_since + patience - time.monotonic())
        if left > 0:
            self._watcher = asyncio.get_running_loop().call_later(left, self._watch, content)
        else:
            content.set_exception(aiohttp.SocketTimeoutError())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[str]:
        if self._response is None:
            raise NotStarted("a chat stream is read before it is opened")
        content = self._response.content
        while not self._done:
            if self._failure is not None:
                raise self._failure
            # A client that is slow to take the last text must not count as the model's silence.
            self._silent_since = time.monotonic()
            try:
                data = await content.readany()
            except _FOREIGN as error:
                raise _translation(self._ollama.base_url, error, begun=self._begun) from error
            self._silent_since = math.inf
            if not data:
                if not self._partial.rstrip().endswith(b"}"):
                    raise ModelInterrupted(f"{self._body['model']}: the stream ended without done")
                data = b"\n"  # the last line is whole, but for its end
            if pieces := self._pieces(data):
                self._begun = True
                return pieces
        raise StopAsyncIteration

    def _pieces(self, data: bytes) -> list[str]:
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        if len(self._partial) > _LONGEST_LINE:
            raise ModelError("a line of the stream is longer than 16 MiB")
        pieces: list[str] = []
        for line in lines:
            if not line.strip():
                continue
            try:
                event = _loads(line)
                if "error" in event:
                    raise ModelError(str(event["error"]))
                text = _content(event)
            except ModelError as error:
                # What was said before it in the same read is still the answer's.
                kind = ModelInterrupted if self._begun or pieces else ModelError
                self._failure = kind(f"{self._body['model']}: {error}")
                break
            if text:
                pieces.append(text)
            if event.get("done"):
                self._finish(event)
                break
        return pieces

    def _finish(self, event: dict[str, Any]) -> None:
        self._done = True
        # Counters that are zero are left out of the reply.
        asked, answered = _count(event.get("prompt_eval_count")), _count(event.get("eval_count"))
        self.usage = {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }
        self.finish_reason = "length" if event.get("done_reason") == "length" else "stop"


_FOREIGN = (aiohttp.ClientError, OSError, aiohttp.http_exceptions.HttpProcessingError)


@contextmanager
def _translated(base_url: str, *, begun: bool = False) -> Iterator[None]:
    """Turn what aiohttp raises into our errors; ``begun``: part of the answer is already out."""
    try:
        yield
    except _FOREIGN as error:
        raise _translation(base_url, error, begun=begun) from error


def _translation(base_url: str, error: Exception, *, begun: bool) -> ModelError:
    if isinstance(error, TimeoutError):
        return ModelTimeout(f"{base_url} kept silent: {type(error).__name__}")
    cause = f"{base_url}: {type(error).__name__}: {error}"
    return (ModelInterrupted if begun else ModelUnreachable)(cause)


def _refusal(status: int, body: bytes, what: str) -> ModelError:
    try:
        reason = str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        reason = body[:200].decode(errors="replace")
    kind = {404: ModelNotFound, 429: ModelBusy, 503: ModelBusy, 504: ModelTimeout}
    return kind.get(status, ModelError)(f"{what}: Ollama answered {status}: {reason}")


def _content(event: Mapping[str, Any]) -> str:
    message = event.get("message") or {}
    content = (message.get("content") or "") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ModelError(f"Ollama sent a message that is no text: {str(message)[:80]!r}")
    return content


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < _HIGHEST_COUNT else 0


def _loads(data: bytes) -> dict[str, Any]:
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
