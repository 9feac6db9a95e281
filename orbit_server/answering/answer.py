"""One answer: passages are found, and become a stream of text that knows its sources."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Self

from ..llm.protocols import TextStream
from ..types import NO_TOKENS, Passage, Question, Result, Retrieved
from .citations import cited
from .extractive import FixedText

Retrieve = Callable[[Question, str], Awaitable[Retrieved]]
Generate = Callable[[Question, Retrieved], TextStream]
Place = Callable[[], AbstractAsyncContextManager[object]]


class Answer:
    """The answer to one question from one collection, as a text stream that knows its sources.

    The first step searches and opens the model's stream; leaving the ``async with`` closes it,
    whatever happened. When nothing relevant is found, ``nothing_found`` is the answer and no model
    is asked. ``small_talk`` is the answer to what needs no documents; then nothing is searched.
    ``place`` gives a place in the queue for the model: it raises where that is full, before
    anything is searched; entering the place may take long. ``id`` names the answer to clients.
    """

    def __init__(
        self,
        question: Question,
        collection: str,
        *,
        retrieve: Retrieve,
        generate: Generate,
        nothing_found: str,
        small_talk: TextStream | None = None,
        place: Place | None = None,
        id: str | None = None,
    ) -> None:
        self.id = id
        self.question = question
        self.collection = collection
        self.passages: list[Passage] = []
        self.considered: list[Passage] = []
        self._timings_ms: dict[str, float] = {}
        self._retrieve = retrieve
        self._generate = generate
        self._nothing_found = nothing_found
        self._small_talk = small_talk
        self._place = place
        self._stream: TextStream | None = None
        self._stack = AsyncExitStack()
        self._started = time.perf_counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    def __anext__(self) -> Awaitable[list[str]]:
        # Not a coroutine of its own: it would cost every token a microsecond.
        return self._first() if self._stream is None else self._stream.__anext__()

    async def _first(self) -> list[str]:
        fixed = isinstance(self._small_talk, FixedText)
        place = self._place() if self._place is not None and not fixed else None
        stream = self._small_talk or await self._from_passages()
        if place is not None and not isinstance(stream, FixedText):
            await self._wait_for(place)
        self._stream = await self._stack.enter_async_context(stream)
        pieces = await stream.__anext__()
        self._timings_ms["first_token"] = self._elapsed()
        return pieces

    async def _wait_for(self, place: AbstractAsyncContextManager[object]) -> None:
        started = time.perf_counter()
        try:
            await self._stack.enter_async_context(place)
        finally:
            self._timings_ms["queue"] = round((time.perf_counter() - started) * 1000, 1)

    async def _from_passages(self) -> TextStream:
        retrieved = await self._retrieve(self.question, self.collection)
        self.passages, self.considered = retrieved.passages, retrieved.considered
        self._timings_ms |= retrieved.timings_ms
        if self.passages:
            return self._generate(self.question, retrieved)
        return FixedText([self._nothing_found])

    @property
    def result(self) -> Result | None:
        """What became of the question; ``None`` before anything is said."""
        if self._stream is None:
            return None
        if self._small_talk is not None:
            return "small_talk"
        return "found" if self.passages else "not_found"

    @property
    def usage(self) -> dict[str, int]:
        """The tokens that the model read and wrote; zeros as long as it has not ended."""
        return self._stream.usage if self._stream else NO_TOKENS

    def closing(self, text: str) -> dict[str, Any]:
        """Return what the last event and the JSON reply say beside ``text``, the answer so far.

        ``cited`` holds the ids of those ``sources`` that the text refers to by number, or quotes.
        """
        return {
            "sources": [passage.public() for passage in self.passages],
            "cited": self._cited(text),
            "usage": self.usage,
            "finish_reason": self._stream.finish_reason if self._stream else "stop",
            **({} if self.id is None else {"id": self.id}),
        }

    def _cited(self, text: str) -> list[str]:
        if isinstance(self._stream, FixedText):
            return self._stream.quoted
        return [self.passages[number - 1].id for number in cited(text, len(self.passages))]

    def timings(self) -> dict[str, float]:
        """Return the milliseconds that every step took, and ``total`` so far."""
        return {**self._timings_ms, "total": self._elapsed()}

    def _elapsed(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 1)
