"""What signals mean to a serving process, at any moment of its life."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from .terminal import Terminal

# timeout(1) and some shells signal a process and then its group: that is one signal, not two.
ECHO_SECONDS = 0.1
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stoppable(Protocol):
    """A server that signals are passed on to."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None: ...
    def stop_now(self) -> None: ...
    def reload(self) -> None: ...


class Signals:
    """Stops and reloads a process when a signal, or its parent, says so.

    Before there is a server, a stop cancels the current task, and a reload is put off. While it
    serves, the server is called. Afterwards a stop is a second one: the closing of the services is
    not waited for.
    """

    def __init__(self) -> None:
        self.cancelled_by: int | None = None
        self.served = False
        self._server: Stoppable | None = None
        self._outdated = False
        self._hung_up = False
        self._terminal = Terminal()
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def handled_by(self, server: Stoppable) -> Iterator[None]:
        """Pass everything on to ``server`` while the block lasts."""
        self._server, self.served = server, True
        if self._outdated:
            server.reload()
        try:
            yield
        finally:
            self._server = None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop, when what is under way is finished; a signal handler may call it."""
        if self._server is not None:
            self._server.handle_exit(number, None)
        else:
            self._loop.call_soon_threadsafe(self._give_up, number)

    def _give_up(self, number: int) -> None:
        if self._server is not None:  # by now
            self._server.handle_exit(number, None)
        elif self._task is not None:
            self.cancelled_by = number
            self._task.cancel()

    def stop_now(self) -> None:
        """Stop at once."""
        if self._server is not None:
            self._server.stop_now()
        else:
            self.stop()

    def reload(self) -> None:
        """Reload the configuration."""
        self._outdated = True
        if self._server is not None:
            self._server.reload()

    def hang_up(self) -> None:
        """Reload the configuration, or stop where the terminal is gone; at most one stop."""
        if not self._terminal.gone():
            self.reload()
        elif not self._hung_up:
            self._hung_up = True
            self.stop(signal.SIGHUP)


@contextlib.contextmanager
def caught_signals() -> Iterator[Signals]:
    """Handle signals while the block lasts; yields what handles them, for others to call."""
    signals = Signals()
    loop = asyncio.get_running_loop()

    def caught(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            loop.call_soon_threadsafe(signals.hang_up)
        else:
            signals.stop(number)

    for number in _HANDLED:
        signal.signal(number, caught)
    try:
        yield signals
    finally:
        # What comes now is too late to change anything, least of all the exit code.
        for number in _HANDLED:
            signal.signal(number, signal.SIG_IGN)
