"""``orbit ask``: passages with scores beside, the answer on standard output."""

import re
from pathlib import Path

import pytest

from ..support.ollama_standin import OllamaStandIn, quote_passage
from ..support.program import Server, command, configure
from ..support.town import write_town

pytestmark = pytest.mark.anyio


async def test_ask_shows_passages_and_the_answer(folder: Path, orbit: Server) -> None:
    """The same in this process and through a server: scores beside, the answer on stdout."""
    write_town(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    question = ("ask", "When does the library open?", "--collection", "town")
    for place in (folder, orbit.folder):
        result = await command(place, *question)
        assert result.code == 0, result.err
        quoted = "Quoted from “Library [/x] [bold]”: The library opens at nine.\n"
        assert result.out.startswith(quoted)
        assert re.search(r"│ \d\.\d\d\d +│ Library", result.err)
        assert "town.md" in result.err
    assert f"going through {orbit.url}" in result.err


async def test_ask_takes_long_questions_through_a_server(orbit: Server) -> None:
    """What the chat would take, the command takes."""
    question = "When does the library open? " + "I would like to know. " * 40
    result = await command(orbit.folder, "ask", question, "--collection", "town")
    assert result.code == 0, result.err


async def test_ask_streams_what_the_model_says(tmp_path: Path) -> None:
    """With Ollama the answer is the model's, from the passages."""
    async with OllamaStandIn() as ollama:
        ollama.reply = quote_passage
        configure(
            tmp_path,
            ollama={"base_url": ollama.url},
            embedding={"provider": "ollama"},
            answer={"provider": "ollama"},
        )
        write_town(tmp_path)
        assert (await command(tmp_path, "ingest", "town.md", "--collection", "town")).code == 0
        question = ("ask", "When does the library open?", "--collection", "town")
        result = await command(tmp_path, *question)
        assert "The library opens at nine." in result.out
        [body] = ollama.bodies("/api/chat")
        assert "The library opens at nine." in body["messages"][-1]["content"]
        ollama.models = {"bge-m3": ["embedding"]}
        result = await command(tmp_path, *question)
        assert (result.code, "gemma3:4b" in result.sentence) == (1, True)


async def test_nothing_found_is_an_answer(folder: Path) -> None:
    """The configured sentence, exit 0."""
    write_town(folder)
    await command(folder, "ingest", "town.md", "--collection", "town")
    result = await command(folder, "ask", "quantum chromodynamics", "--collection", "town")
    assert result.code == 0
    assert "could not find anything" in result.out
