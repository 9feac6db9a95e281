"""What is known of the words of an index: what this question was told, and others before it.

What others were told is good for a guess only: each question has the terms of its own counted.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from cachetools import TTLCache

from ..spelling import within

_REMEMBERED = 20_000
_SECONDS = 300.0


class Memory:
    """How many passages lately had a term, and what was spelt like it, by collection.

    It is of no use any more when the number of passages is another one.
    """

    def __init__(
        self,
        *,
        most: int = _REMEMBERED,
        seconds: float = _SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.passages: TTLCache[str, int] = TTLCache(most, seconds, clock)
        self.counts: TTLCache[tuple[str, int, str], int] = TTLCache(most, seconds, clock)
        self.similar: TTLCache[tuple[str, int, str], Mapping[str, int]] = TTLCache(
            most, seconds, clock
        )
        self.endings: TTLCache[tuple[str, int, int], Mapping[str, int]] = TTLCache(
            most, seconds, clock
        )
        self._writes: TTLCache[str, int] = TTLCache(most, seconds, clock)

    def forget(self, collection_id: str) -> None:
        """Forget what is known of a collection."""
        self._writes[collection_id] = self._writes.get(collection_id, 0) + 1

    def of(self, collection_id: str) -> str:
        """Return the name for what is known of a collection now."""
        return f"{collection_id} {self._writes.get(collection_id, 0)}"


class Known:
    """The words of one collection, for one question: a ``Dictionary`` that says what it lacks.

    ``wanted`` are terms that were asked for without being known, ``endings`` those of them that
    may be meant by a misspelt word, ``asked`` the terms of the question itself.
    """

    def __init__(self, memory: Memory, collection_id: str) -> None:
        self._memory, self._id = memory, memory.of(collection_id)
        self.passages = memory.passages.get(self._id)
        self._counts: dict[str, int] = {}
        self._similar: dict[str, Mapping[str, int]] = {}
        self.asked: dict[str, None] = {}
        self.wanted: set[str] = set()
        self.endings: dict[str, None] = {}
        self._groups: list[tuple[str, ...]] = []

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """Return the number of passages, and how many of them have each term, as far as known.

        The first call is for the terms of the question: those are taken for known words.
        """
        if not self.asked:
            self.asked = dict.fromkeys(terms)
        own, group = self.asked, tuple(terms)
        known = None if own.keys() >= set(group) else self._remembered(group)
        found: dict[str, int] = {}
        for term in group:
            count = self._count(term) if known is None else known.get(term, 0)
            if count is None:
                self.wanted.add(term)
                if term not in own:
                    self.endings[term] = None
            found[term] = int(term in own) if count is None else count
        return self.passages or 1, found

    def similar(self, term: str, *, distance: int) -> list[str]:
        """Return indexed terms that are so many edits away at most, as far as known."""
        known = self._similar.get(term)
        if known is None:
            known = self._remembered_similar(term)
        if known is None:
            self.wanted.add(term)
            return []
        return [each for each in known if within(term, each, distance) and each != term]

    def likely(self, term: str) -> int:
        """Return how many passages probably have a term; of an unknown one, one."""
        count = self._count(term)
        return 1 if count is None else count

    def counted(self, term: str) -> bool:
        """Return whether it is known how many passages have a term."""
        return self._count(term) is not None

    def likely_there(self, term: str) -> bool:
        """Return whether passages are known to have a term."""
        return bool(self._count(term))

    def has_similar(self, word: str) -> bool:
        """Return whether it is known what is spelt like ``word``."""
        return word in self._similar or self._remembered_similar(word) is not None

    def learn(self, passages: int, counts: Mapping[str, int]) -> None:
        """Take in how many passages there are, and how many of them have these terms."""
        self.passages = passages
        self._counts |= counts
        self.wanted.clear()
        self.endings.clear()

    def suggested(self, word: str, similar: Mapping[str, int]) -> None:
        """Take in what is spelt like ``word``, and how many passages have that."""
        self._similar.setdefault(word, similar)

    def keep(self) -> None:
        """Let the questions after this one guess from what is known."""
        if self.passages is None:
            return
        self._memory.passages[self._id] = self.passages
        for term, count in self._counts.items():
            if count or term in self.asked:
                self._memory.counts[self._id, self.passages, term] = count
        for group in self._groups:
            if all(term in self._counts for term in group):
                there = {term: n for term in group if (n := self._counts[term])}
                self._memory.endings[self._id, self.passages, hash(group)] = there
        for word, similar in self._similar.items():
            self._memory.similar[self._id, self.passages, word] = similar

    def _count(self, term: str) -> int | None:
        count = self._counts.get(term)
        if count is None and self.passages is not None:
            count = self._memory.counts.get((self._id, self.passages, term))
        if count is None:
            count = next((each[term] for each in self._similar.values() if term in each), None)
        return count

    def _remembered(self, group: tuple[str, ...]) -> Mapping[str, int] | None:
        """Return what was counted of terms that may be meant, of which most are no words."""
        if self.passages is None:
            return None
        known = self._memory.endings.get((self._id, self.passages, hash(group)))
        if known is None and group not in self._groups:
            self._groups.append(group)
        return known

    def _remembered_similar(self, word: str) -> Mapping[str, int] | None:
        if self.passages is None:
            return None
        return self._memory.similar.get((self._id, self.passages, word))
