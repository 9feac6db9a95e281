"""A real PostgreSQL, and PgBouncer before it, on free loopback ports.

From Debian's packages ``postgresql`` and ``pgbouncer``; ``missing()`` says which is not there.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .ports import HOST, free_port
from .processes import descendants

START_SECONDS = 60.0


def missing() -> str:
    """Return the name of the package that is not installed; empty when all is there."""
    if not _binaries():
        return "postgresql"
    return "" if shutil.which("pgbouncer") else "pgbouncer"


@dataclass
class Postgres:
    """A running PostgreSQL, which can be made to hang and be started again."""

    port: int
    _start: Callable[[], AbstractContextManager["subprocess.Popen[bytes]"]]
    _running: ExitStack
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        """The process that all others of it descend from."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it takes sessions."""
        self._process = self._running.enter_context(self._start())

    def restart(self) -> None:
        """Stop it at once, and start it again with its data."""
        self._running.pop_all().close()
        self.start()

    def pause(self) -> None:
        """Let all of its processes hang: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End ``pause``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in (self.pid, *descendants(self.pid)):
            os.kill(pid, number)


@contextmanager
def postgres() -> Iterator[int]:
    """Run PostgreSQL with a database ``orbit`` for ``orbit`` (password ``secret``); its port."""
    with postgres_process() as running:
        yield running.port


@contextmanager
def postgres_process() -> Iterator[Postgres]:
    """The same, to be disturbed."""
    with _folder() as folder:
        data, port, tools = folder / "data", free_port(), _binaries() or folder
        password = folder / "password"
        password.write_text("secret\n")
        options = ["-U", "orbit", "-A", "scram-sha-256", "--pwfile", str(password), "-N"]
        _run([tools / "initdb", "-D", data, *options], folder)
        settings = [
            f"-cport={port}",
            f"-clisten_addresses={HOST}",
            f"-cunix_socket_directories={folder}",
        ]
        command: list[Path | str] = [tools / "postgres", "-D", data, "-cfsync=off", *settings]
        with ExitStack() as stack:
            start = partial(_process, command, folder, port, ready=partial(_takes_sessions, tools))
            running = Postgres(port, start, ExitStack())
            stack.callback(lambda: running._running.close())
            running.start()
            _run([tools / "createdb", "-h", HOST, "-p", str(port), "-U", "orbit", "orbit"], folder)
            yield running


@contextmanager
def pgbouncer(server: int) -> Iterator[int]:
    """Run PgBouncer in transaction mode before the PostgreSQL at port ``server``; its port."""
    with _folder() as folder:
        port = free_port()
        users = folder / "users"
        users.write_text('"orbit" "secret"\n')
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\norbit = host={HOST} port={server} user=orbit password=secret\n"
            f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            "pool_mode = transaction\ndefault_pool_size = 2\nserver_reset_query =\n"
        )
        with _process([Path("/usr/sbin/pgbouncer"), configuration], folder, port):
            yield port


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


def _user() -> str | None:
    # PostgreSQL refuses to run as root.
    return "postgres" if os.getuid() == 0 else None


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="orbit-pg-") as name:
        if user := _user():
            shutil.chown(name, user)
        yield Path(name)


def _run(command: list[Path | str], folder: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": "secret", "LC_ALL": "C"}
    subprocess.run(
        command, check=True, capture_output=True, cwd=folder, user=_user(), env=environment
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _takes_sessions(tools: Path, port: int) -> bool:
    # It listens sooner than it is ready: "the database system is starting up".
    asking: list[Path | str] = [tools / "pg_isready", "-q", "-h", HOST, "-p", str(port)]
    return subprocess.run(asking).returncode == 0


@contextmanager
def _process(
    command: list[Path | str],
    folder: Path,
    port: int,
    *,
    ready: Callable[[int], bool] = _listens,
) -> Iterator["subprocess.Popen[bytes]"]:
    user = _user()
    group = pwd.getpwnam(user).pw_gid if user else None
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, user=user, group=group, stdout=log, stderr=log
        )
    try:
        wait_for(port, process, f"{command[0]} (see {log.name})", ready=ready)
        yield process
    finally:
        # PostgreSQL takes a SIGTERM for a wish: it waits until all clients are gone.
        process.send_signal(
            signal.SIGINT if Path(command[0]).name == "postgres" else signal.SIGTERM
        )
        process.send_signal(signal.SIGCONT)
        process.wait(START_SECONDS)
        Path(log.name).unlink()


def wait_for(
    port: int,
    process: "subprocess.Popen[bytes]",
    name: str,
    *,
    ready: Callable[[int], bool] = _listens,
) -> None:
    """Return when ``process`` is ready; RuntimeError when it has ended, or takes too long."""
    until = time.monotonic() + START_SECONDS
    while not ready(port):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{name} does not start")
        time.sleep(0.05)
