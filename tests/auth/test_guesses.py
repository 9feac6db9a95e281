"""Wrong keys: when the database is asked, and who is refused."""

from datetime import UTC, datetime

import pytest

from orbit_server.auth.guesses import Guesses
from orbit_server.auth.key import Key
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.errors import KeysUnavailable, TooManyRequests

pytestmark = pytest.mark.anyio

ANN = Key("key_1", "api_right"[:8], "town", "Ann", "", datetime.now(UTC), None, True, None, None)


class Store:
    """Knows one key, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.remembered: set[str] = set()
        self.refused: list[str] = []

    async def verify(self, secret: str | None) -> Key | None:
        self.asked.append(secret)
        if secret == "down":
            raise KeysUnavailable
        return ANN if secret in ("right", None) else None

    async def known(self, secret: str) -> bool:
        return secret == "right"

    def guesses(self, most: int) -> Guesses:
        return Guesses(
            self.verify,
            remembered=lambda secret: secret in self.remembered,
            known=self.known,
            limiter=MemoryLimiter(),
            most=most,
            refused=self.refused.append,
        )


async def test_after_too_many_only_right_keys_are_looked_up() -> None:
    """From that address; a request without a key is nobody's guess."""
    store = Store()
    guesses = store.guesses(2)
    for secret in ("a", "b"):
        assert await guesses.verify(secret, "192.0.2.1") is None
    for secret in ("c", "d"):
        with pytest.raises(TooManyRequests, match="wrong API keys"):
            await guesses.verify(secret, "192.0.2.1")
    assert await guesses.verify("right", "192.0.2.1") is ANN
    assert await guesses.verify(None, "192.0.2.1") is ANN
    assert await guesses.verify("e", "192.0.2.2") is None
    assert store.asked == ["a", "b", "right", None, "e"]
    assert store.refused == ["wrong_keys"] * 2


async def test_zero_counts_nothing() -> None:
    """And every key is looked up."""
    store = Store()
    guesses = store.guesses(0)
    for _ in range(50):
        assert await guesses.verify("a", "192.0.2.1") is None
    assert len(store.asked) == 50


async def test_an_outage_is_no_wrong_key() -> None:
    """It passes through, and nobody is slowed for it."""
    store = Store()
    guesses = store.guesses(1)
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            await guesses.verify("down", "192.0.2.1")
    assert await guesses.verify("a", "192.0.2.1") is None


async def test_a_remembered_key_is_not_counted_at_all() -> None:
    """The way of almost every request."""
    store = Store()
    store.remembered.add("right")
    guesses = store.guesses(1)
    guesses._limiter = None  # type: ignore[assignment]
    assert await guesses.verify("right", "192.0.2.1") is ANN
