"""What the tests of all limiters need: a clock, and requests to be counted."""

from dataclasses import replace
from typing import Any

from orbit_server.auth.key import Limits
from orbit_server.auth.limits import Use

NOON = 1_780_056_000.0  # some day at 12:00 UTC
NONE = Limits(0, 0, 0, 0)


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def use(key: str = "key_1", visitor: str = "192.0.2.1", used: int = 0, **limits: Any) -> Use:
    """Return a request that has no other limits than those that are named."""
    return Use(key, visitor, replace(NONE, **limits), used)
