"""The queue towards the model, as clients see it: refusals, pings, leaving, and the log."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.chat_server import QUESTION, ChatServer, Reply, Socket
from tests.support.chat_server import town as open_town
from tests.support.ollama_standin import BUSY, Hang
from tests.support.server import ADMIN_TOKEN
from tests.support.timing import until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """A server that lets one answer be written and one wait."""
    folder = tmp_path_factory.mktemp("queue")
    async with open_town(
        folder, ollama__concurrency=1, ollama__queue=1, ollama__queue_timeout=60
    ) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own; no place may be left taken."""
    async with opened.with_ollama():
        yield opened
    queue = opened.server.services.queue
    assert (queue.taken, queue.waiting) == (0, 0)


async def holding(town: ChatServer) -> Socket:
    """Ask a question whose answer holds the only place until its client leaves."""
    town.ollama.fault = [Hang(after=1)]
    client = await Socket.asking(town)
    await client.read_until(b"data: ")
    return client


async def until_waiting(town: ChatServer, number: int = 1) -> None:
    """Return once ``number`` answers wait."""
    await until(lambda: town.server.services.queue.waiting == number, timeout=30)


async def figures(town: ChatServer) -> dict[str, float]:
    """The metrics by name with labels."""
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with town.http.get(town.server.url + "/metrics", headers=admin) as response:
        lines = (await response.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_full_queue(town: ChatServer, stream: bool) -> None:
    """503 at once, with a time to come back; neither a search nor a model call was made."""
    first = await holding(town)
    second = await Socket.asking(town)
    await until_waiting(town)
    embedded = len(town.ollama.bodies("/api/embed"))
    before = (await figures(town))["orbit_queue_refused_total"]
    assert (await figures(town))["orbit_queue_waiting"] == 1
    reply = await town.ask(stream=stream)
    assert (reply.status, reply.json()["code"]) == (503, "model_busy")
    assert int(reply.headers["Retry-After"]) >= 1
    assert len(town.ollama.bodies("/api/embed")) == embedded
    assert (await figures(town))["orbit_queue_refused_total"] == before + 1
    (record,) = [each for each in town.exchanges() if each["request_id"] == _id(reply)]
    assert (record["outcome"], record["error"]) == ("failed", "model_busy")
    async with town.http.post(
        town.server.url + "/v1/chat/completions",
        json={"model": "town", "messages": [{"role": "user", "content": QUESTION}]},
        headers=town.headers,
    ) as response:
        assert (response.status, int(response.headers["Retry-After"]) >= 1) == (503, True)
        assert (await response.json())["error"]["code"] == "model_busy"
    for client in (first, second):
        client.leave()


async def test_its_turn_comes(town: ChatServer) -> None:
    """What waits is answered when the place is free; log and metrics say how long it was."""
    first = await holding(town)
    waiting = asyncio.create_task(town.ask())
    await until_waiting(town)
    count = (await figures(town))["orbit_queue_seconds_count"]
    await asyncio.sleep(0.05)
    first.leave()
    reply = await waiting
    assert reply.text == "The library opens at nine."
    timings = next(r for r in town.exchanges() if r["request_id"] == _id(reply))["timings_ms"]
    assert 50 <= timings["queue"] <= timings["first_token"]
    assert (await figures(town))["orbit_queue_seconds_count"] >= count + 1


async def test_waiting_too_long_before_the_head(tmp_path: Path) -> None:
    """It is a status, with the wait in the log."""
    async with (
        open_town(
            tmp_path, ollama__concurrency=1, ollama__queue_timeout=0.3, chat__head_timeout=60
        ) as town,
        town.with_ollama(),
    ):
        first = await holding(town)
        reply = await town.ask()
        assert (reply.status, reply.json()["code"]) == (503, "model_busy")
        assert "Retry-After" in reply.headers
        timings = next(r for r in town.exchanges() if r["request_id"] == _id(reply))["timings_ms"]
        assert timings["queue"] >= 300
        first.leave()


async def test_who_leaves_while_waiting(town: ChatServer) -> None:
    """The waiting place is free at once, and the model is never asked for it."""
    first = await holding(town)
    for how in ("fin", "rst"):
        gone = await Socket.asking(town)
        await until_waiting(town)
        gone.leave(how)
        await until_waiting(town, 0)
    assert len(town.ollama.bodies("/api/chat")) == 1
    first.leave()


async def test_ollamas_own_queue(town: ChatServer) -> None:
    """When Ollama says that it is busy it is the same code, and a time to come back."""
    town.ollama.fault = BUSY
    reply = await town.ask()
    assert (reply.status, reply.json()["code"]) == (503, "model_busy")
    assert reply.headers["Retry-After"] == "5"


@pytest.mark.parametrize("shape", ["delta", "cumulative"])
async def test_after_the_head(tmp_path: Path, shape: str) -> None:
    """Pings say that the server is alive; a wait that is too long ends as an event."""
    async with (
        open_town(
            tmp_path,
            ollama__concurrency=1,
            ollama__queue_timeout=2.5,
            chat__head_timeout=0.1,
            chat__ping_seconds=1,
        ) as town,
        town.with_ollama(),
    ):
        first = await holding(town)
        reply = await town.ask(stream_format=shape)
        assert reply.status == 200
        assert reply.body.count(b": ping\n\n") >= 2
        assert reply.last["error"] == "model_busy"
        assert reply.last["retry_after"] >= 1
        assert "busy" in reply.events[-2]["text"]
        first.leave()


async def test_an_answer_without_a_model_does_not_wait(tmp_path: Path) -> None:
    """Nothing is worded, so nothing has to wait for the words."""
    async with (
        open_town(
            tmp_path, ollama__concurrency=1, ollama__queue=0, answer__provider="extractive"
        ) as town,
        town.server.services.queue.place("somebody"),
    ):
        assert (await town.ask()).status == 200
        assert "queue" not in town.exchange()["timings_ms"]


def _id(reply: Reply) -> str:
    return reply.headers["X-Request-ID"]
