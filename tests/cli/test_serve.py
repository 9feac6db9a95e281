"""``orbit serve``: its options, and where the server runs."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.program import ROOT, command, configure, serve_options, server

pytestmark = pytest.mark.anyio


def test_without_options_there_is_one_process() -> None:
    """The configuration says where it listens; this folder is where it runs."""
    options = serve_options()
    assert options["workers"] == 1
    assert not options["demo"] and not options["reload"]
    assert {options[name] for name in ("host", "port", "config", "directory")} == {None}


async def test_it_runs_in_a_folder_that_is_named(tmp_path: Path) -> None:
    """With the configuration and the data of that folder; nothing is left in the caller's."""
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    configure(there)
    async with server(here, f"--directory={there}") as running:
        assert await running.ended() == 0
    assert {path.name for path in await listed(there)} == {"config.yaml", "data", "logs"}
    assert {path.name for path in await listed(here)} == {"console"}


async def test_a_configuration_is_where_the_caller_is(tmp_path: Path) -> None:
    """``--config`` is named from where the command was typed, also before the command."""
    (tmp_path / "there").mkdir()
    (tmp_path / "mine.yaml").write_text("general: {prot: 1}\n")
    for arguments in (
        ("serve", "--directory=there", "--config=mine.yaml"),
        ("--config=mine.yaml", "serve", "--directory=there"),
    ):
        result = await command(tmp_path, *arguments)
        assert (result.code, "mine.yaml:1: general.prot: unknown key" in result.err) == (2, True)
        assert not os.listdir(tmp_path / "there")  # noqa: PTH208


async def test_a_folder_that_is_not_there_is_2(tmp_path: Path) -> None:
    """Nothing is created for a name that is misspelt."""
    result = await command(tmp_path, "serve", "--directory=nowhere")
    assert (result.code, "nowhere" in result.err) == (2, True)
    assert not (tmp_path / "nowhere").exists()


async def listed(folder: Path) -> list[Path]:
    """Return what lies in ``folder``."""
    return await asyncio.to_thread(lambda: list(folder.iterdir()))


# Prints what a hangup does in the moment when the program begins to load its commands.
PROBE = """
import signal, sys

class Probe:
    def find_spec(self, name, *rest):
        if name == "orbit_server.cli":
            signals = (signal.SIGHUP, signal.SIGCHLD)
            print(*(signal.getsignal(each) is signal.SIG_DFL for each in signals))
            sys.exit()

sys.meta_path.insert(0, Probe())
from orbit_server.__main__ import main
main()
"""


@pytest.mark.parametrize(("name", "ends"), [("serve", False), ("ingest", True)])
def test_signals_are_in_order_before_anything_is_loaded(name: str, ends: bool) -> None:
    """Loading takes a second, in which a hangup must not end a server; other commands end."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        check=True,
    )
    assert done.stdout == f"{ends} True\n"
