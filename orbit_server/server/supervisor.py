"""Several processes that answer on the same sockets, and the one that supervises them."""

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType

from .chroma_child import LocalChroma
from .signals import ECHO_SECONDS
from .terminal import Terminal
from .worker_link import DRAIN, RELOAD, STOP
from .worker_slot import SILENCE_SECONDS, START_SECONDS, Work, WorkerSlot

logger = logging.getLogger(__name__)

_TICK = 0.2
_STOP_SECONDS = 20.0


class Supervisor:
    """Keeps ``number`` workers running, and Chroma with them, until a signal stops it.

    A new worker runs what ``work()`` returns, with its number, its end of the channel and
    ``sockets``, in a new process; one that ends or falls silent is replaced. SIGTERM and SIGINT let
    answers finish for ``drain`` seconds, a second one ends them at once; SIGHUP is passed on, and
    calls ``reload`` here, unless the terminal is gone: then it stops. ``ready`` is called when all
    answer for the first time, ``alive`` several times a second, ``stopping`` when the end begins.
    """

    def __init__(
        self,
        number: int,
        work: Callable[[], Work],
        sockets: Sequence[socket.socket],
        *,
        chroma: LocalChroma | None,
        drain: float,
        ready: Callable[[], None],
        alive: Callable[[], None],
        stopping: Callable[[], None],
        reload: Callable[[], None],
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._work = work
        self._sockets = sockets
        self._chroma = chroma
        self._drain = drain
        self._ready = ready
        self._alive = alive
        self._stopping = stopping
        self._reload = reload
        self._slots = [
            WorkerSlot(each, silence_seconds=silence_seconds) for each in range(1, number + 1)
        ]
        self._stops: list[int] = []  # the signals that asked for it
        self._stopped_at = 0.0
        self._outdated = False

    def run(self) -> int:
        """Work until a signal comes or the first start fails; return the exit code.

        0: asked to stop, and all was finished. 128 and the signal: asked twice. 1: a worker did not
        end well, or not in time. Else the code of a worker that could not start, and has said why.
        """
        with self._caught_signals():
            try:
                return self._start() or self._watch() or self._stop()
            finally:
                for slot in self._slots:
                    slot.kill()

    def _start(self) -> int:
        """Start one worker, which may fail for all of them, and then the others."""
        deadline = time.monotonic() + START_SECONDS
        for waited_for in (self._slots[:1], self._slots):
            for slot in waited_for:
                try:
                    slot.start(self._work(), self._sockets)
                except OSError as error:
                    logger.error("worker %d cannot be started: %s", slot.number, error)
                    return 1
            while not all(slot.ready for slot in waited_for):
                self._receive()
                if self._stops:
                    return 0
                for slot in waited_for:
                    if not slot.running:
                        return slot.failed()
                if time.monotonic() > deadline:
                    logger.error("the workers did not start within %d seconds", START_SECONDS)
                    return 1
        self._ready()
        return 0

    def _watch(self) -> int:
        answering = time.monotonic()
        while not self._stops:
            self._receive()
            if self._outdated:
                self._outdated = False
                self._reload()
                self._send(RELOAD)
            for slot in self._slots:
                slot.keep_running(self._work, self._sockets)
            if self._chroma is not None:
                self._chroma.keep_running()
            self._alive()
            if any(slot.ready and slot.running for slot in self._slots):
                answering = time.monotonic()
            elif time.monotonic() - answering > START_SECONDS:
                # Better no server than one that takes connections and never answers.
                logger.error("no worker can be started any more")
                return 1
        return 0

    def _stop(self) -> int:
        self._stopping()
        # Here too, or the kernel would go on to accept connections that nobody serves.
        for listener in self._sockets:
            listener.close()
        working = [slot for slot in self._slots if slot.running]
        self._send(DRAIN)
        deadline = time.monotonic() + self._drain + _STOP_SECONDS
        forced_by = 0
        while any(slot.running for slot in working):
            self._receive()
            self._alive()
            if len(self._stops) > 1 and not forced_by:
                forced_by = self._stops[-1]
                self._send(STOP)
                deadline = time.monotonic() + _STOP_SECONDS
            if time.monotonic() > deadline:
                logger.error("not all workers ended in time; they are killed")
                return 1
        return 128 + forced_by if forced_by else int(any(slot.code for slot in working))

    def _receive(self) -> None:
        """Read what workers send, for a moment at most."""
        for readable in wait([slot.channel for slot in self._slots if slot.channel], _TICK):
            for slot in self._slots:
                if slot.channel is readable:
                    slot.receive()

    def _send(self, order: bytes) -> None:
        for slot in self._slots:
            slot.send(order)

    @contextmanager
    def _caught_signals(self) -> Iterator[None]:
        terminal = Terminal()

        def caught(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGHUP and (self._stops or not terminal.gone()):
                self._outdated = True
                return
            now = time.monotonic()
            if now - self._stopped_at > ECHO_SECONDS:
                self._stops.append(number)
                self._stopped_at = now

        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in handled:
            signal.signal(number, caught)
        try:
            yield
        finally:
            for number in handled:  # too late to change the exit code
                signal.signal(number, signal.SIG_IGN)
