"""What a new server prints: the commands that come next, until there is nothing left to do."""

from pathlib import Path

import pytest

from orbit_server.cli import first_steps
from orbit_server.cli.models import missing_models, wanted_models
from orbit_server.config.loader import Config
from orbit_server.services import Services

from ..support.ollama_standin import OllamaStandIn
from ..support.ports import free_port
from ..support.server import configuration, lexical, running

pytestmark = pytest.mark.anyio

ADDRESS = "http://127.0.0.1:3000"


async def printed(config: Config) -> str:
    """Return what a server with this configuration prints."""
    async with Services(config) as services:
        return await first_steps.banner(services, ADDRESS)


def with_ollama(folder: Path, url: str) -> Config:
    """Return the usual configuration, kept in ``folder``."""
    return configuration(folder, ollama__base_url=url)


async def test_a_new_server_says_what_comes_next(tmp_path: Path) -> None:
    """No Ollama, no documents, no keys: a command for each, and how to do without Ollama."""
    url = f"http://127.0.0.1:{free_port()}"
    said = await printed(with_ollama(tmp_path, url))
    assert said.startswith(f"ORBIT server answers at {ADDRESS}\n")
    for part in (
        f"Ollama does not answer at {url}",
        "ollama pull gemma3:4b && ollama pull bge-m3",
        "embedding: {provider: lexical}\n      answer: {provider: extractive}",
        " ingest FOLDER --collection NAME",
        " keys create --collection NAME --name WHO",
        " serve --demo",
    ):
        assert part in said


async def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    """A model that is not installed; nothing about the one that is."""
    async with OllamaStandIn() as ollama:
        ollama.models = {"bge-m3": ["embedding"]}
        config = with_ollama(tmp_path, ollama.url)
        assert await missing_models(config) == {"ollama.model": "gemma3:4b"}
        said = await printed(config)
        assert "ollama pull gemma3:4b\n" in said
        assert "bge-m3" not in said
        assert "provider: lexical" not in said, "its documents are embedded by the model"


async def test_nothing_is_left_to_do(tmp_path: Path) -> None:
    """With documents and a key there is one line."""
    config = lexical(tmp_path)
    assert wanted_models(config) == {}
    async with running(config) as server:
        await server.pairs("town", {"When is the library open?": "On Tuesdays."})
        await server.key("town")
    assert await printed(config) == f"ORBIT server answers at {ADDRESS}"


def test_the_program_is_named_as_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``orbit`` on the path; the file in ``.venv`` where it is not; else the module."""
    program = tmp_path / ".venv" / "bin" / "orbit"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(program), "serve"])
    monkeypatch.setenv("PATH", "/nonexistent")
    assert first_steps.program() == ".venv/bin/orbit"
    monkeypatch.setenv("PATH", str(program.parent))
    assert first_steps.program() == "orbit"
    monkeypatch.setattr("sys.argv", ["/anywhere/run.py"])
    assert first_steps.program() == "python -m orbit_server"
