"""Answers from the right passage: follow-ups, reranking, citations, in the whole server."""

from pathlib import Path
from typing import Any

import pytest

from orbit_server.errors import ConfigError
from orbit_server.services import Services
from tests.support.chat_server import PAIRS, QUESTION, town
from tests.support.ollama_standin import Status
from tests.support.server import configuration

pytestmark = pytest.mark.anyio

CLOSES = "When does the library close?"


async def test_a_follow_up_is_searched_as_a_whole_question(tmp_path: Path) -> None:
    """What is embedded is the standalone question; what is answered is the caller's own."""

    def reply(body: dict[str, Any]) -> list[str]:
        last = body["messages"][-1]["content"]
        return [CLOSES] if last.endswith("Standalone question:") else ["At eight."]

    async with town(tmp_path) as there, there.with_ollama():
        there.ollama.reply = reply
        history = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": "At nine."},
        ]
        answer = await there.ask("And when does it close?", history=history)
        assert answer.last["sources"][0]["title"] == CLOSES
        assert there.ollama.bodies("/api/embed")[-1]["input"] == [CLOSES]
        asked = there.ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
        assert asked.endswith("Question: And when does it close?")
        assert there.exchange()["timings_ms"]["condense"] > 0


async def test_without_a_model_a_follow_up_is_searched_with_what_went_before(
    tmp_path: Path,
) -> None:
    """A failing condensation costs the answer nothing: the last question goes along."""
    async with town(tmp_path) as there, there.with_ollama():
        there.ollama.fault = [Status(400, "no"), None]
        there.ollama.reply = "At eight."
        history = [{"role": "user", "content": CLOSES}]
        answer = await there.ask("Really?", history=history)
        assert answer.text == "At eight."
        assert answer.last["sources"][0]["title"] == CLOSES
        assert there.ollama.bodies("/api/embed")[-1]["input"] == [f"{CLOSES} Really?"]


async def test_the_reranker_decides_the_order(tmp_path: Path) -> None:
    """Its scores are in the sources, its time in the log; ``top_n`` remain."""

    def reply(body: dict[str, Any]) -> list[str]:
        if "format" not in body:
            return ["At eight [1]."]
        rated = PAIRS[CLOSES] in body["messages"][-1]["content"]
        return ['{"score": 9}' if rated else '{"score": 2}']

    async with (
        town(tmp_path, reranker__enabled=True, reranker__top_n=2) as there,
        there.with_ollama(),
    ):
        there.ollama.reply = reply
        answer = await there.ask(QUESTION)
        sources = answer.last["sources"]
        assert [source["rerank_score"] for source in sources] == [9, 2]
        assert sources[0]["title"] == CLOSES
        assert there.exchange()["timings_ms"]["rerank"] > 0
        first = there.ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
        assert first.index(PAIRS[CLOSES]) < first.index(PAIRS[QUESTION])


async def test_a_failing_reranker_loses_no_answer(tmp_path: Path) -> None:
    """The order of the search stays."""
    async with town(tmp_path, reranker__enabled=True) as there, there.with_ollama():
        there.ollama.reply = "nine or so"
        answer = await there.ask(QUESTION)
        assert answer.text == "nine or so"
        assert answer.last["sources"][0]["title"] == QUESTION


def test_a_reranker_that_cannot_chat_is_refused_at_start(tmp_path: Path) -> None:
    """Ollama serves bge-reranker as an embedder only; the sentence says so."""
    config = configuration(tmp_path, reranker__enabled=True, reranker__model="bge-reranker-v2-m3")
    with pytest.raises(ConfigError, match="reranker"):
        Services(config)


async def test_citations_name_the_sources_that_the_text_refers_to(tmp_path: Path) -> None:
    """Valid markers count; the text stays as the model said it."""
    async with town(tmp_path) as there, there.with_ollama():
        there.ollama.reply = ["It opens at nine [2], [", "1], see a[1] and [9]."]
        streamed = await there.ask(QUESTION)
        whole = (await there.ask(QUESTION, stream=False)).json()
        ids = [source["id"] for source in whole["sources"]]
        assert whole["cited"] == [ids[1], ids[0]] == streamed.last["cited"]
        assert whole["response"] == "It opens at nine [2], [1], see a[1] and [9]."


async def test_sources_are_what_the_model_was_given(tmp_path: Path) -> None:
    """A passage that does not fit the model's context is no source."""
    async with (
        town(tmp_path, ollama__num_ctx=1024, ollama__num_predict=256) as there,
        there.with_ollama(),
    ):
        there.ollama.reply = "At nine."
        await there.server.pairs("town", {"When does the library open late?": "x " * 4000}, "long")
        answer = await there.ask(QUESTION)
        given = there.ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
        assert given.count("<passage ") == len(answer.last["sources"]) > 0
        assert "x x x" not in given
        assert all(source["source"] != "long" for source in answer.last["sources"])


async def test_prompts_are_logged_only_when_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG the steps' times are told; prompts need a switch of their own."""
    caplog.set_level("DEBUG", logger="orbit_server")
    for name, wanted in (("without", False), ("with", True)):
        folder = tmp_path / name
        folder.mkdir()
        async with (
            town(folder, logging__include_prompts=wanted, general__verbose=True) as there,
            there.with_ollama(),
        ):
            caplog.clear()
            await there.ask(QUESTION)
        assert "took ms: {" in caplog.text
        assert ("<passage " in caplog.text) is wanted
