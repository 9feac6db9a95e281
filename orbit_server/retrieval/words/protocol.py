"""What the rest of the server needs of the word indexes, wherever they are kept."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, Self

from .analyzer import Analyzer
from .question import QuestionTerms
from .record import Record


class Hit(NamedTuple):
    """A passage that shares words with the question.

    ``score`` is its BM25, higher is better, comparable only within one answer; ``words`` are those
    of its terms that the question has too, parted by blanks, where the search tells them.
    """

    id: str
    score: float
    words: str | None = None


class FoundWords(NamedTuple):
    """What a question looks for in a collection, and the passages that have some of it."""

    terms: QuestionTerms
    hits: list[Hit]


class IndexState(NamedTuple):
    """The number of passages of an index, and what it was made of: ``None`` where there is none."""

    passages: int
    record: Record | None


class WordsWriting(Protocol):
    """What may be done to the index of one collection while its lock is held."""

    async def add(self, rows: Sequence[tuple[str, str]], analyzer: Analyzer) -> None:
        """Store ``rows`` of (id, text); known ids get the new text. All or nothing is found.

        In an index of another analyzer nothing else is left, so that it is too small.
        """

    async def remove(self, ids: Collection[str]) -> None:
        """Forget these passages; unknown ids, and collections without an index, are no error."""

    async def begin(self, analyzer: Analyzer) -> None:
        """Prepare to write all passages: to the index that is there, if it can be used."""

    async def finish(self) -> None:
        """Search from now on what has been written since ``begin``."""

    async def note(self, seen: Mapping[str, int]) -> None:
        """Write down which writes of whom the index has taken in, instead of what it says now."""

    async def drop(self) -> int:
        """Delete the index, also a broken one; the number of bytes freed."""


class Words(Protocol):
    """The word indexes of all collections, by the ids of these.

    Every call raises the ``SearchError`` family, and ``NotStarted`` outside ``async with``.
    """

    remote: bool
    """Whether ``find`` waits for another machine, so that Chroma is asked meanwhile."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def find(
        self, collection_id: str, text: str, analyzer: Analyzer, *, n: int
    ) -> FoundWords:
        """Return what the question ``text`` looks for, and its ``n`` best passages by BM25.

        The terms that ``telling`` names are looked for. Without an index nothing is found.
        """

    async def ping(self) -> None:
        """Return when what holds the indexes answers; raise ``WordsUnavailable``."""

    def limited(self) -> AbstractAsyncContextManager[None]:
        """Bound what a question waits for; ``WordsUnavailable`` when that takes too long."""

    def terms_of(self, collection_id: str, ids: Sequence[str]) -> Mapping[str, list[str]]:
        """Return the terms of these passages, as far as they are at hand."""

    async def state(self, collection_id: str) -> IndexState:
        """Return what is in the index of a collection."""

    async def writer(self) -> str:
        """Return the name under which all that share these indexes write."""

    async def changed(self, collection_id: str, texts: Mapping[str, str]) -> list[str]:
        """Return the ids in ``texts`` that are indexed with another text, or not at all."""

    def ids(self, collection_id: str) -> AsyncIterator[list[str]]:
        """Iterate over the ids of all indexed passages, some thousands at a time."""

    def writing(self, collection_id: str) -> AbstractAsyncContextManager[WordsWriting]:
        """Hold the lock of an index; ``SearchUnavailable`` when another does for too long."""

    def idle(self, collection_id: str) -> AbstractAsyncContextManager[object]:
        """Hold the lock if nobody else has it; something false where another does."""

    def alone(self, collection_id: str, purpose: str) -> AbstractAsyncContextManager[bool]:
        """Be the only one of all processes with these indexes that does something, or false."""

    async def drop(self, collection_id: str) -> int:
        """Delete the index of a collection, if there is any; the bytes freed on this machine."""

    async def drop_others(self, collection_ids: Collection[str]) -> int:
        """Delete the indexes of all but these collections; the bytes freed on this machine."""

    async def compact(self, collection_id: str, *, quiet_seconds: float) -> None:
        """Write an index anew where deleted passages still count, so that scores are right.

        One that is locked, or that was written to in the last ``quiet_seconds``, stays as it is.
        """

    async def merge(self, collection_id: str) -> None:
        """Make an index cheap to search after a load, if nobody writes to it."""

    async def leftovers(self, collection_ids: Collection[str]) -> list[str]:
        """Return the ids of collections that have an index and are none of these."""

    def outdated(self) -> list[str]:
        """Return the ids of collections that have a word index of the kind before this one."""
