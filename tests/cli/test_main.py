"""``orbit``: the program, its commands, and what a wrong call ends with."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from orbit_server import __version__

from ..support.program import ROOT, command, environment

pytestmark = pytest.mark.anyio

KEYS_CREATE = ("keys", "create", "--collection", "town", "--name", "Ann")


def test_it_is_a_program(folder: Path) -> None:
    """``python -m orbit_server`` shows its commands, and a sentence instead of a traceback."""
    run = [sys.executable, "-m", "orbit_server"]
    shown = subprocess.run([*run, "--help"], cwd=folder, env=environment(), capture_output=True)
    assert shown.returncode == 0
    for name in (b"ingest", b"ask", b"keys", b"collections"):
        assert name in shown.stdout
    (folder / "config.yaml").write_text("general: {prot: 3000}")
    failed = subprocess.run(
        [*run, "keys", "list"], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("orbit: the configuration cannot be used:\n")
    assert "did you mean general.port?" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("group", [[], ["keys"], ["collections"], ["logs"]], ids=" ".join)
async def test_no_summary_is_cut(folder: Path, group: list[str]) -> None:
    """The list of commands says of each what it does in a whole sentence."""
    shown = (await command(folder, *group, "--help")).out.partition("Commands:\n")[2]
    lines = shown.splitlines()
    assert lines
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["ingest"],
        ["ingest", "a.txt"],
        ["ask", "--collection", "town"],
        ["keys", "create", "--collection", "town"],
        ["keys", "status"],
        ["keys", "list", "extra"],
        [*KEYS_CREATE, "--expires", "soon"],
        [*KEYS_CREATE, "--expires", "2001-01-01"],
        [*KEYS_CREATE, "--stream-format", "morse"],
        ["collections", "show"],
    ],
    ids=" ".join,
)
async def test_a_wrong_call_is_2(folder: Path, arguments: list[str]) -> None:
    """The usage and what is wrong, on standard error; nothing is opened or made."""
    result = await command(folder, *arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: " in result.err
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "list"),
        ("collections", "list"),
        ("ingest", "a.txt", "--collection", "town"),
        ("ask", "x", "--collection", "town"),
    ],
    ids=" ".join,
)
async def test_mistakes_in_the_configuration_are_2(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """All of them at once, each with its place, before anything is opened."""
    (tmp_path / "config.yaml").write_text("general:\n  port: many\nchromaa: {}\n")
    result = await command(tmp_path, *arguments)
    assert result.code == 2
    assert "config.yaml:2: general.port: " in result.err
    assert "config.yaml:3: chromaa: unknown key" in result.err
    assert not (tmp_path / "data").exists()
    result = await command(tmp_path, "--config", "missing.yaml", *arguments)
    assert (result.code, "missing.yaml" in result.err) == (2, True)


async def test_a_command_loads_what_it_needs() -> None:
    """The help of all commands costs none of the large libraries; they load where they are used."""
    program = "import sys, orbit_server.cli.main; print(*{m.split('.')[0] for m in sys.modules})"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    large = {"aiohttp", "chromadb", "pydantic", "rich", "sqlalchemy", "starlette", "yaml"}
    assert set(done.stdout.split()) & large == set()


async def test_the_version_and_completion(folder: Path) -> None:
    """``--version`` names the package's; ``--show-completion`` prints what a shell would load."""
    assert (await command(folder, "--version")).out == f"orbit {__version__}\n"
    shells = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "orbit_server", "--show-completion", "bash"],
        cwd=folder,
        env=environment() | shells,
        capture_output=True,
        text=True,
    )
    assert "_ORBIT_COMPLETE" in done.stdout, done.stderr
