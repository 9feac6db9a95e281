"""``Admission``: sites first, then limits; what is said to whoever is refused."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from orbit_server.auth.key import Key, Limits
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Admission, redis_limiter, visitor
from orbit_server.config.schema import LimitsConfig
from orbit_server.errors import ConfigError, OriginNotAllowed, TooManyRequests

pytestmark = pytest.mark.anyio

SITE = ("https://town.example",)
NOON = 1_780_056_000.0


class Door:
    """An admission, and what it has told others."""

    def __init__(self, **defaults: Any) -> None:
        self.limiter = MemoryLimiter(clock=lambda: NOON)
        self.counted: Counter[str] = Counter()
        self.refused: list[str] = []
        self.used: Counter[str] = Counter()
        self.admission = Admission(
            LimitsConfig(**defaults),
            limiter=self.limiter,
            count=lambda key: self.counted.update([key.id]),
            using=self.using,
            refused=self.refused.append,
        )

    @contextmanager
    def using(self, key: Key) -> Iterator[None]:
        self.used[key.id] += 1
        yield
        self.used[key.id] -= 1

    async def __call__(self, key: Key, address: str = "192.0.2.1", **headers: str) -> Any:
        return await self.admission.admit(key, address, headers)


def key(origins: tuple[str, ...] = (), **limits: int | None) -> Key:
    now = datetime.now(UTC)
    return Key(
        "key_1",
        "api_xxxx",
        "town",
        "Ann",
        "",
        now,
        None,
        True,
        None,
        None,
        origins,
        Limits(**limits),
    )


async def test_the_configuration_limits_keys_that_say_nothing() -> None:
    """0 in a key is without a limit, whatever the configuration says."""
    door = Door(requests_per_minute=1)
    headers, _ = await door(key())
    assert headers == {
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "60",
    }
    with pytest.raises(TooManyRequests):
        await door(key())
    for _ in range(5):
        assert (await door(key(requests_per_minute=0)))[0] == {}
    assert door.counted == {"key_1": 6}
    assert door.refused == ["requests_per_minute"]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"requests_per_minute": 1}, "Too many questions. Please try again in 60 seconds."),
        ({"visitor_per_minute": 1}, "Too many questions. Please try again in 60 seconds."),
        (
            {"requests_per_day": 1},
            "The questions of today are used up. Please try again tomorrow.",
        ),
        (
            {"streams": 1},
            "Too many questions are being answered. Please try again in a moment.",
        ),
    ],
)
async def test_a_refusal_is_a_sentence_and_headers(limits: dict[str, int], sentence: str) -> None:
    """For people and for programs."""
    door = Door()
    await door(key((), **limits))
    with pytest.raises(TooManyRequests) as refused:
        await door(key((), **limits))
    assert refused.value.body() == {"detail": sentence, "code": "too_many_requests"}
    headers = refused.value.headers()
    assert headers["Retry-After"] == headers["RateLimit-Reset"]
    assert int(headers["Retry-After"]) >= 1
    assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("1", "0")
    assert door.refused == list(limits)


async def test_a_slot_is_given_back_once() -> None:
    """However often it is said."""
    door = Door(streams=2)
    _, leave = await door(key())
    _, other = await door(key())
    leave()
    leave()
    assert door.limiter.taken == {"key_1": 1}
    other()
    assert door.limiter.taken == {}


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({"origin": "https://town.example"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({}, False),
        ({"host": "chat.example"}, False),
        ({"origin": "", "host": ""}, False),
        ({"origin": "http://chat.example:3000", "host": "chat.example:3000"}, True),
        ({"origin": "https://chat.example", "host": "chat.example"}, True),
        ({"origin": "https://chat.example", "host": "other.example"}, False),
        ({"origin": "https://chat.example", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://chat.example", "sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "same-origin"}, False),
    ],
)
async def test_a_key_of_a_site(headers: dict[str, str], admitted: bool) -> None:
    """Pages of the site may use it, and those of this server itself; nobody else may."""
    door = Door(requests_per_minute=1)
    if admitted:
        assert await door(key(SITE), **headers)
        return
    for _ in range(3):
        with pytest.raises(OriginNotAllowed):
            await door(key(SITE), **headers)
    assert door.refused == ["origin"] * 3
    assert (door.counted, door.limiter.taken) == ({}, {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "unix", False),
    ],
)
def test_who_is_one_visitor(one: str, other: str, same: bool) -> None:
    """An IPv4 address, or the /64 that one household has of IPv6."""
    assert (visitor(one) == visitor(other)) is same


def test_redis_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package one sentence says how to get it; in memory nothing needs it."""
    monkeypatch.setitem(sys.modules, "redis", None)
    for name in [name for name in sys.modules if name.startswith("orbit_server.auth.redis")]:
        monkeypatch.delitem(sys.modules, name)
    assert redis_limiter(LimitsConfig(), MemoryLimiter()) is None
    with pytest.raises(ConfigError, match=r"pip install 'orbit-server\[redis\]'"):
        redis_limiter(LimitsConfig(storage="redis://h"), MemoryLimiter())
