"""A model call is tried again in one place: what is configured is what Ollama gets."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orbit_server.errors import ModelBusy, ModelError, ModelNotFound
from orbit_server.llm.retrying import retried
from tests.support.chat_server import town
from tests.support.ollama_standin import BUSY, Abort, Fault

pytestmark = pytest.mark.anyio


class Failing:
    """A call that fails as often as it is told, and counts."""

    def __init__(self, *failures: ModelError) -> None:
        self.failures, self.calls = list(failures), 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "yes"


async def test_calls_until_it_works_or_the_retries_are_used_up() -> None:
    """Three retries are four calls at most; every retry is reported with its reason."""
    seen: list[ModelError] = []
    settings: dict[str, Any] = {"delay": 0, "worthwhile": lambda failure: True}
    call = Failing(ModelBusy("1"), ModelBusy("2"))
    assert await retried(call, retries=3, on_retry=seen.append, **settings) == "yes"
    assert (call.calls, [str(each) for each in seen]) == (3, ["1", "2"])
    call = Failing(*[ModelBusy()] * 9)
    with pytest.raises(ModelBusy):
        await retried(call, retries=3, **settings)
    assert call.calls == 4
    call = Failing(ModelBusy())
    with pytest.raises(ModelBusy):
        await retried(call, retries=0, **settings)
    assert call.calls == 1


async def test_what_will_not_change_is_not_tried_again() -> None:
    """The caller says which failures are worth another call."""
    call = Failing(ModelBusy(), ModelNotFound())
    with pytest.raises(ModelNotFound):
        await retried(
            call, retries=3, delay=0, worthwhile=lambda failure: isinstance(failure, ModelBusy)
        )
    assert call.calls == 2


@pytest.mark.parametrize("fault", [BUSY, Abort()], ids=["busy", "cut"])
async def test_guard_asks_as_often_as_it_is_configured(tmp_path: Path, fault: Fault) -> None:
    """``safety.max_retries: 3`` is four requests at most, whatever fails."""
    overrides: dict[str, Any] = {"safety__max_retries": 3, "safety__retry_delay": 0}
    async with (
        town(tmp_path, safety__mode="fuzzy", safety__model="gemma3:4b", **overrides) as server,
        server.with_ollama(),
    ):
        server.ollama.fault = fault
        await server.ask("When does the library open?")
        assert [request.path for request in server.ollama.requests] == ["/api/chat"] * 4


@pytest.mark.parametrize("fault", [BUSY, Abort()], ids=["busy", "cut"])
async def test_others_ask_three_times(tmp_path: Path, fault: Fault) -> None:
    """Condense, rating a passage and the answer, and an embedding alike: three requests each."""
    history = [{"role": "user", "content": "Is there a library?"}]
    async with (
        town(tmp_path, reranker__enabled=True, reranker__model="gemma3:4b") as server,
        server.with_ollama(),
    ):
        server.ollama.fault = fault
        await server.ask("When does it open?", history=history)
        chats = Counter(json.dumps(body) for body in server.ollama.bodies("/api/chat"))
        kinds = Counter(
            "answer" if body["stream"] else "rerank" if "format" in body else "condense"
            for body in map(json.loads, chats)
        )
        assert set(chats.values()) == {3}
        assert (kinds["condense"], kinds["answer"]) == (1, 1)
        assert kinds["rerank"] >= 1
        server.ollama.embed_fault = fault
        server.ollama.requests.clear()
        await server.ask("Where is the town hall?")
        assert [request.path for request in server.ollama.requests] == ["/api/embed"] * 3
