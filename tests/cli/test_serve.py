"""``orbit serve``: its options, and where the server runs."""

import asyncio
import os
from pathlib import Path

import pytest

from ..support.program import command, configure, serve_options, server

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
