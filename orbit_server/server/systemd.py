"""Notify systemd of the server's state: ready, stopping, still alive.

The protocol is one datagram to the socket that ``NOTIFY_SOCKET`` names; see sd_notify(3).
"""

import contextlib
import os
import socket
import time


class SystemdNotifier:
    """Notifies the service manager that started this process, if one did.

    The variables are taken out of the environment: no child shall speak for this process.
    """

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        process = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        ours = microseconds.isdecimal() and process == str(os.getpid())
        # Half of the time after which the manager takes the process for dead.
        self._interval = int(microseconds) / 2_000_000 if ours else None
        self._due = 0.0
        self._ready = False

    def notify(self, state: str) -> None:
        """Send ``state``, lines such as ``READY=1``; a manager that is gone is no error."""
        self._ready = self._ready or state == "READY=1"
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # Linux's abstract namespace
            address = "\0" + address[1:]
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(state.encode(), address)

    def alive(self) -> None:
        """Feed the watchdog, once all is ready; call this at least once a second."""
        if self._ready and self._interval is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._interval
            self.notify("WATCHDOG=1")
