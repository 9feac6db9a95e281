"""What the tests of all limiters need: requests to be counted."""

from dataclasses import replace
from typing import Any

from orbit_server.auth.key import Limits
from orbit_server.auth.limits import Use

NONE = Limits(0, 0, 0, 0)


def use(key: str = "key_1", visitor: str = "192.0.2.1", used: int = 0, **limits: Any) -> Use:
    """Return a request that has no other limits than those that are named."""
    return Use(key, visitor, replace(NONE, **limits), used)
