"""Verified keys in memory, for a short time, and until any key is revoked."""

from collections.abc import Callable

from cachetools import TLRUCache

from .key import Key


class KeyCache:
    """The last ``most`` keys that were verified, by hash, each until a time of the ``clock``.

    ``generation`` counts how often all was forgotten: what was read before a revocation in this
    process must not be remembered after it.
    """

    def __init__(self, *, most: int, clock: Callable[[], float]) -> None:
        self.generation = 0
        self._keys: TLRUCache[str, tuple[float, Key]] = TLRUCache(
            most, ttu=lambda digest, entry, now: entry[0], timer=clock
        )

    def get(self, digest: str) -> tuple[float, Key] | None:
        """Return until when the key is remembered, and the key."""
        return self._keys.get(digest)

    def put(self, digest: str, key: Key, *, until: float, generation: int) -> None:
        """Remember ``key``, as read in ``generation``."""
        if generation == self.generation:
            self._keys[digest] = until, key

    def clear(self) -> None:
        """Forget every key."""
        self.generation += 1
        self._keys.clear()
