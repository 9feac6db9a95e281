"""How a supervisor and its workers talk: orders and heartbeats over a pair of sockets.

The supervisor sends single bytes: ``DRAIN`` (finish what is under way), ``STOP`` (at once),
``RELOAD``; the worker sends ``READY`` once and ``BEAT`` every second from its event loop. When one
side is gone, the other reads the end of the stream. Signals are no part of this, so one that
reaches a whole group of processes has no effect twice.
"""

import asyncio
import pickle
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import reduction
from typing import Any

DRAIN, STOP, RELOAD = b"d", b"s", b"r"
READY, BEAT = b"R", b"."


class Parent:
    """A worker's end of the ``channel`` to its supervisor."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.setblocking(False)

    def follow(self, orders: Mapping[bytes, Callable[[], None]]) -> None:
        """Call, in the running loop, the function of each order; ``STOP`` when the parent ends."""

        def receive() -> None:
            try:
                received = self._channel.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            if not received:
                loop.remove_reader(self._channel)
                received = STOP
            for order in (received[at : at + 1] for at in range(len(received))):
                orders[order]()

        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, receive)

    def send(self, message: bytes) -> None:
        """Send ``message``, best effort: a missed heartbeat is followed by the next."""
        with suppress(OSError):
            self._channel.send(message)


class PickledFile:
    """Hand a pickled object of any size to a spawned process through a file.

    There, it is the object itself. Python writes what a new process is given into a pipe, and keeps
    the other end of it open: when the process dies before it has read more than the pipe holds, its
    parent waits for ever.
    """

    def __init__(self, content: object) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open until it is handed over
        pickle.dump(content, self._file)
        self._file.flush()

    def close(self) -> None:
        """Close this process's descriptor."""
        self._file.close()

    def __reduce__(self) -> tuple[Callable[[Any], object], tuple[Any]]:
        return _unpickled, (reduction.DupFd(self._file.fileno()),)


def _unpickled(handle: Any) -> object:
    with open(handle.detach(), "rb") as file:  # noqa: PTH123 - a descriptor
        file.seek(0)
        return pickle.load(file)  # noqa: S301 - from our own parent
