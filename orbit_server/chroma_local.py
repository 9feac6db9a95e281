"""A Chroma server of our own, on the folder that one process alone would open itself.

Several workers cannot open one folder, but they can share a server. It listens on a loopback port
and knows no passwords: whoever may use this machine may ask it.
"""

import contextlib
import http.client
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from .chroma_lock import lock
from .errors import SearchError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_SCRIPT = Path(__file__).with_name("chroma_process.py")
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ATTEMPTS = 3
_PAUSE = 5.0
# What Python needs to find its packages, and what any program may want; no secrets, and none of the
# many variables that would change how Chroma works.
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR", "TZ")


class LocalChroma:
    """``chroma run`` on the folder ``path``, for as long as the ``with`` block lasts.

    It holds the lock of the folder; ``address``, where this server can be asked, is written into
    it. Entering returns when Chroma answers, at ``port``; it raises ``ChromaLocked`` when another
    process has the folder, ``SearchError`` when Chroma does not start. What Chroma says is added to
    the file ``log``. The process ends when this one does.
    """

    def __init__(self, path: Path, *, address: str, log: Path) -> None:
        self.path = path.absolute()
        self.port = 0
        self._address = address
        self._log = log
        self._lock_fd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._again = 0.0

    def __enter__(self) -> Self:
        self._lock_fd = lock(self.path, self._address)
        try:
            for _ in range(_ATTEMPTS):  # somebody else may take the free port before Chroma does
                self.port = _free_port()
                if self._starts():
                    return self
            raise SearchError(f"Chroma on {self.path} does not start; {self._log} says why.")
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
        """Start Chroma again, on the same port, when it has ended; at most every few seconds."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            logger.error("Chroma ended with %s and is started again; see %s", code, self._log)
            self._forget()
        if time.monotonic() >= self._again:
            self._again = time.monotonic() + _PAUSE
            self._spawn()

    @property
    def pid(self) -> int | None:
        """The process id of Chroma, ``None`` while there is none."""
        return self._process.pid if self._process else None

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
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
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
        return self._process

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
