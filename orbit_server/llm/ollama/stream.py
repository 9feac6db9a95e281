"""One reply of Ollama while it is being generated."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import aiohttp

from ...errors import ModelError, ModelInterrupted, NotStarted
from ..replies import ThoughtFilter
from .wire import FOREIGN, content, count, loads, translation

_LONGEST_LINE = 16 * 1024 * 1024


class ChatStream:
    """One reply while it is being generated: an asynchronous iterator of lists of text pieces.

    Each step gives all pieces that one network read brought, so that they can be sent on in one
    write; a think block at the beginning is left out. Leaving it, at any moment and for any reason,
    closes the connection, which stops Ollama's work. After the last step ``usage`` holds the token
    counts and ``finish_reason`` is ``stop`` or ``length``. ``request`` opens the response;
    ``first_timeout`` is how many seconds it may take to begin, thoughts included, ``read_timeout``
    the longest silence after that.
    """

    def __init__(
        self,
        request: Callable[[], Awaitable[aiohttp.ClientResponse]],
        *,
        model: str,
        base_url: str,
        first_timeout: float,
        read_timeout: float,
    ) -> None:
        self.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        self.finish_reason = "stop"
        self._request, self._model, self._base_url = request, model, base_url
        self._first_timeout, self._read_timeout = first_timeout, read_timeout
        self._entered = math.inf
        self._heard = False
        self._response: aiohttp.ClientResponse | None = None
        self._partial = b""
        self._begun = False
        self._done = False
        self._thoughts = ThoughtFilter()
        self._failure: ModelError | None = None
        self._silent_since = math.inf
        self._watcher: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        if self._first_timeout < self._read_timeout:
            self._entered = time.monotonic()
        response = await self._request()
        self._response = response
        # aiohttp sets a timer with every read, which costs a tenth of all the work for a token;
        # from the head on, one of our own checks now and then.
        if response.connection is not None and response.connection.protocol is not None:
            response.connection.protocol.read_timeout = None
            response.connection.protocol.start_timeout()  # else the one of the head goes on
        self._watch(response.content)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if self._response is not None:
            self._response.close()

    def _watch(self, reader: aiohttp.StreamReader) -> None:
        since, limit = self._silent_since, self._read_timeout
        if not self._heard:
            since, limit = min(since, self._entered), self._first_timeout
        left = min(limit, since + limit - time.monotonic())
        if left > 0:
            self._watcher = asyncio.get_running_loop().call_later(left, self._watch, reader)
        else:
            reader.set_exception(aiohttp.SocketTimeoutError())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[str]:
        if self._response is None:
            raise NotStarted("a chat stream is read before it is opened")
        reader = self._response.content
        while not self._done:
            if self._failure is not None:
                raise self._failure
            # A client that is slow to take the last text must not count as the model's silence.
            self._silent_since = time.monotonic()
            try:
                data = await reader.readany()
            except FOREIGN as error:
                raise translation(self._base_url, error, begun=self._begun) from error
            self._silent_since, self._heard = math.inf, True
            if not data:
                if not self._partial.rstrip().endswith(b"}"):
                    raise ModelInterrupted(f"{self._model}: the stream ended without done")
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
                event = loads(line)
                if "error" in event:
                    raise ModelError(str(event["error"]))
                text = content(event)
            except ModelError as error:
                # What came before it in the same read still belongs to the answer.
                kind = ModelInterrupted if self._begun or pieces else ModelError
                self._failure = kind(f"{self._model}: {error}")
                break
            if self._thoughts.deciding:
                text = self._thoughts.feed(text)
            if event.get("done"):
                self._finish(event)
                text += self._thoughts.end(cut=self.finish_reason == "length")
            if text:
                pieces.append(text)
            if self._done:
                break
        return pieces

    def _finish(self, event: dict[str, Any]) -> None:
        self._done = True
        # Counters that are zero are left out of the reply.
        asked, answered = count(event.get("prompt_eval_count")), count(event.get("eval_count"))
        self.usage = {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }
        self.finish_reason = "length" if event.get("done_reason") == "length" else "stop"
