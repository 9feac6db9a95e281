"""Leave out an optional step that keeps timing out, so that not every question waits for it."""

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Pause:
    """Whether ``step`` is left out for now: for ``seconds`` after ``limit`` timeouts in a row.

    After a pause the step is tried again, and one more timeout is the next pause. The log says when
    a pause begins and when the step works again.
    """

    def __init__(
        self,
        step: str,
        *,
        limit: int = 3,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._step, self._limit, self._seconds, self._clock = step, limit, seconds, clock
        self._timeouts = 0
        self._until = clock()

    def is_active(self) -> bool:
        """Whether the step is to be left out."""
        return self._clock() < self._until

    def note(self, *, timed_out: bool) -> None:
        """Count how the step ended."""
        if not timed_out:
            if self._timeouts >= self._limit:
                logger.warning("%s works again", self._step)
            self._timeouts = 0
            return
        self._timeouts += 1
        if self._timeouts >= self._limit and not self.is_active():
            self._until = self._clock() + self._seconds
            logger.warning(
                "%s is skipped for %g s, because it timed out %d times in a row",
                *(self._step, self._seconds, self._timeouts),
            )
