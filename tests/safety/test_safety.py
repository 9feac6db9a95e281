"""The safety check in its place: before everything that costs, in every shape of answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orbit_server.safety.guard import REFUSED, SERVICE_REFUSAL
from tests.support.chat_server import ChatServer, Socket, town
from tests.support.moderator import HARMLESS, HOSTILE, LONG_HOSTILE, Moderator
from tests.support.ollama_standin import BUSY, Hang, NotPulled, OllamaStandIn
from tests.support.program import command, configure

pytestmark = pytest.mark.anyio

GUARD = "gemma3:12b"
QUICK: dict[str, Any] = {
    "safety__retry_delay": 0,
    "safety__max_retries": 1,
    "safety__request_timeout": 0.3,
}


@pytest.fixture(scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[ChatServer]:
    """A server whose questions are judged, long ones too."""
    folder = tmp_path_factory.mktemp("guarded")
    async with town(
        folder, safety__mode="fuzzy", safety__model=GUARD, chat__max_message_chars=20_000, **QUICK
    ) as there:
        yield there


@pytest.fixture
async def there(guarded: ChatServer) -> AsyncIterator[ChatServer]:
    """The judged server with a fresh Ollama, whose guard model is the moderator."""
    async with guarded.with_ollama():
        guarded.ollama.models[GUARD] = ["completion"]
        moderator = Moderator()

        def reply(body: dict[str, Any]) -> list[str]:
            if body["model"] == GUARD:
                return moderator.reply(body)
            return ["It opens ", "at nine."]

        guarded.ollama.reply = reply
        services = guarded.server.services
        services.configure(services.config)  # so that no verdict is remembered
        yield guarded


def called(there: ChatServer) -> list[str]:
    """Return the models that were asked, in order; embeddings by their path."""
    return [
        request.body["model"] if request.path == "/api/chat" else request.path
        for request in there.ollama.requests
    ]


async def test_a_hostile_question_is_refused_before_anything_is_embedded(there: ChatServer) -> None:
    """A refused question costs the moderator's call and nothing else; the answer is a 200."""
    for question in HOSTILE[:10]:
        reply = await there.ask(question)
        assert (reply.status, reply.text, reply.last) == (
            200,
            REFUSED,
            {"text": "", "done": True, "sources": [], "blocked": True},
        )
    assert set(called(there)) == {GUARD}
    record = there.exchange()
    assert record["blocked"] and record["block_reason"] == "moderator"
    assert record["response"] == REFUSED


async def test_a_refusal_has_the_shape_that_was_asked_for(there: ChatServer) -> None:
    """JSON callers get JSON; an Accept header for a stream gets a stream."""
    reply = await there.ask(HOSTILE[0], stream=False)
    assert reply.json() == {"response": REFUSED, "sources": [], "blocked": True}
    reply = await there.ask(HOSTILE[0], stream=False, headers={"Accept": "text/event-stream"})
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.text == REFUSED


async def test_a_harmless_question_is_judged_first_and_then_answered(there: ChatServer) -> None:
    """The verdict comes before the embedding, and that before the answer."""
    for question in HARMLESS[:10]:
        assert (await there.ask(question)).status == 200
    assert called(there)[:2] == [GUARD, "/api/embed"]
    assert [call for call in called(there) if call == GUARD] == [GUARD] * 10


async def test_the_whole_of_a_long_question_is_judged(there: ChatServer) -> None:
    """A hostile sentence behind 12,000 harmless characters is found."""
    for question in LONG_HOSTILE:
        assert (await there.ask(question)).text == REFUSED
    assert set(called(there)) == {GUARD}


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_the_history_is_judged_too(there: ChatServer, role: str) -> None:
    """What the caller says was said before is the caller's word, whoever is to have said it."""
    history = [{"role": role, "content": HOSTILE[1]}]
    assert (await there.ask(HARMLESS[0], history=history)).text == REFUSED


async def test_a_verdict_is_remembered(there: ChatServer) -> None:
    """The same question twice costs one verdict."""
    await there.ask(HOSTILE[2])
    await there.ask(HOSTILE[2])
    assert called(there) == [GUARD]


@pytest.mark.parametrize("fault", [NotPulled(), BUSY, Hang(0)], ids=["missing", "busy", "silent"])
async def test_no_verdict_is_a_refusal(there: ChatServer, fault: Any) -> None:
    """A guard that does not work lets nothing through, and says that it is a service issue."""
    there.ollama.fault = fault
    reply = await there.ask(HARMLESS[3])
    assert (reply.status, reply.text) == (200, SERVICE_REFUSAL)
    assert "/api/embed" not in called(there)
    assert there.exchange()["block_reason"] == "service"


async def test_a_client_that_leaves_stops_the_judgement(there: ChatServer) -> None:
    """The moderator's connection closes with the client's, and nothing is asked after it."""
    there.ollama.head_delay = 30
    services = there.server.services
    config = services.config
    patient = config.safety.model_copy(update={"request_timeout": 30.0})
    services.configure(config.model_copy(update={"safety": patient}))
    try:
        client = await Socket.asking(there, HARMLESS[4])
        await there.ollama.until(lambda: there.ollama.active == 1)
        client.leave("rst")
        left = await there.ollama.wait_disconnect()
        assert left.path == "/api/chat"
    finally:
        services.configure(config)
        there.ollama.head_delay = 0
    assert called(there) == [GUARD]


async def test_a_wrong_body_is_refused_before_it_is_judged(there: ChatServer) -> None:
    """400, 413, 415 and 422 cost no verdict; nor does a wrong key."""
    assert (await there.post("{")).status == 400
    assert (await there.post("x" * 70_000)).status == 413
    assert (await there.post("{}", Content_Type="text/plain")).status == 415
    assert (await there.ask(7)).status == 422
    assert (await there.ask("hi", headers={"X-API-Key": "api_wrong"})).status == 401
    assert called(there) == []


async def test_the_blocklist_costs_no_model_call(tmp_path: Path) -> None:
    """A phrase of the list is refused however it is spelt, before any model is asked."""
    listed = tmp_path / "blocklist.txt"
    listed.write_text("forbidden fruit\n")
    overrides: dict[str, Any] = {"safety__mode": "strict", "safety__blocklist": str(listed)}
    async with town(tmp_path, **overrides) as there:
        async with there.with_ollama():
            assert (await there.ask("Where do I get Forbidden \u200bFRUIT?")).text == REFUSED
            assert there.ollama.requests == []
        await asyncio.sleep(0)


async def test_the_operator_can_try_the_check(tmp_path: Path) -> None:
    """``moderate`` shows the verdict, the raw reply and the time, for ten texts of each kind."""
    async with OllamaStandIn() as ollama:
        ollama.models[GUARD] = ["completion"]
        ollama.reply = Moderator().reply
        configure(
            tmp_path,
            ollama={"base_url": ollama.url},
            safety={"mode": "strict", "model": GUARD},
        )
        for texts, verdict in ((HARMLESS[:10], "safe"), (HOSTILE[:10], "blocked (moderator)")):
            for text in texts:
                shown = await command(tmp_path, "moderate", text)
                assert shown.code == 0
                assert [line.split()[0] for line in shown.out.splitlines()] == [
                    "verdict",
                    "reply",
                    "time",
                ]
                assert f"verdict  {verdict}" in shown.out
                assert "SAFE: " in shown.out


async def test_the_check_that_is_off_cannot_be_tried(tmp_path: Path) -> None:
    """``moderate`` says so, and what to set."""
    configure(tmp_path)
    shown = await command(tmp_path, "moderate", "Hello")
    assert shown.code == 1
    assert "safety.mode" in shown.err
