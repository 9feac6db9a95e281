"""Wrong keys: when the database is asked, and who is refused."""

import asyncio
from datetime import UTC, datetime

import pytest

from orbit_server.auth.guesses import Guesses
from orbit_server.auth.key import Key
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Verdict
from orbit_server.errors import KeysUnavailable, TooManyRequests

pytestmark = pytest.mark.anyio

ANN = Key("key_1", "api_right"[:8], "town", "Ann", "", datetime.now(UTC), None, True, None, None)


class Store:
    """Knows one key, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.remembered: set[str] = set()
        self.refused: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def verify(self, secret: str | None) -> Key | None:
        self.asked.append(secret)
        await self.answers.wait()
        if secret == "down":
            raise KeysUnavailable
        return ANN if secret in ("right", None) else None

    async def verify_admin(self, token: str | None) -> str | None:
        return "admin" if token == "admin token" else None

    async def known(self, secret: str) -> bool:
        return secret == "right"

    def guesses(self, most: int) -> Guesses:
        return Guesses(
            self.verify,
            self.verify_admin,
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


async def test_a_burst_does_not_get_past_the_limit() -> None:
    """While the first are looked up, the others are refused, unless they are right."""
    store = Store()
    store.answers.clear()
    guesses = store.guesses(3)
    tried = ["right", *map(str, range(50)), *["right"] * 5]
    asked = [asyncio.create_task(guesses.verify(each, "192.0.2.1")) for each in tried]
    other = asyncio.create_task(guesses.verify("a", "192.0.2.2"))
    await asyncio.sleep(0.01)
    store.answers.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert await other is None
    assert sorted(store.asked) == ["0", "1", "a", *["right"] * 6]  # type: ignore[type-var]
    assert [found[0], *found[-5:]] == [ANN] * 6
    assert found[1:3] == [None, None]
    assert {type(each) for each in found[3:-5]} == {TooManyRequests}
    assert store.refused == ["wrong_keys"] * 48
    assert await guesses.verify("b", "192.0.2.1") is None  # the right one took no place for long
    with pytest.raises(TooManyRequests):
        await guesses.verify("c", "192.0.2.1")


async def test_wrong_admin_tokens_are_slowed_like_wrong_keys() -> None:
    """From their address; the right one works on, and a request without one is nobody's guess."""
    store = Store()
    guesses = store.guesses(2)
    for token in ("a", "b", None, None):
        assert await guesses.verify_admin(token, "192.0.2.1") is None
    for token in ("c", "d"):
        with pytest.raises(TooManyRequests):
            await guesses.verify_admin(token, "192.0.2.1")
    with pytest.raises(TooManyRequests):
        await guesses.verify("e", "192.0.2.1")
    assert await guesses.verify_admin("admin token", "192.0.2.1") == "admin"
    assert await guesses.verify_admin("e", "192.0.2.2") is None
    assert store.refused == ["wrong_keys"] * 3
    assert await store.guesses(0).verify_admin("a", "192.0.2.1") is None


async def test_a_limiter_that_cannot_count_refuses_nobody() -> None:
    """As the shared one says when its process is gone."""

    class Gone(MemoryLimiter):
        async def guess(self, address: str, most: int, *, wrong: bool) -> Verdict:
            return Verdict(None)

    store = Store()
    guesses = store.guesses(1)
    guesses._limiter = Gone()
    for _ in range(5):
        assert await guesses.verify("a", "192.0.2.1") is None
        assert await guesses.verify_admin("a", "192.0.2.1") is None
