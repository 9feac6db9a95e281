"""Does the model answer? A model can be installed and fail with every question."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..errors import ModelBusy, ModelError, OrbitError

Test = Callable[[], Awaitable[Mapping[str, Any] | None]]


class AnswersCheck:
    """Count how many answers in a row ended with a failure of the model.

    After ``most`` of them it counts as broken, until an answer is complete or nobody has asked for
    ``forget_seconds``. A model that is only busy does not count.
    """

    def __init__(
        self,
        *,
        most: int = 3,
        forget_seconds: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._forget_seconds, self._now = most, forget_seconds, now
        self._failures = 0
        self._last = float("-inf")

    def note(self, error: OrbitError | None) -> None:
        """Count an answer that ended with ``error``, or was complete."""
        if error is None:
            self._failures = 0
        elif isinstance(error, ModelError) and not isinstance(error, ModelBusy):
            self._failures += 1
            self._last = self._now()

    def after(self, test: Test) -> Test:
        """Return a health check that fails when ``test`` does, or when answers fail."""

        async def check() -> Mapping[str, Any] | None:
            found = await test() or {}
            lately = self._now() - self._last < self._forget_seconds
            if "status" not in found and lately and self._failures >= self._most:
                return {**found, "status": "error", "error": "answers fail"}
            return found

        return check
