"""Verified keys in memory: how long, how many, and not beyond a revocation."""

from datetime import UTC, datetime

import pytest

from orbit_server.auth.key import Key
from orbit_server.auth.key_cache import KeyCache

from ..support.timing import Clock

KEY = Key(
    id="a1",
    prefix="orbit_abcd",
    collection="town",
    client_name="Ann",
    notes="",
    created_at=datetime(2026, 3, 1, tzinfo=UTC),
    expires_at=None,
    active=True,
    last_used_at=None,
    stream_format=None,
)


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


def test_a_key_is_remembered_until_its_time(clock: Clock) -> None:
    """And not a moment longer."""
    cache = KeyCache(most=10, clock=clock)
    cache.put("digest", KEY, until=101.0, generation=0)
    clock.now = 100.999
    assert cache.get("digest") == (101.0, KEY)
    clock.now = 101.0
    assert cache.get("digest") is None
    clock.now = 100.0
    assert cache.get("digest") is None, "what has ended does not come back"


def test_what_was_late_is_not_remembered(clock: Clock) -> None:
    """Reading the database may take longer than a key is remembered."""
    cache = KeyCache(most=10, clock=clock)
    cache.put("digest", KEY, until=99.0, generation=0)
    assert cache.get("digest") is None


def test_the_key_that_was_not_used_for_longest_makes_room(clock: Clock) -> None:
    """Being looked up is a use."""
    cache = KeyCache(most=2, clock=clock)
    cache.put("one", KEY, until=200.0, generation=0)
    cache.put("two", KEY, until=200.0, generation=0)
    assert cache.get("one")
    cache.put("three", KEY, until=200.0, generation=0)
    assert cache.get("two") is None
    assert cache.get("one")
    assert cache.get("three")


def test_what_was_read_before_a_revocation_is_not_remembered_after_it(clock: Clock) -> None:
    """The row may have changed while it was on its way."""
    cache = KeyCache(most=10, clock=clock)
    cache.put("known", KEY, until=200.0, generation=0)
    before = cache.generation
    cache.clear()
    assert cache.get("known") is None
    cache.put("late", KEY, until=200.0, generation=before)
    assert cache.get("late") is None
    cache.put("read again", KEY, until=200.0, generation=cache.generation)
    assert cache.get("read again")
