"""A real Redis on a free loopback port, from Debian's package ``redis-server``."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .ports import HOST, free_port
from .postgres import wait_for

PASSWORD = "pass-word"


def missing() -> str:
    """Return the name of the package that is not installed; empty when it is there."""
    return "" if shutil.which("redis-server") else "redis-server"


@dataclass
class RedisServer:
    """A running Redis, which can be made to hang, killed and started again; it forgets all then."""

    port: int
    folder: Path
    options: tuple[str, ...]
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def url(self) -> str:
        """Where it answers, with the password."""
        return f"redis://:{PASSWORD}@{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it listens."""
        self.process = subprocess.Popen(
            [
                "redis-server", "--port", str(self.port), "--bind", HOST, "--dir", str(self.folder),
                "--save", "", "--appendonly", "no", "--requirepass", PASSWORD, *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self.port, self.process, "redis-server")

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it hang: connections stay and are made, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End ``pause``."""
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> str:
        """Return what ``redis-cli`` prints for a command."""
        command = ["redis-cli", "-p", str(self.port), "-a", PASSWORD, "--no-auth-warning", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run Redis with a password and without files."""
    with tempfile.TemporaryDirectory(prefix="orbit-redis-") as name:
        server = RedisServer(free_port(), Path(name), options)
        server.start()
        try:
            yield server
        finally:
            server.go_on()
            server.kill()
