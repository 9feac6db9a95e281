"""Read once, judged, then answered: what the safety layer passes on and what it stops."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from middleware.safety import SafetyMiddleware
from tests.support.asgi import Client, call, scope

pytestmark = pytest.mark.anyio

BODY = [b"open ", b"on ", b"Saturdays?"]
TICKS = 10


@dataclass(eq=False)
class Question:
    """A question; two with the same text are still two."""

    text: str


@dataclass
class House:
    """The layers around one endpoint, and what went through each of them."""

    verdict: str | None = None
    read: list[Question] = field(default_factory=list)
    checked: list[Question] = field(default_factory=list)
    answered: list[Question] = field(default_factory=list)

    async def reading(self, scope: Scope, receive: Receive) -> Question:
        question = Question((await Request(scope, receive).body()).decode())
        self.read.append(question)
        return question

    async def checking(self, question: Question) -> str | None:
        await asyncio.sleep(0)
        self.checked.append(question)
        return self.verdict

    def refusing(self, question: Question, reason: str) -> Response:
        return PlainTextResponse(f"{question.text}: {reason}", status_code=403)

    async def endpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.answered.append(scope["state"]["question"])
        await PlainTextResponse("answer")(scope, receive, send)

    def built(self, **replaced: Any) -> SafetyMiddleware:
        policies = {"read": self.reading, "check": self.checking, "refuse": self.refusing}
        app = replaced.pop("app", self.endpoint)
        return SafetyMiddleware(app, **{**policies, **replaced})


class Slow:
    """A check that takes for ever, and tells how it went."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.cancelled = False
        self.cleaned = False

    async def __call__(self, question: Question) -> str | None:
        self.running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            await asyncio.sleep(0)  # closing a connection takes a moment
            self.cleaned = True
        return None


async def test_the_endpoint_gets_the_object_that_was_judged() -> None:
    """The body is read once; check and endpoint see that very object."""
    house = House()
    result = await call(house.built(), "POST", body=BODY)
    assert result.body == b"answer"
    assert [question.text for question in house.read] == ["open on Saturdays?"]
    assert house.checked[0] is house.read[0] is house.answered[0]


async def test_without_a_check_the_object_is_passed_on() -> None:
    """``check=None`` judges nothing and still reads."""
    house = House()
    await call(house.built(check=None, refuse=None), "POST", body=BODY)
    assert house.answered == house.read != []


async def test_a_refusal_is_the_answer() -> None:
    """A question with a verdict against it never reaches the endpoint."""
    house = House(verdict="no gambling")
    result = await call(house.built(), "POST", body=BODY)
    assert (result.status, result.body) == (403, b"open on Saturdays?: no gambling")
    assert house.answered == []


async def test_a_response_of_the_reader_is_the_answer() -> None:
    """What ``read`` answers itself is neither judged nor passed on."""

    async def read(scope: Scope, receive: Receive) -> Response:
        return PlainTextResponse("too large", status_code=413)

    house = House()
    result = await call(house.built(read=read), "POST", body=BODY)
    assert (result.status, house.checked, house.answered) == (413, [], [])


@pytest.mark.parametrize("policy", ["read", "check"])
async def test_what_a_policy_raises_passes_through(policy: str) -> None:
    """A reader or a check that fails lets nothing pass; the error goes up as it is."""

    async def failing(*arguments: object) -> None:
        raise LookupError("model gone")

    house = House()
    with pytest.raises(LookupError, match="model gone"):
        await call(house.built(**{policy: failing}), "POST", body=BODY)
    assert house.answered == []


def test_a_check_needs_a_refusal() -> None:
    """A verdict without words for it is a mistake of whoever builds the application."""
    with pytest.raises(TypeError, match="refuse"):
        House().built(refuse=None)


@pytest.mark.parametrize("chunks", range(len(BODY)))
async def test_a_client_that_leaves_while_it_sends_is_passed_over_in_silence(chunks: int) -> None:
    """Half a body is not a question, and not a failure either: nothing is said to nobody."""
    house = House()
    result = await call(house.built(), "POST", body=BODY, disconnect_after_chunks=chunks)
    assert (result.messages, house.read, house.checked, house.answered) == ([], [], [], [])


async def test_a_client_that_leaves_stops_the_check_at_once() -> None:
    """Within a few turns of the loop the check is cancelled, and has cleaned up before the end."""
    house, slow = House(), Slow()
    client = Client(scope("POST"), BODY)
    task = asyncio.create_task(client.run(house.built(check=slow)))
    await slow.running.wait()
    client.leave()
    for _ in range(TICKS):
        await asyncio.sleep(0)
    assert slow.cancelled and slow.cleaned and task.done()
    assert ((await task).messages, house.answered) == ([], [])


async def test_a_check_is_cancelled_with_its_request() -> None:
    """A server that stops cancels the request; neither check nor watcher outlive it."""
    slow = Slow()
    client = Client(scope("POST"), BODY)
    task = asyncio.create_task(client.run(House().built(check=slow)))
    await slow.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cleaned and client.readers == 0


async def test_no_reader_is_left_behind_after_the_check() -> None:
    """The endpoint is the only reader of ``receive``, and the client's leaving is its to see."""
    got: list[Message] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        assert client.readers == 0
        client.leave()
        got.append(await receive())

    client = Client(scope("POST"), BODY)
    await client.run(House().built(app=endpoint))
    assert got == [{"type": "http.disconnect"}]


async def test_a_client_that_leaves_as_the_check_ends_is_seen_by_the_endpoint() -> None:
    """When verdict and disconnect come in the same turn, the endpoint is told once more."""
    got: list[str] = []

    async def check(question: Question) -> None:
        client.leave()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        got.append((await receive())["type"])

    client = Client(scope("POST"), BODY)
    await client.run(House().built(app=endpoint, check=check))
    assert got == ["http.disconnect"]


async def test_an_error_of_receive_is_not_taken_for_a_disconnect() -> None:
    """A layer outside may raise while the client is watched: that is a failure, and says so."""

    async def receive() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        raise ConnectionError("broken transport")

    body, slow = [b"question"], Slow()
    client = Client(scope("POST"))
    with pytest.raises(ConnectionError, match="broken transport"):
        await House().built(check=slow)(client.scope, receive, client.send)
    assert slow.cleaned


async def _numbers(first: int = 0, last: int | None = None) -> AsyncIterator[bytes]:
    while last is None or first <= last:
        yield b"%d " % first
        first += 1
        await asyncio.sleep(0)


def streaming(last: int | None = None) -> ASGIApp:
    """An endpoint that streams numbers and listens for the client's leaving meanwhile."""

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(_numbers(last=last))(scope, receive, send)

    return endpoint


async def test_a_stream_behind_the_layer_runs_to_its_end() -> None:
    """No disconnect is invented once the body was read: the stream is not cut."""
    result = await call(House().built(app=streaming(9)), "POST", body=BODY)
    assert result.complete
    assert result.body == b"0 1 2 3 4 5 6 7 8 9 "


async def test_a_stream_behind_the_layer_ends_when_the_client_leaves() -> None:
    """A disconnect in the middle of the response reaches an endless stream."""
    result = await call(House().built(app=streaming()), "POST", body=BODY, disconnect_after=4)
    assert not result.complete
    assert result.body == b"0 1 2 "


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_connections_pass_without_a_question(kind: str) -> None:
    """Only HTTP has a body to read; nothing is left for an endpoint to take for a question."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    house = House()
    await call(house.built(app=app), kind=kind)
    assert [each["type"] for each in seen] == [kind]
    assert house.read == [] and "question" not in seen[0].get("state", {})
