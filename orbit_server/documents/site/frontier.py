"""Which addresses a walk has yet to visit: each once, within bounds, and none out of a trap."""

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

from .address import pattern, trap


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a crawl goes: addresses, links from the start, seconds, pages of one kind."""

    pages: int = 5000
    depth: int = 12
    seconds: float = 4 * 3600
    alike: int = 1000  # paths that differ in numbers only
    queries: int = 100  # of one path


class Entry(NamedTuple):
    """One address, and how the walk came to it."""

    address: str
    depth: int = 0
    trail: tuple[str, ...] = ()  # of redirects
    canonical: bool = True  # whether the page may say that it is another one


class Frontier:
    """The addresses that wait, in the order in which they were found; its time runs from now on.

    ``visited`` is how many were taken, ``bounds_hit`` says in a sentence each what stopped it
    early, and ``left`` which addresses were not let in, and why.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._end = time.monotonic() + bounds.seconds
        self._queue: deque[Entry] = deque()
        self._seen: set[str] = set()
        self._kinds: Counter[tuple[str, bool]] = Counter()
        self.visited = 0
        self.bounds_hit: list[str] = []
        self.left: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, entry: Entry, *, linked: bool = False) -> bool:
        """Let an address in unless it was before, or is in a trap; whether it is new."""
        if entry.address in self._seen:
            return False
        if linked and (reason := self._trap(entry)):
            self.left[entry.address] = reason
            return False
        self._seen.add(entry.address)
        self._queue.append(entry)
        return True

    def add_again(self, entry: Entry) -> None:
        """Let an address in that was there before."""
        self._queue.append(entry)

    def take(self) -> Entry | None:
        """Return what is to be visited next, ``None`` if there is nothing within the bounds."""
        if not self._queue:
            return None
        if self.visited >= self._bounds.pages:
            self.stop(f"{self._bounds.pages} addresses were visited, and there are more.")
        elif time.monotonic() > self._end:
            self.stop(f"it took {self._bounds.seconds / 60:.0f} minutes, and there is more.")
        if self.bounds_hit:
            return None
        self.visited += 1
        return self._queue.popleft()

    def stop(self, reason: str) -> None:
        """Let nothing out any more; ``reason`` is a sentence."""
        if reason not in self.bounds_hit:
            self.bounds_hit.append(reason)
        self._queue.clear()

    def _trap(self, entry: Entry) -> str | None:
        if entry.depth > self._bounds.depth:
            return f"more than {self._bounds.depth} links separate it from the start"
        if reason := trap(entry.address):
            return reason
        kind = pattern(entry.address)
        most = self._bounds.queries if kind[1] else self._bounds.alike
        if self._kinds[kind] >= most:
            return f"there are more than {most} addresses like it"
        self._kinds[kind] += 1
        return None
