"""A Chroma server of our own, on the folder that one process alone would open itself.

Several workers cannot open one folder, but they can share a server. It listens on a loopback port
and knows no passwords: whoever may use this machine may ask it.
"""

import contextlib
import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO, Self

from ..config import make_private_folder
from ..errors import SearchError
from ..retrieval.chroma.lock import lock
from ..retrieval.chroma.tables import remove_orphans

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_SCRIPT = Path(__file__).with_name("chroma_main.py")
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ATTEMPTS = 3
_LOOK_SECONDS = 5.0
_SILENCE_SECONDS = 30.0
# What Python needs to find its packages, and what any program may want; no secrets, and none of the
# many variables that would change how Chroma works.
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR", "TZ")


class LocalChroma:
    """``chroma run`` on the folder ``path``, for as long as the ``with`` block lasts.

    It holds the lock of the folder; ``address``, where this server can be asked, is written into
    it. Entering returns when Chroma answers, at ``port``; it raises ``ChromaLocked`` when another
    process has the folder, ``SearchError`` when Chroma does not start. What Chroma says is added to
    the file ``log``, if there is one. The process ends when this one does.
    """

    def __init__(self, path: Path, *, address: str, log: Path | None) -> None:
        self.path = path.absolute()
        self.port = 0
        self._address = address
        self._log = log
        self._lock_fd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0
        self._began = 0.0
        self._heard = 0.0
        self._patience = _START_SECONDS

    def __enter__(self) -> Self:
        self._lock_fd = lock(self.path, self._address)
        with contextlib.suppress(SearchError):  # whatever it is, Chroma meets it too
            remove_orphans(self.path, starting=True)
        try:
            for _ in range(_ATTEMPTS):  # somebody else may take the free port before Chroma does
                self.port = _free_port()
                if self._starts():
                    return self
            raise SearchError(f"Chroma on {self.path} does not start{self._see_log}.")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._forget()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def keep_running(self) -> None:
        """Start Chroma again, on the same port, when it has ended or fallen silent.

        To be called often. Takes a second at most; what cannot be done is logged, and tried again.
        """
        now = time.monotonic()
        process = self._process
        if process is not None and process.poll() is None:
            if now >= self._due:
                self._due = now + _LOOK_SECONDS
                if self._answers():
                    self._heard, self._patience = now, _SILENCE_SECONDS
                elif now - self._heard > self._patience:
                    logger.error("Chroma does not answer and is killed")
                    process.kill()
            return
        if process is not None:
            code = process.wait()
            logger.error("Chroma ended with %s and is started again%s", code, self._see_log)
            self._forget()
            self._due = self._began + _LOOK_SECONDS
        if now >= self._due:
            self._due = now + _LOOK_SECONDS
            try:
                self._spawn()
            except SearchError as error:
                logger.error("%s", error)

    def _starts(self) -> bool:
        process = self._spawn()
        patience = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < patience:
            if self._answers():
                return True
            time.sleep(0.05)
        process.kill()
        process.wait()
        self._forget()
        return False

    def _spawn(self) -> "subprocess.Popen[bytes]":
        arguments = ["run", "--path", str(self.path), "--host", HOST, "--port", str(self.port)]
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # SIGHUP is for this process. Chroma inherits it blocked; here it is delivered afterwards.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            with self._opened_log() as log:
                self._process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", str(_SCRIPT), *arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.path,
                    env=environment | {"RUST_LOG": "warn"},
                    # Should this process be killed, the folder stays locked until Chroma ends.
                    pass_fds=[self._lock_fd],
                    # Ctrl-C is for the workers, which still need Chroma to finish their answers.
                    start_new_session=True,
                )
        except OSError as error:
            raise SearchError(f"Chroma on {self.path} cannot be started: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._began = self._heard = time.monotonic()
        self._patience = _START_SECONDS
        return self._process

    def _opened_log(self) -> BinaryIO:
        if self._log is not None:
            try:
                make_private_folder(self._log.parent)
                return self._log.open("ab")
            except OSError as error:
                logger.warning("running without %s: %s", self._log, error)
        return Path(os.devnull).open("wb")

    @property
    def _see_log(self) -> str:
        where = "with logging.file.enabled, chroma.log would say why"
        return f"; {where if self._log is None else f'{self._log} says why'}"

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=1)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/api/v2/heartbeat")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
