"""Several processes that answer on the same sockets, and the one that looks after them.

A worker and its parent share a pair of sockets. The parent sends single bytes: ``DRAIN`` (finish
what is under way), ``STOP`` (at once), ``RELOAD``; the worker says ``READY`` once and ``BEAT``
every second from its event loop. When one side is gone, the other reads the end of the stream.
Signals are no part of this, so one that reaches a whole group of processes says nothing twice.
"""

import asyncio
import logging
import multiprocessing
import pickle
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import reduction, resource_tracker
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, cast

from .chroma_child import LocalChroma

logger = logging.getLogger(__name__)

DRAIN, STOP, RELOAD = b"d", b"s", b"r"
READY, BEAT = b"R", b"."

Work = Callable[[int, socket.socket, Sequence[socket.socket]], None]

# timeout(1) and some shells signal a process and then its group: that is one signal, not two.
ECHO_SECONDS = 0.1
_TICK = 0.2
_SILENCE_SECONDS = 30.0
_STOP_SECONDS = 20.0
_START_SECONDS = 120.0
_STEADY_SECONDS = 30.0
_LONGEST_PAUSE = 30.0
_FOR_THE_PARENT = {signal.SIGINT, signal.SIGHUP}
# A new process instead of a copy of this one, which has threads and open connections.
_SPAWN = multiprocessing.get_context("spawn")


class Workers:
    """Keeps ``number`` workers running, and Chroma with them, until a signal says to stop.

    A new worker runs what ``work()`` returns, with its number, its end of the pair and ``sockets``,
    in a new process; one that ends or falls silent is replaced. SIGTERM and SIGINT let answers
    finish for ``drain`` seconds, a second one ends them at once; SIGHUP is passed on, and calls
    ``reload`` here. ``ready`` is called when all answer for the first time, ``alive`` all the time,
    ``stopping`` when the end begins.
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
    ) -> None:
        self._work = work
        self._sockets = sockets
        self._chroma = chroma
        self._drain = drain
        self._ready = ready
        self._alive = alive
        self._stopping = stopping
        self._reload = reload
        self._places = [_Place(place) for place in range(1, number + 1)]
        self._asked: list[int] = []
        self._asked_at = 0.0
        self._hung_up = False

    def run(self) -> int:
        """Work until a signal comes or the first start fails; return the exit code.

        0: asked to stop, and all was finished. 128 and the signal: asked twice. 1: a worker did not
        end well, or not in time. Else the code of a worker that could not start, and has said why.
        """
        with self._caught_signals():
            try:
                return self._start() or self._watch() or self._stop()
            finally:
                for place in self._places:
                    place.kill()

    def _start(self) -> int:
        """Start one worker, which may fail for all of them, and then the others."""
        deadline = time.monotonic() + _START_SECONDS
        for waited_for in (self._places[:1], self._places):
            for place in waited_for:
                try:
                    place.start(self._work(), self._sockets)
                except OSError as error:
                    logger.error("worker %d cannot be started: %s", place.number, error)
                    return 1
            while not all(place.ready for place in waited_for):
                self._listen()
                if self._asked:
                    return 0
                for place in waited_for:
                    if not place.running:
                        return place.failed()
                if time.monotonic() > deadline:
                    logger.error("the workers did not start within %d seconds", _START_SECONDS)
                    return 1
        self._ready()
        return 0

    def _watch(self) -> int:
        answering = time.monotonic()
        while not self._asked:
            self._listen()
            if self._hung_up:
                self._hung_up = False
                self._reload()
                self._tell(RELOAD)
            for place in self._places:
                place.keep_running(self._work, self._sockets)
            if self._chroma is not None:
                self._chroma.keep_running()
            self._alive()
            if any(place.ready and place.running for place in self._places):
                answering = time.monotonic()
            elif time.monotonic() - answering > _START_SECONDS:
                # Better no server than one that takes connections and never answers.
                logger.error("no worker can be started any more")
                return 1
        return 0

    def _stop(self) -> int:
        self._stopping()
        # Here too, or the kernel would go on to accept connections that nobody serves.
        for listener in self._sockets:
            listener.close()
        working = [place for place in self._places if place.running]
        self._tell(DRAIN)
        deadline = time.monotonic() + self._drain + _STOP_SECONDS
        hurried = 0
        while any(place.running for place in working):
            self._listen()
            self._alive()
            if len(self._asked) > 1 and not hurried:
                hurried = self._asked[-1]
                self._tell(STOP)
                deadline = time.monotonic() + _STOP_SECONDS
            if time.monotonic() > deadline:
                logger.error("not all workers ended in time; they are killed")
                return 1
        return 128 + hurried if hurried else int(any(place.code for place in working))

    def _listen(self) -> None:
        """Hear what workers say, for a moment at most."""
        for heard in wait([place.pair for place in self._places if place.pair], _TICK):
            for place in self._places:
                if place.pair is heard:
                    place.hear()

    def _tell(self, order: bytes) -> None:
        for place in self._places:
            place.tell(order)

    @contextmanager
    def _caught_signals(self) -> Iterator[None]:
        def caught(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGHUP:
                self._hung_up = True
                return
            now = time.monotonic()
            if now - self._asked_at > ECHO_SECONDS:
                self._asked.append(number)
                self._asked_at = now

        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in handled:
            signal.signal(number, caught)
        try:
            yield
        finally:
            for number in handled:  # the exit code says it all by now
                signal.signal(number, signal.SIG_IGN)


class _Place:
    """One of the workers, through all the processes that take this place one after the other."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        self.pair: socket.socket | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._began = 0.0
        self._heard = 0.0
        self._again = 0.0
        self._pause = 0.0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def code(self) -> int | None:
        return self._process.exitcode if self._process else None

    def start(self, work: Work, sockets: Sequence[socket.socket]) -> None:
        if self.running:
            return
        self.ready = False
        self._close()
        self.pair, theirs = socket.socketpair()
        self.pair.setblocking(False)
        parcel = _Parcel(work)
        self._process = _SPAWN.Process(
            target=cast(Work, parcel), args=(self.number, theirs, sockets)
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
            parcel.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_THE_PARENT)
        self._began = self._heard = time.monotonic()

    def keep_running(self, work: Callable[[], Work], sockets: Sequence[socket.socket]) -> None:
        now = time.monotonic()
        patience = _SILENCE_SECONDS if self.ready else _START_SECONDS
        if self.running and now - self._heard > patience:
            logger.error("worker %d (%s) does not answer and is killed", self.number, self._pid)
            self.kill()
        if self.running:
            return
        if self._again == 0.0:
            # One that worked for a while is replaced at once, others after a longer and longer one.
            steady = self.ready and now - self._began > _STEADY_SECONDS
            self._pause = 0.0 if steady else min(max(1.0, self._pause * 2), _LONGEST_PAUSE)
            self._again = now + self._pause
            logger.error("worker %d (%s) ended with %s", self.number, self._pid, self.code)
        if now >= self._again:
            self._again = 0.0
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

    def hear(self) -> None:
        heard = b""
        if self.pair is not None:
            try:
                heard = self.pair.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                heard = b""
        if not heard:  # it is gone, or will be in a moment
            self._close()
            return
        self._heard = time.monotonic()
        if READY in heard:
            self.ready = True

    def tell(self, order: bytes) -> None:
        if self.pair is not None:
            try:
                self.pair.send(order)
            except OSError:  # it is gone, or so full of orders that it will not hear this one
                logger.debug("worker %d (%s) did not hear %r", self.number, self._pid, order)

    def kill(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._close()

    def _close(self) -> None:
        if self.pair is not None:
            self.pair.close()
            self.pair = None

    @property
    def _pid(self) -> int | None:
        return self._process.pid if self._process else None


class _Parcel:
    """Something of any size that a new process shall have; there, it is the thing itself.

    Python writes what a new process is given into a pipe, and keeps the other end of it open. When
    the process dies before it has read more than the pipe holds, its parent waits for ever.
    """

    def __init__(self, thing: object) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open until it is handed over
        pickle.dump(thing, self._file)
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __reduce__(self) -> tuple[Callable[[Any], object], tuple[Any]]:
        return _unpacked, (reduction.DupFd(self._file.fileno()),)


def _unpacked(handle: Any) -> object:
    with open(handle.detach(), "rb") as file:  # noqa: PTH123 - a descriptor
        file.seek(0)
        return pickle.load(file)  # noqa: S301 - from our own parent


class Parent:
    """What a worker hears of the process that looks after it, and says to it, over ``pair``."""

    def __init__(self, pair: socket.socket) -> None:
        self._pair = pair
        pair.setblocking(False)

    def follow(self, orders: Mapping[bytes, Callable[[], None]]) -> None:
        """Call, in the running loop, what stands for each order; ``STOP`` when the parent ends."""

        def hear() -> None:
            try:
                heard = self._pair.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                heard = b""
            if not heard:
                loop.remove_reader(self._pair)
                heard = STOP
            for order in (heard[at : at + 1] for at in range(len(heard))):
                orders[order]()

        loop = asyncio.get_running_loop()
        loop.add_reader(self._pair, hear)

    def say(self, word: bytes) -> None:
        """Say ``word``; one that does not listen now has heard it before, or will hear the next."""
        with suppress(OSError):
            self._pair.send(word)
