"""Verified keys in memory, for a short time, and until any key is revoked."""

from collections.abc import Callable

from .key import Key


class KeyCache:
    """The last ``most`` keys that were verified, by hash, each until a time of the ``clock``.

    ``generation`` counts how often all was forgotten: what was read before a revocation in this
    process must not be remembered after it.
    """

    def __init__(self, *, most: int, clock: Callable[[], float]) -> None:
        self.generation = 0
        self._most = most
        self._clock = clock
        self._keys: dict[str, tuple[float, Key]] = {}  # the one that was used last is last

    def get(self, digest: str) -> tuple[float, Key] | None:
        """Return until when the key is remembered, and the key."""
        found = self._keys.pop(digest, None)
        if found is None or self._clock() >= found[0]:
            return None
        self._keys[digest] = found
        return found

    def put(self, digest: str, key: Key, *, until: float, generation: int) -> None:
        """Remember ``key``, as read in ``generation``."""
        if generation != self.generation:
            return
        self._keys.pop(digest, None)
        self._keys[digest] = until, key
        now = self._clock()
        while self._keys:
            oldest = next(iter(self._keys))
            if len(self._keys) <= self._most and now < self._keys[oldest][0]:
                break
            del self._keys[oldest]

    def clear(self) -> None:
        """Forget every key."""
        self.generation += 1
        self._keys.clear()
