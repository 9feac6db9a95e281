"""Questions of one meaning together: by average linkage of their vectors.

Two groups become one as long as the mean similarity of their questions, each with each, is at
least ``threshold`` (UPGMA, Sokal and Michener 1958), by the nearest-neighbour chain (Murtagh 1983).
Before that, questions that are almost the same are put to the first of them, their seed: of all
others only the sums are kept, and no more than ``most_seeds`` are linked, however many questions
there are. Memory is that of the seeds' vectors and of their square, time at most that of comparing
each question with each seed.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[list[list[float] | None]]]
"""Texts to vectors, in order; None for a text that the model refuses."""
_Matrix: TypeAlias = NDArray[np.float32]

THRESHOLD = 0.44
_SAME = 0.85


async def grouped(
    texts: Sequence[str],
    embed: Embed,
    *,
    unrelated: Sequence[str] = (),
    threshold: float = THRESHOLD,
    batch: int = 256,
    most_seeds: int = 4000,
    advanced: Callable[[int], None] = lambda count: None,
) -> list[list[int]]:
    """Return the numbers of the ``texts`` of each group, both in the order of ``texts``.

    The vectors of some models are all alike; so what ``unrelated`` questions have in common is
    taken out of each, and similarity means the same whatever the model. Once there are
    ``most_seeds``, a text that is like none of them is a group of its own: name those first that
    count most. ``advanced(count)`` tells how many more are embedded. Raises what ``embed`` raises.
    """
    if len(texts) < 2:
        return [[number] for number in range(len(texts))]
    common = await _common(unrelated, embed, batch)
    seeds = _Seeds(threshold, most_seeds)
    for start in range(0, len(texts), batch):
        part = texts[start : start + batch]
        seeds.add(_directions(await embed(part), common))
        advanced(len(part))
    groups: dict[int, list[int]] = {}
    linked = _linked(seeds.sums, seeds.counts, threshold)
    for number, seed in enumerate(seeds.chosen):
        # What is like no seed has a negative number of its own.
        groups.setdefault(linked[seed] if seed >= 0 else seed, []).append(number)
    return list(groups.values())


async def _common(unrelated: Sequence[str], embed: Embed, batch: int) -> _Matrix | None:
    directions: list[_Matrix] = []
    for start in range(0, len(unrelated), batch):
        found = _directions(await embed(unrelated[start : start + batch]), None)
        directions += [each for each in found if each is not None]
    return np.mean(directions, axis=0) if directions else None


def _directions(
    vectors: Sequence[list[float] | None], common: _Matrix | None
) -> list[_Matrix | None]:
    """Return the vectors with length 1, without what they have in common."""
    found: list[_Matrix | None] = []
    for vector in vectors:
        direction = None if vector is None else _unit(np.asarray(vector, np.float32))
        if direction is not None and common is not None:
            direction = _unit(direction - common)
        found.append(direction)
    return found


def _unit(vector: _Matrix) -> _Matrix | None:
    length = float(np.linalg.norm(vector))
    return (vector / length).astype(np.float32) if length > 0 else None


class _Seeds:
    """The first question of each kind, and the sum of the vectors of all that were put to it."""

    def __init__(self, threshold: float, most: int) -> None:
        self.chosen: list[int] = []  # for each question the number of its seed, or below 0
        self.counts: list[int] = []
        self._threshold = threshold
        self._most = most
        self._vectors: _Matrix = np.empty((0, 0), np.float32)
        self._sums: _Matrix = self._vectors

    @property
    def sums(self) -> _Matrix:
        return self._sums[: len(self.counts)]

    def add(self, vectors: Sequence[_Matrix | None]) -> None:
        """Put each question to its seed; ``None`` is like no other."""
        before = len(self.counts)
        known = [each for each in vectors if each is not None]
        # Compared in one product, which is what makes a great number of questions possible.
        alike = iter(np.stack(known) @ self._vectors[:before].T if known and before else ())
        for vector in vectors:
            if vector is None:
                self.chosen.append(self._alone())
            else:
                self.chosen.append(self._put(vector, next(alike, None), before))

    def _alone(self) -> int:
        return -1 - len(self.chosen)

    def _put(self, vector: _Matrix, alike: _Matrix | None, before: int) -> int:
        known = len(self.counts)
        if known > before:  # those of the same batch
            newer = self._vectors[before:known] @ vector
            alike = newer if alike is None else np.concatenate([alike, newer])
        nearest = -1 if alike is None else int(alike.argmax())
        least = _SAME if known < self._most else self._threshold
        if alike is not None and alike[nearest] >= least:
            self._sums[nearest] += vector
            self.counts[nearest] += 1
            return nearest
        if known == self._most:
            return self._alone()
        self._make_room(known, len(vector))
        self._vectors[known] = self._sums[known] = vector
        self.counts.append(1)
        return known

    def _make_room(self, used: int, dimension: int) -> None:
        if used == len(self._vectors):
            more = np.zeros((max(256, used), dimension), np.float32)
            self._vectors = np.concatenate([self._vectors, more]) if used else more
            self._sums = np.concatenate([self._sums, more]) if used else more.copy()


def _linked(sums: _Matrix, counts: Sequence[int], threshold: float) -> list[int]:
    """Return for each seed the first of those that are linked with it.

    The mean similarity of two groups is the product of their sums, over the product of their sizes.
    """
    size = np.asarray(counts, np.float32)
    alike = (sums @ sums.T) / np.outer(size, size)
    np.fill_diagonal(alike, -np.inf)
    first = list(range(len(counts)))
    waiting = np.ones(len(counts), bool)
    chain: list[int] = []
    while waiting.any():
        if not chain:
            chain.append(int(waiting.argmax()))
        last = chain[-1]
        nearest = int(alike[last].argmax())
        if alike[last, nearest] < threshold:
            # Nothing that others become can be nearer to it than they are.
            waiting[last] = False
            alike[last] = alike[:, last] = -np.inf
            chain.pop()
            continue
        if len(chain) > 1 and alike[last, chain[-2]] == alike[last, nearest]:
            one, other = sorted((chain.pop(), chain.pop()))
            total = size[one] + size[other]
            joined = (size[one] * alike[one] + size[other] * alike[other]) / total
            joined[one] = -np.inf
            alike[one] = alike[:, one] = joined
            alike[other] = alike[:, other] = -np.inf
            size[one], first[other], waiting[other] = total, one, False
            continue
        chain.append(nearest)
    for seed in range(len(first)):  # what it was linked with comes before it
        first[seed] = first[first[seed]]
    return first
