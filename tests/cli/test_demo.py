"""The demo: a folder of its own, a key that stays, and Ollama only where it is ready."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit_server.cli import demo
from orbit_server.config.loader import Config
from orbit_server.services import Services

from ..support.ollama_standin import OllamaStandIn
from ..support.ports import free_port
from ..support.program import command, configure, server

pytestmark = pytest.mark.anyio


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without_ollama(here: Path) -> Config:
    """Return the demo's configuration where no Ollama is."""
    configure(here, ollama={"base_url": f"http://127.0.0.1:{free_port()}"}, embedding={}, answer={})
    return demo.configure(None, {})


def test_everything_lies_in_one_folder(here: Path) -> None:
    """Whatever the configuration names: nothing of the demo is written elsewhere."""
    configure(
        here,
        chroma={"host": "chroma.example", "path": "elsewhere"},
        database={"url": "postgresql+asyncpg://db.example/orbit"},
        logging={"file": {"directory": "/var/log/orbit"}},
        elasticsearch={"enabled": True, "node": "http://elastic.example:9200"},
    )
    config = demo.configure(None, {"general.port": 3001})
    assert config.general.port == 3001
    assert config.chroma.host is None and not config.elasticsearch.enabled
    written = (config.chroma.path, config.retrieval.path, config.logging.file.directory)
    assert {Path(path).parts[0] for path in written} == {"orbit-demo"}
    assert config.database.url == "sqlite+aiosqlite:///orbit-demo/orbit.db"


def test_without_ollama_it_quotes(here: Path) -> None:
    """It needs no model, neither to find nor to answer."""
    config = without_ollama(here)
    assert (config.embedding.provider, config.answer.provider) == ("lexical", "extractive")


async def test_ollama_is_used_with_all_models(here: Path) -> None:
    """One model of two is not enough."""
    async with OllamaStandIn() as ollama:
        configure(here, ollama={"base_url": ollama.url}, embedding={}, answer={})
        for missing, provider in (("", "ollama"), ("bge-m3:latest", "lexical")):
            ollama.models.pop(missing, None)
            config = await in_a_thread(lambda: demo.configure(None, {}))
            assert config.embedding.provider == provider


async def test_the_key_stays(here: Path) -> None:
    """It is kept for its owner alone; only when the server does not know it, there is another."""
    config = await in_a_thread(lambda: without_ollama(here))
    file = here / "orbit-demo" / "key"
    async with Services(config) as services:
        await demo.prepare(services, "http://127.0.0.1:3000")
        secret = file.read_text()
        assert file.stat().st_mode & 0o077 == 0
        assert secret.strip() in await demo.prepare(services, "http://127.0.0.1:3000")
        assert file.read_text() == secret
        [key] = await services.keys.list()
        await services.keys.delete(key.id)
        assert secret.strip() not in await demo.prepare(services, "http://127.0.0.1:3000")
        assert file.read_text() != secret


async def test_the_doctor_sees_nothing_of_it(here: Path) -> None:
    """After it nothing is red: its documents and its key are not the server's."""
    async with server(here, "--demo") as running:
        assert await running.ended() == 0
    configure(here, general={"host": "127.0.0.1", "port": free_port()})
    result = await command(here, "doctor", "--json")
    assert '"fail"' not in result.out, result.out
    assert "no documents are loaded" in result.out
    assert result.code == 0
    assert not (here / "data").exists()


async def in_a_thread(work: Callable[[], Config]) -> Config:
    """Return what ``work`` does, which runs a loop of its own."""
    return await asyncio.to_thread(work)
