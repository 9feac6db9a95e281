"""Small talk over HTTP: answered at once in every form, checked before, and told apart after."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ..support.chat_server import ChatServer
from ..support.chat_server import town as open_town

pytestmark = pytest.mark.anyio


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[ChatServer]:
    """A chat server whose operator has words of greeting and a list of bad words."""
    blocklist = tmp_path / "blocklist.txt"
    blocklist.write_text("ciao\n")
    own: dict[str, Any] = {
        "answer__greeting": "Welcome!",
        "safety__mode": "fuzzy",
        "safety__model": "gemma3:12b",
        "safety__blocklist": str(blocklist),
    }
    async with open_town(tmp_path, **own) as town:
        town.ollama.models["gemma3:12b"] = ["completion"]
        town.ollama.reply = ["SAFE: true"]
        yield town


async def test_chat(town: ChatServer) -> None:
    """Streamed and whole, it is a sentence without sources, and no model is asked but the guard."""
    streamed, whole = await town.ask("Hi there!"), await town.ask("Hi there!", stream=False)
    assert streamed.text == whole.json()["response"] == "Welcome!"
    for closing in (streamed.last, whole.json()):
        assert closing["sources"] == closing["cited"] == []
        assert closing["usage"]["total_tokens"] == 0
        assert closing["finish_reason"] == "stop"
    assert len(town.ollama.bodies("/api/embed")) == 1  # of the documents
    assert {body["model"] for body in town.ollama.bodies("/api/chat")} == {"gemma3:12b"}
    assert [record["result"] for record in town.exchanges()] == ["small_talk"] * 2
    assert {"first_token", "total"} <= town.exchange()["timings_ms"].keys()
    figures = (await town.server.services.metrics.text()).decode()
    assert 'orbit_answers_total{result="small_talk"} 2.0' in figures


async def test_completions(town: ChatServer) -> None:
    """Clients of OpenAI get it in their form, without a list of sources."""
    given = {"model": "town", "messages": [{"role": "user", "content": "hello"}]}
    url = town.server.url + "/v1/chat/completions"
    async with town.http.post(url, json=given, headers=town.headers) as response:
        whole = await response.json()
    assert whole["choices"][0]["message"]["content"] == "Welcome!"
    assert whole["sources"] == []
    async with town.http.post(url, json=given | {"stream": True}, headers=town.headers) as response:
        lines = (await response.read()).decode().split("\n\n")
    chunks = [orjson.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(said) == "Welcome!"
    assert town.exchange()["result"] == "small_talk"


async def test_the_safety_check_comes_first(town: ChatServer) -> None:
    """What may not be asked is refused, small talk or not."""
    said = (await town.ask("Ciao!", stream=False)).json()
    assert said["blocked"] is True
    assert town.exchange()["result"] == "refused"
