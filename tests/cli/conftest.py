"""What the tests of the commands share: a folder to work in, and a server that holds another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support.program import Server, command, configure, server
from ..support.town import write_town


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a configuration that needs no Ollama."""
    configure(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
async def orbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with a few documents, whose folder is a working directory too."""
    folder = tmp_path_factory.mktemp("orbit")
    configure(folder)
    write_town(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    async with server(folder) as running:
        yield running
