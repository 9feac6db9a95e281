"""The terminal that a process was started on, and whether it has been closed."""

import os
import signal
from types import FrameType


class Terminal:
    """The terminal that this process was started on, if any; with ``nohup``, none."""

    def __init__(self) -> None:
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._ours = not ignored and _has_terminal()

    def gone(self) -> bool:
        """Return whether it has been closed: then SIGHUP asks to stop, and not to reload."""
        return self._ours and not _has_terminal()

    def exit_if_gone(self, number: int, frame: FrameType | None) -> None:
        """Handle a SIGHUP that comes before anything has begun."""
        if self.gone():
            raise SystemExit(0)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
