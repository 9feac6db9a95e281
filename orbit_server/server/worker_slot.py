"""One worker of several: its process, its restarts, and its end of the channel."""

import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from typing import cast

from .worker_link import READY, PickledFile

logger = logging.getLogger(__name__)

START_SECONDS = 120.0
SILENCE_SECONDS = 30.0
_STEADY_SECONDS = 30.0
_LONGEST_PAUSE = 30.0
_FOR_THE_PARENT = {signal.SIGINT, signal.SIGHUP}
# A new process instead of a copy of this one, which has threads and open connections.
_SPAWN = multiprocessing.get_context("spawn")

Work = Callable[[int, socket.socket, Sequence[socket.socket]], None]


class WorkerSlot:
    """A worker slot: its process and its restarts, with growing back-off.

    A worker that sends nothing for ``silence_seconds`` is killed and replaced.
    """

    def __init__(self, number: int, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self.number = number
        self.ready = False
        self.channel: socket.socket | None = None
        self._silence_seconds = silence_seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._began = 0.0
        self._heard = 0.0
        self._restart_at = 0.0
        self._pause = 0.0

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def code(self) -> int | None:
        """The exit code of its process, below zero for a signal; ``None`` while it runs."""
        return self._process.exitcode if self._process else None

    def start(self, work: Work, sockets: Sequence[socket.socket]) -> None:
        """Run ``work`` in a new process unless one runs; ``OSError`` when that cannot be."""
        if self.running:
            return
        self.ready = False
        self._close()
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        handed_over = PickledFile(work)
        self._process = _SPAWN.Process(
            target=cast(Work, handed_over), args=(self.number, theirs, sockets)
        )
        # A worker follows its parent alone, at every moment of its life: it inherits these signals
        # blocked. One that comes here meanwhile is delivered afterwards.
        signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
        try:
            with theirs:
                resource_tracker.ensure_running()  # which lets SIGINT through when it returns
                signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
                self._process.start()
        finally:
            handed_over.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_THE_PARENT)
        self._began = self._heard = time.monotonic()

    def keep_running(self, work: Callable[[], Work], sockets: Sequence[socket.socket]) -> None:
        """Restart a worker that has ended or does not answer, when it is time for it."""
        now = time.monotonic()
        patience = self._silence_seconds if self.ready else START_SECONDS
        if self.running and now - self._heard > patience:
            logger.error("worker %d (%s) does not answer and is killed", self.number, self._pid)
            self.kill()
        if self.running:
            return
        if self._restart_at == 0.0:
            # One that worked for a while is replaced at once, others after a longer and longer one.
            steady = self.ready and now - self._began > _STEADY_SECONDS
            self._pause = 0.0 if steady else min(max(1.0, self._pause * 2), _LONGEST_PAUSE)
            self._restart_at = now + self._pause
            logger.error("worker %d (%s) ended with %s", self.number, self._pid, self.code)
        if now >= self._restart_at:
            self._restart_at = 0.0
            try:
                self.start(work(), sockets)
            except OSError as error:  # too many processes or files, no memory: it may pass
                self.ready = False
                logger.error("worker %d cannot be started: %s", self.number, error)
            else:
                logger.info("worker %d is started again (%s)", self.number, self._pid)

    def failed(self) -> int:
        """Return the exit code of a first start that did not succeed.

        A worker that ends by itself has said why; one that was ended from outside has not.
        """
        code = self.code or 0
        if code <= 0:
            logger.error("worker %d (%s) ended with %d", self.number, self._pid, code)
        return code if code > 0 else 1

    def receive(self) -> None:
        """Read what the worker has sent."""
        received = b""
        if self.channel is not None:
            try:
                received = self.channel.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                received = b""
        if not received:  # it is gone, or will be in a moment
            self._close()
            return
        self._heard = time.monotonic()
        if READY in received:
            self.ready = True

    def send(self, order: bytes) -> None:
        """Send ``order`` to the worker, if it runs."""
        if self.channel is not None:
            try:
                self.channel.send(order)
            except OSError:  # it is gone, or so full of orders that it will not read this one
                logger.debug("worker %d (%s) did not get %r", self.number, self._pid, order)

    def kill(self) -> None:
        """End its process at once."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._close()

    def _close(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    @property
    def _pid(self) -> int | None:
        return self._process.pid if self._process else None
