"""A client that leaves: whatever runs for it stops at once, and the log has what it got."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from orbit_server.api.event_stream import EventStream, server_stopping
from orbit_server.api.exchange_log import log_answer
from orbit_server.api.shutdown import Shutdown
from orbit_server.app import create_app
from orbit_server.types import Question
from tests.support import asgi
from tests.support.chat_server import QUESTION, ChatServer, Requests, Socket, request_log
from tests.support.chat_server import town as open_town
from tests.support.ollama_standin import Disconnect, Hang

pytestmark = pytest.mark.anyio

SOON = 15.0  # seconds; it takes a few milliseconds, but a test machine may be busy
SHAPES: dict[str, dict[str, Any]] = {
    "delta": {"stream_format": "delta"},
    "cumulative": {"stream_format": "cumulative"},
    "whole": {"stream": False},
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
each_way = pytest.mark.parametrize("way", ["fin", "rst", "half"])


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """One server for the tests of this file."""
    async with open_town(tmp_path_factory.mktemp("disconnect")) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own, of which nothing may go on afterwards."""
    async with opened.with_ollama():
        opened.ollama.reply = ["The library", " opens", " at nine."]
        yield opened


async def departure(town: ChatServer, left_at: float) -> Disconnect:
    """Return what Ollama saw of our leaving, which must have been soon."""
    gone = await town.ollama.wait_disconnect(SOON)
    assert gone.at - left_at < SOON
    return gone


def now() -> float:
    """The clock that the stand-in reads too."""
    return asyncio.get_running_loop().time()


async def check_logged(town: ChatServer, before: int, said: str) -> None:
    """One more exchange is in the log, as disconnected, with the text so far and no error."""
    records = await town.exchanged(before + 1)
    assert len(records) == before + 1
    record = records[-1]
    assert (record["outcome"], record["error"]) == ("disconnected", None)
    assert (record["query"], record["response"]) == (QUESTION, said)


# -- real sockets ----------------------------------------------------------------------


@each_way
@each_shape
async def test_leaving_while_the_question_is_embedded(
    town: ChatServer, shape: dict[str, Any], way: str
) -> None:
    """Ollama's embedding connection closes, and no model is asked."""
    before = len(town.exchanges())
    town.ollama.embed_fault = Hang()
    client = await Socket.asking(town, **shape)
    await town.ollama.until(lambda: len(town.ollama.requests) == 1)
    client.leave(way)
    gone = await departure(town, now())
    assert (gone.path, gone.phase) == ("/api/embed", "embed")
    await check_logged(town, before, "")
    assert town.ollama.bodies("/api/chat") == []
    client.raw.close()


@each_shape
async def test_leaving_while_a_follow_up_is_understood(
    town: ChatServer, shape: dict[str, Any]
) -> None:
    """With a history, a model may first word the question anew; that stops too."""
    before = len(town.exchanges())
    town.ollama.fault = Hang()
    history = [{"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Yes."}]
    client = await Socket.asking(town, history=history, **shape)
    await town.ollama.until(lambda: town.ollama.active == 1)
    client.leave()
    await departure(town, now())
    await check_logged(town, before, "")


@each_way
@each_shape
async def test_leaving_before_the_first_word(
    town: ChatServer, shape: dict[str, Any], way: str
) -> None:
    """While the model is loading, and nothing has been sent yet."""
    before = len(town.exchanges())
    town.ollama.head_delay = 30
    client = await Socket.asking(town, **shape)
    await town.ollama.until(lambda: town.ollama.active == 1)
    client.leave(way)
    gone = await departure(town, now())
    assert (gone.path, gone.phase, gone.pieces) == ("/api/chat", "head", 0)
    await check_logged(town, before, "")
    client.raw.close()


@each_way
@pytest.mark.parametrize("stream_format", ["delta", "cumulative"])
async def test_leaving_in_the_middle(town: ChatServer, stream_format: str, way: str) -> None:
    """After some words; the model says no other one."""
    before = len(town.exchanges())
    town.ollama.fault = Hang(after=2)
    client = await Socket.asking(town, stream_format=stream_format)
    await client.read_until(b"opens")
    client.leave(way)
    gone = await departure(town, now())
    assert (gone.phase, gone.pieces) == ("stream", 2)
    await check_logged(town, before, "The library opens")
    client.raw.close()


@each_way
async def test_leaving_a_whole_answer_in_the_making(town: ChatServer, way: str) -> None:
    """Nobody would read it: the published widget waits for whole answers, and its readers leave."""
    before = len(town.exchanges())
    town.ollama.fault = Hang(after=2)
    client = await Socket.asking(town, stream=False)
    await town.ollama.until(lambda: town.ollama.active == 1)
    client.leave(way)
    gone = await departure(town, now())
    assert (gone.phase, gone.pieces) == ("stream", 2)
    record = (await town.exchanged(before + 1))[-1]
    assert (record["outcome"], record["error"]) == ("disconnected", None)
    assert "The library opens".startswith(record["response"])  # as much as had been read
    client.raw.close()


async def test_leaving_stops_a_model_that_goes_on_talking(town: ChatServer) -> None:
    """It is noticed before the model's next word, not at the next attempt to send one."""
    before = len(town.exchanges())
    town.ollama.reply = ["The library"] + [" and so on"] * 1000
    town.ollama.piece_delay = SOON
    for shape in ("delta", "cumulative"):
        client = await Socket.asking(town, **SHAPES[shape])
        await client.read_until(b"The library")
        left = now()
        client.leave()
        gone = await departure(town, left)
        assert gone.pieces == 1
    records = await town.exchanged(before + 2)
    assert [record["response"] for record in records[before:]] == ["The library"] * 2


async def test_leaving_after_an_overdue_head(tmp_path: Path) -> None:
    """The head and a ping are out, the model is still loading."""
    async with open_town(tmp_path, chat__head_timeout=0.05, chat__ping_seconds=1) as town:
        town.ollama.head_delay = 30
        for shape in ("delta", "cumulative"):
            client = await Socket.asking(town, **SHAPES[shape])
            await client.read_until(b": ping\n\n")
            client.leave("rst")
            gone = await departure(town, now())
            assert gone.phase == "head"
            await town.settled()


async def test_leaving_in_a_queue(town: ChatServer) -> None:
    """Who leaves while others are served gives up the place."""
    town.ollama.slots = 1
    town.ollama.fault = [Hang(after=1), None]
    first = await Socket.asking(town)
    await first.read_until(b"library")
    second = await Socket.asking(town)
    await town.ollama.until(lambda: len(town.ollama.bodies("/api/chat")) == 2)
    second.leave()
    assert (await departure(town, now())).phase == "queued"
    first.leave()
    assert (await departure(town, now())).phase == "stream"


async def test_leaving_does_not_disturb_others(town: ChatServer) -> None:
    """Half of forty clients leave; the other half get every word."""
    town.ollama.reply = [f"{number} " for number in range(60)]
    town.ollama.piece_delay = 0.05
    before = len(town.exchanges())
    leaving = [await Socket.asking(town) for _ in range(20)]
    staying = asyncio.gather(*(town.ask() for _ in range(20)))
    for client in leaving:
        await client.read_until(b"3 ")
        client.leave("rst")
    expected = "".join(town.ollama.reply)
    assert [reply.text for reply in await staying] == [expected] * 20
    outcomes = [record["outcome"] for record in (await town.exchanged(before + 40))[before:]]
    assert sorted(outcomes) == ["completed"] * 20 + ["disconnected"] * 20
    await town.settled()


async def test_request_log_says_disconnected(town: ChatServer) -> None:
    """With the status that went out, if any did."""
    with request_log() as requests:
        town.ollama.fault = [Hang(after=1), Hang()]
        for begun in (True, False):
            client = await Socket.asking(town)
            if begun:
                await client.read_until(b"library")
            else:
                await town.ollama.until(lambda: town.ollama.active == 1)
            client.leave()
            await departure(town, now())
        await ended(requests, 2)
    assert [(r["status"], r["outcome"], r["error"]) for r in requests.records] == [
        (200, "disconnected", None),
        (None, "disconnected", None),
    ]


async def ended(requests: Requests, count: int) -> None:
    """Return once so many requests have ended."""
    async with asyncio.timeout(30):
        while len(requests.records) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_leaving_while_the_question_is_sent(town: ChatServer) -> None:
    """Half a body asks nothing, and is no error of anybody's."""
    before = len(town.exchanges())
    host, port = town.server.url.removeprefix("http://").split(":")
    with request_log() as requests:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /chat HTTP/1.1\r\nHost: x\r\nX-API-Key: {town.headers['X-API-Key']}\r\n"
            'Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"mess'.encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await ended(requests, 1)
    assert requests.records[0]["outcome"] == "disconnected"
    assert town.ollama.requests == []
    assert len(town.exchanges()) == before


# -- by hand ---------------------------------------------------------------------------


def client(town: ChatServer, body: dict[str, Any], **options: Any) -> asgi.Client:
    """Return a client made by hand, which has sent a question."""
    fields = [*town.headers.items(), ("Content-Type", "application/json")]
    data = orjson.dumps({"message": QUESTION, **body})
    return asgi.Client(asgi.scope("POST", "/chat", fields), [data], **options)


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("stream_format", ["delta", "cumulative"])
async def test_leaving_after_so_many_messages(
    town: ChatServer, stream_format: str, after: int
) -> None:
    """With the head, the first text or the next one as the last thing that was taken."""
    app = create_app(services=town.server.services)
    town.ollama.fault = Hang(after=2)
    town.ollama.piece_delay = 0.3  # more than cumulative pieces wait for each other
    before = len(town.exchanges())
    asked = client(town, {"stream_format": stream_format}, disconnect_after=after)
    result = await asyncio.wait_for(asked.run(app), 30)
    assert not result.complete
    assert len(result.messages) == after
    await check_logged(town, before, "The library opens" if after == 3 else "The library")


@each_shape
async def test_leaving_during_each_step_of_the_search(
    town: ChatServer, shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a search that hangs is given up."""
    app = create_app(services=town.server.services)
    searching = asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> None:
        searching.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(town.server.services.chroma, "search", hang)
    before = len(town.exchanges())
    asked = client(town, shape)
    run = asyncio.create_task(asked.run(app))
    await searching.wait()
    asked.leave()
    result = await asyncio.wait_for(run, 30)
    assert result.messages == []
    await check_logged(town, before, "")


async def test_client_that_stops_reading_is_let_go(tmp_path: Path) -> None:
    """It may not hold the model for ever: Ollama's connection closes."""
    async with open_town(tmp_path) as town:
        town.ollama.reply = ["x" * 100_000] * 500
        services = town.server.services
        (caller, *_) = await services.keys.list()
        state = {"request_id": "r-1", "caller": caller, "client": "", "peer": "", "checked_ms": 0.0}
        answer = services.pipeline.answer(Question(message=QUESTION), caller.collection)
        stream = EventStream(
            answer,
            finish=partial(log_answer, services, state, answer),
            shutdown=Shutdown(30, stopping=server_stopping),
            head_timeout=0.1,
            ping=1,
            stalled=0.2,
        )
        asked = client(town, {}, slow_after=3)
        run = asyncio.create_task(asked.run(stream))
        gone = await town.ollama.wait_disconnect()
        assert gone.phase == "stream"
        await asyncio.wait_for(run, 30)
        await town.settled()
        (record,) = town.exchanges()
        assert record["outcome"] == "disconnected"
