"""Limits at the door: who is admitted, and that whoever was leaves exactly once."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from middleware.rate_limit import RateLimitMiddleware
from tests.support.asgi import Client, call

pytestmark = pytest.mark.anyio


class Full(Exception):
    """There is no room."""


class Room:
    """Has places, and notes who asked."""

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self.inside = 0
        self.asked: list[tuple[Any, str, str | None]] = []

    async def admit(
        self, caller: Any, client: str, headers: Headers
    ) -> tuple[Mapping[str, str], Callable[[], None]]:
        self.asked.append((caller, client, headers.get("origin")))
        if self.inside == self.places:
            raise Full
        self.inside += 1
        return {"RateLimit-Limit": "20"}, self.leave

    def leave(self) -> None:
        assert self.inside > 0
        self.inside -= 1


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello", headers={"RateLimit-Limit": "1"})(scope, receive, send)


def guarded(room: Room, app: Any = answer) -> RateLimitMiddleware:
    return RateLimitMiddleware(app, admit=room.admit)


async def test_an_answer_carries_the_headers() -> None:
    """It is the limiter that knows them best; the place is free again."""
    room = Room()
    for _ in range(3):
        result = await call(guarded(room), headers=[("Origin", "https://a.example")])
        assert (result.status, result.headers.getlist("ratelimit-limit")) == (200, ["20"])
    assert room.asked == [(None, "", "https://a.example")] * 3
    assert room.inside == 0


async def test_a_refusal_passes_through_before_anything_is_read() -> None:
    """What answers it is above; nothing below has run, and no place is taken."""
    ran = False

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal ran
        ran = True

    room = Room(places=0)
    with pytest.raises(Full):
        await call(guarded(room, below), "POST", body=[b"never read"])
    assert (ran, room.inside) == (False, 0)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
async def test_a_failure_leaves(error: type[BaseException]) -> None:
    """Whatever comes from below."""

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    room = Room()
    with pytest.raises(error):
        await call(guarded(room, fail))
    assert room.inside == 0


async def test_a_stream_keeps_its_place_to_its_end() -> None:
    """A client that reads slowly is inside as long; one that leaves is not."""
    room = Room()
    go_on = asyncio.Event()

    async def pieces() -> Any:
        yield b"one"
        await go_on.wait()
        yield b"two"

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(pieces())(scope, receive, send)

    scope: Scope = {"type": "http", "method": "GET", "headers": [], "path": "/"}
    scope["asgi"] = {"spec_version": "2.3"}
    client = Client(scope)
    task = asyncio.create_task(guarded(room, stream)(scope, client.receive, client.send))
    while not client.result.body:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert room.inside == 1
    with pytest.raises(Full):
        await call(guarded(room, stream))
    client.leave()
    await task
    assert room.inside == 0


async def test_other_scopes_pass() -> None:
    """A WebSocket and the lifespan are none of its business."""
    seen = []

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    room = Room(places=0)
    for kind in ("lifespan", "websocket"):
        await guarded(room, below)({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]
    assert room.asked == []
