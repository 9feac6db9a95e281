"""When a host gets work: out after failures in a row, back after a trial that succeeded."""

import random
import time
from collections.abc import Callable

_DOUBT = 5.0  # seconds for which others come first, after one failure


class Circuit:
    """Whether a host is asked: out after ``limit`` failures in a row, or one that took long.

    While it is out, it is tried after ``first_pause`` seconds, then after pauses each twice as long
    as the one before, ``longest_pause`` at most; each is half to one and a half of that, so that
    many servers do not try one host in the same moment. ``failures`` counts those in a row.
    """

    def __init__(
        self,
        *,
        limit: int = 3,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.is_out = False
        self.failures = 0
        self.next_trial = 0.0
        self._limit, self._clock, self._jitter = limit, clock, jitter
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._pause = first_pause
        self._doubtful_until = clock()

    @property
    def is_doubtful(self) -> bool:
        """Whether a call has failed a moment ago, so that other hosts are better asked first."""
        return self._clock() < self._doubtful_until

    def doubt(self) -> None:
        """Note that a call went wrong, which says little about the host."""
        self._doubtful_until = self._clock() + _DOUBT

    def failed(self, *, silent: bool = False) -> bool:
        """Count a call that failed; ``silent``: it cost its whole limit of time. True: now out."""
        self.doubt()
        self.failures += 1
        if self.is_out or not (silent or self.failures >= self._limit):
            return False
        self.is_out = True
        self._wait()
        return True

    def trial_failed(self) -> None:
        """Note that the host has failed its trial; the next one comes later."""
        self._wait()

    def succeeded(self) -> bool:
        """Note that a call or a trial succeeded. True: the host is back."""
        was_out, self.is_out = self.is_out, False
        self.failures, self._pause = 0, self._first_pause
        self._doubtful_until = self._clock()
        return was_out

    def _wait(self) -> None:
        self.next_trial = self._clock() + self._pause * self._jitter(0.5, 1.5)
        self._pause = min(2 * self._pause, self._longest_pause)
