"""An answer that may change hosts until its first text, and never after it."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self

from ...errors import ModelError, NotStarted
from ..ollama import ChatStream
from .host import Host


class Opened(NamedTuple):
    """A stream that has begun at ``host``, where it holds a place; ``first`` is its first text."""

    host: Host
    stream: ChatStream
    first: list[str]


class HostStream:
    """A reply from whichever host begins it first; a ``TextStream``.

    ``open`` finds the host, ``leave`` gives its place back. What fails after the first text is
    raised: an answer is not begun twice.
    """

    def __init__(
        self, open: Callable[[], Awaitable[Opened]], *, leave: Callable[[Host], None]
    ) -> None:
        self.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        self.finish_reason = "stop"
        self._open, self._leave = open, leave
        self._opened: Opened | None = None
        self._first: list[str] = []

    async def __aenter__(self) -> Self:
        self._opened = await self._open()
        self._first = self._opened.first
        return self

    async def __aexit__(self, *exc: object) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                await opened.stream.__aexit__(*exc)
            finally:
                self._leave(opened.host)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[str]:
        if self._opened is None:
            raise NotStarted("a chat stream is read before it is opened")
        if first := self._first:
            self._first = []
            return first
        host, stream, _ = self._opened
        try:
            return await anext(stream)
        except StopAsyncIteration:
            self.usage, self.finish_reason = stream.usage, stream.finish_reason
            raise
        except ModelError:
            host.failed += 1
            host.circuit.doubt()  # the next answers go elsewhere for a moment
            raise
