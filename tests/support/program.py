"""The programs as an operator uses them: commands in this process, servers in one of their own."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import yaml
from typer.main import get_command

from orbit_server.cli import main as cli
from orbit_server.cli.doctor import checks

from .ports import free_port
from .server import ADMIN_TOKEN

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence that a failed command ends with."""
        [sentence] = [line for line in self.err.splitlines() if line.startswith("orbit: ")]
        return sentence

    @property
    def cells(self) -> list[list[str]]:
        """The rows of a printed table, without its head and frame."""
        rows = [line for line in self.out.splitlines() if line.startswith("│")]
        return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


def environment(token: str | None = ADMIN_TOKEN) -> dict[str, str]:
    """Return the variables of a clean environment, with an admin token unless it is ``None``."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    return variables if token is None else variables | {"ADMIN_TOKEN": token}


def configure(folder: Path, **sections: Mapping[str, Any]) -> None:
    """Write ``folder/config.yaml``: without Ollama unless the sections say otherwise."""
    usual = {"embedding": {"provider": "lexical"}, "answer": {"provider": "extractive"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**usual, **sections}))


async def command(
    folder: Path, *arguments: str | Path, token: str | None = ADMIN_TOKEN, typed: str = ""
) -> Result:
    """Run ``orbit`` with ``arguments`` in ``folder``, in a thread of this process.

    ``typed`` is its standard input.

    A process of its own would spend a second on imports each time. The checks of ``doctor`` have
    more time than a user would wait: where one is given up, it ends the process.
    """
    patient = partial(checks.diagnose, limit=120.0)

    def run() -> Result:
        out, err = io.StringIO(), io.StringIO()
        code: int | str | None = 0
        with (
            patch.dict(os.environ, environment(token), clear=True),
            patch.object(sys, "argv", ["orbit", *map(str, arguments)]),
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.object(sys, "stdin", io.StringIO(typed)),
            patch.object(checks, "diagnose", patient),
        ):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
        assert isinstance(code, int)
        assert "Traceback" not in err.getvalue()
        return Result(code, out.getvalue(), err.getvalue())

    return await asyncio.to_thread(run)


def serve_options(*arguments: str) -> dict[str, Any]:
    """Return what ``orbit serve`` makes of ``arguments``, without serving."""
    serve = get_command(cli.app).commands["serve"]  # type: ignore[attr-defined]
    parsed: dict[str, Any] = serve.make_context("serve", list(arguments)).params
    return parsed


@dataclass(slots=True)
class Server:
    """A ``run.py`` in its own process, and what it has written so far (both streams)."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "console").read_text()

    async def ended(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 30)


def start(
    folder: Path,
    *arguments: str,
    root: Path = ROOT,
    token: str | None = ADMIN_TOKEN,
    variables: Mapping[str, str] | None = None,
    program: Sequence[str | Path] = (),
) -> subprocess.Popen[bytes]:
    """Start ``program`` in ``folder``, with both its streams in ``folder/console``.

    It is ``run.py`` of ``root`` unless another one is named.
    """
    always = {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
    with (folder / "console").open("ab") as console:
        return subprocess.Popen(
            [*(program or (sys.executable, root / "run.py")), *arguments],
            cwd=folder,
            env=environment(token) | always | dict(variables or {}),
            stdout=console,
            stderr=subprocess.STDOUT,
        )


@asynccontextmanager
async def server(
    folder: Path,
    *arguments: str,
    root: Path = ROOT,
    token: str | None = ADMIN_TOKEN,
    variables: Mapping[str, str] | None = None,
    program: Sequence[str | Path] = (),
) -> AsyncIterator[Server]:
    """Run what ``start`` does in ``folder`` on a free loopback port until the block ends."""
    port = free_port()
    listen = ("--host", "127.0.0.1", f"--port={port}")
    process = start(
        folder,
        *listen,
        *arguments,
        root=root,
        token=token,
        variables=variables,
        program=program,
    )
    running = Server(f"http://127.0.0.1:{port}", folder, process)
    try:
        await answering(running)
        yield running
    finally:
        process.kill()
        process.wait()


async def answering(server: Server) -> None:
    """Return once ``server`` answers; AssertionError with its output when it ends instead."""
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
        while server.process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with http.get(f"{server.url}/health"):
                    return
            await asyncio.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{server.log}")
