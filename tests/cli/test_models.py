"""Which models a configuration needs, and that a command says at once when one is missing."""

import time
from pathlib import Path

import pytest

from ..support.ollama_standin import OllamaStandIn
from ..support.ports import free_port
from ..support.program import command, configure, server
from ..support.town import write_town

pytestmark = pytest.mark.anyio


COMMANDS = (
    ("ingest", "town.md", "--collection", "town"),
    ("ask", "When does the library open?", "--collection", "town"),
    ("calibrate", "--collection", "town"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
async def test_without_ollama_a_command_says_so_at_once(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """At once instead of after all retries, with the whole remedy; likewise a model."""
    configure(
        tmp_path,
        ollama={"base_url": f"http://127.0.0.1:{free_port()}"},
        embedding={"provider": "ollama"},
    )
    write_town(tmp_path)
    started = time.monotonic()
    result = await command(tmp_path, *arguments)
    assert time.monotonic() - started < 20
    assert result.code == 1
    for part in ("ollama serve", "embedding.provider: lexical", "answer.provider: extractive"):
        assert part in result.sentence
    async with OllamaStandIn() as ollama:
        ollama.models = {"gemma3:4b": ["completion"]}
        configure(tmp_path, ollama={"base_url": ollama.url}, embedding={"provider": "ollama"})
        result = await command(tmp_path, *arguments)
        assert (result.code, "ollama pull bge-m3" in result.sentence) == (1, True)
        assert not ollama.bodies("/api/embed")


async def test_through_a_running_server(tmp_path: Path) -> None:
    """The server asks Ollama then; the command ends with the same remedies."""
    write_town(tmp_path)
    ingest = ("ingest", "town.md", "--collection", "town")
    async with OllamaStandIn() as ollama:
        ollama.models = {"gemma3:4b": ["completion"]}
        configure(
            tmp_path,
            ollama={"base_url": ollama.url},
            embedding={"provider": "ollama"},
        )
        async with server(tmp_path):
            result = await command(tmp_path, *ingest)
            assert (result.code, "ollama pull bge-m3" in result.sentence) == (1, True)
            await ollama.kill()
            result = await command(tmp_path, *ingest)
    assert result.code == 1
    for part in (ollama.url, "ollama serve", "embedding.provider: lexical"):
        assert part in result.sentence


async def test_several_hosts(tmp_path: Path) -> None:
    """Commands use whichever has the model; that one does not answer holds them up shortly."""
    write_town(tmp_path)
    async with OllamaStandIn() as writer, OllamaStandIn() as embedder, OllamaStandIn() as frozen:
        writer.models = {"gemma3:4b": ["completion"]}
        embedder.models = {"bge-m3:latest": ["embedding"]}
        frozen.frozen = True
        hosts = [{"url": each.url} for each in (frozen, writer, embedder)]
        configure(
            tmp_path,
            ollama={"hosts": hosts},
            embedding={"provider": "ollama"},
            answer={"provider": "ollama"},
        )
        result = await command(tmp_path, "ingest", "town.md", "--collection", "town")
        assert result.code == 0, result.err
        arguments = ("ask", "When does the library open?", "--collection", "town")
        result = await command(tmp_path, *arguments)
        assert (result.code, "The library opens at nine." in result.out) == (0, True), result.err
        embedder.models = {}
        result = await command(tmp_path, *arguments)
        assert (result.code, "ollama pull bge-m3" in result.sentence) == (1, True)
