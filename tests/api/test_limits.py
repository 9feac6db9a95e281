"""Limits in the whole server: what a refusal looks like and costs, and slots that come back."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from starlette.types import ASGIApp

from orbit_server.app import create_app
from orbit_server.auth import Limits
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.services import Services

from ..support import asgi
from ..support.chat_server import QUESTION, ChatServer, request_log, town
from ..support.ollama_standin import Hang
from ..support.server import ADMIN_TOKEN, Running, lexical, running

pytestmark = pytest.mark.anyio

COMPLETION = {"model": "town", "messages": [{"role": "user", "content": QUESTION}]}


@pytest.fixture(scope="module")
async def chat(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    async with town(tmp_path_factory.mktemp("limits")) as chat:
        yield chat


async def limited(chat: ChatServer, **limits: int) -> dict[str, str]:
    return await chat.server.key("town", limits=Limits(**limits))


async def test_an_answer_says_how_much_is_left(chat: ChatServer) -> None:
    """To programs and to pages of other sites; a key without limits says nothing."""
    headers = await limited(chat, requests_per_minute=20, requests_per_day=5)
    for stream in (True, False):
        reply = await chat.ask(stream=stream, headers={**headers, "Origin": "https://a.example"})
        assert (reply.status, reply.headers["RateLimit-Limit"]) == (200, "5")
        assert "RateLimit-Remaining" in reply.headers["Access-Control-Expose-Headers"]
    assert reply.headers["RateLimit-Remaining"] == "3"
    assert "RateLimit-Limit" not in (await chat.ask()).headers


async def test_past_a_limit(chat: ChatServer) -> None:
    """429 in the form of the route, counted and in the log; neither body nor model are touched."""
    headers = await limited(chat, visitor_per_minute=1)
    assert (await chat.ask(headers=headers)).status == 200
    asked = len(chat.ollama.requests)
    with request_log() as log:
        reply = await chat.post(b"\xff not even read", X_API_Key=headers["X-API-Key"])
        record = await log.record(reply)
    assert reply.status == 429
    assert reply.json()["code"] == "too_many_requests"
    assert reply.json()["detail"].startswith("Too many questions. Please try again in ")
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert reply.headers["RateLimit-Remaining"] == "0"
    assert (record["status"], record["outcome"]) == (429, "completed")
    assert record["key_id"] is not None
    assert record["refused"] == "visitor_per_minute"
    assert record["msg"] % record["args"] == "POST /chat 429 refused: visitor_per_minute"
    url = chat.server.url + "/v1/chat/completions"
    async with chat.http.post(url, json=COMPLETION, headers=headers) as response:
        assert response.status == 429
        assert response.headers["Retry-After"]
        error = (await response.json())["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "too_many_requests")
    assert len(chat.ollama.requests) == asked
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with chat.http.get(chat.server.url + "/metrics", headers=admin) as response:
        assert 'orbit_refusals_total{reason="visitor_per_minute"} 2.0' in await response.text()


async def test_who_must_wait_for_tomorrow_need_not_try_again(chat: ChatServer) -> None:
    """The clients of OpenAI would, twice."""
    url = chat.server.url + "/v1/models"
    for limit, again in (({"requests_per_day": 1}, "false"), ({"requests_per_minute": 1}, None)):
        headers = await limited(chat, **limit)
        for status in (200, 429):
            async with chat.http.get(url, headers=headers) as response:
                assert response.status == status
        assert response.headers.get("x-should-retry") == again


async def test_a_running_stream_is_not_cut(chat: ChatServer) -> None:
    """A limit that is reached meanwhile refuses others, and the slot is free when it has ended."""
    headers = await limited(chat, streams=1)
    chat.ollama.fault = Hang(after=1)
    async with chat.asking(headers=headers) as response:
        assert response.status == 200
        assert await response.content.readany()
        refused = await chat.ask(headers=headers)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    chat.ollama.fault = None
    await chat.settled()
    assert (await chat.ask(headers=headers)).status == 200


async def test_a_key_of_a_site_is_for_its_pages(chat: ChatServer) -> None:
    """Others are told so with 403, in the form of the route."""
    headers = await chat.server.key("town", origins=["https://town.example"])
    page = {"Origin": "https://town.example"}
    assert (await chat.ask(headers={**headers, **page})).status == 200
    own = {"Origin": chat.server.url}
    assert (await chat.ask(headers={**headers, **own})).status == 200
    for wrong in ({}, {"Origin": "https://evil.example"}):
        reply = await chat.ask(headers={**headers, **wrong})
        assert (reply.status, reply.json()["code"]) == (403, "origin_not_allowed")
    async with chat.http.get(chat.server.url + "/v1/models", headers=headers) as response:
        assert response.status == 403
        assert (await response.json())["error"]["type"] == "permission_error"


async def test_the_day_is_shown_in_the_list(chat: ChatServer) -> None:
    """Requests that were let in, whatever became of them; refused ones are none."""
    headers = await limited(chat, requests_per_minute=3)
    for _ in range(4):
        await chat.post(b"{}", X_API_Key=headers["X-API-Key"])
    await chat.server.services.keys.__aexit__()
    await chat.server.services.keys.__aenter__()
    key = (await chat.server.services.keys.list())[-1]
    assert key.used == 3


async def test_a_site_with_a_key_needs_no_line_in_the_configuration(tmp_path: Path) -> None:
    """Preflights of its pages go on as soon as there is the key, and end with it."""
    config = lexical(tmp_path, web__cors_origins=["https://other.example"])
    asking = {
        "Origin": "https://town.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    async with running(config) as server, aiohttp.ClientSession() as http:
        statuses = []

        async def preflight() -> None:
            async with http.options(server.url + "/chat", headers=asking) as response:
                statuses.append(response.status)

        await preflight()
        key, secret = await server.services.keys.create(
            "town", "page", origins=["https://town.example"]
        )
        server.services.keys.forget()
        await preflight()
        headers = {"Origin": "https://town.example", "X-API-Key": secret}
        async with http.post(server.url + "/chat", json={}, headers=headers) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://town.example"
        await server.services.keys.deactivate(key.id)
        await preflight()
    assert statuses == [400, 200, 400]


async def test_wrong_keys_are_slowed(tmp_path: Path) -> None:
    """Then they cost no look into the database; right keys of the address go on working."""
    config = lexical(
        tmp_path, limits__wrong_keys_per_minute=5, general__trusted_proxies=["127.0.0.1"]
    )
    async with running(config) as server, aiohttp.ClientSession() as http:
        reads = 0
        stored = server.services.keys._stored

        async def counted(digest: str) -> Any:
            nonlocal reads
            reads += 1
            return await stored(digest)

        server.services.keys._stored = counted  # type: ignore[method-assign]

        async def ask(key: str, address: str, path: str = "/chat") -> Any:
            headers = {"X-API-Key": key, "X-Forwarded-For": address}
            async with http.post(server.url + path, json={}, headers=headers) as response:
                return response.status, dict(response.headers), await response.json()

        statuses = []
        for number in range(40):
            status, headers, body = await ask(f"api_{number:032}", f"2001:db8::{number:x}")
            statuses.append(status)
        assert statuses == [401] * 5 + [429] * 35
        assert reads == 5
        assert body["detail"].startswith("Too many wrong API keys. Please try again in ")
        assert 1 <= int(headers["Retry-After"]) <= 60
        _, _, openai = await ask("api_" + "y" * 32, "2001:db8::5", "/v1/chat/completions")
        assert openai["error"]["type"] == "rate_limit_error"
        assert (await ask("api_" + "z" * 32, "192.0.2.7"))[0] == 401
        _, secret = await server.services.keys.create("town", "Ann")
        server.services.keys.forget()
        for _ in range(2):
            assert (await ask(secret, "2001:db8::5"))[0] == 422
        text = (await server.services.metrics.text()).decode()
        assert 'orbit_refusals_total{reason="wrong_keys"} 36.0' in text


# -- slots come back --------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(lexical(tmp_path_factory.mktemp("small"))) as server:
        await server.pairs("town", {QUESTION: "At nine."})
        yield server


def taken(services: Services) -> int:
    assert isinstance(services.limiter, MemoryLimiter)
    return services.limiter.taken.total()


async def abandon(app: ASGIApp, fields: asgi.Fields, number: int) -> None:
    """Ask in one of many ways that do not end well."""
    body = orjson.dumps({"message": QUESTION, "stream": number % 2 == 0})
    halves = [body[:9], body[9:]]
    way = number % 8
    if way < 4:  # it leaves before or while it sends its question
        chunks = [[b"", b""], halves][way % 2]
        await asgi.call(app, "POST", "/chat", fields, chunks, disconnect_after_chunks=way % 2)
    elif way == 4:  # it is cancelled while it waits for the rest
        client = asgi.Client(asgi.scope("POST", "/chat", fields), halves, disconnect_after_chunks=1)
        client._leaves_by_itself = False
        task = asyncio.create_task(client.run(app))
        for _ in range(number % 11):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif way == 5:  # it is refused below
        path = ["/chat", "/v1/chat/completions"][number // 8 % 2]
        await asgi.call(app, "POST", path, fields, [b"[]"])
    elif way == 6 and number % 64 < 8:  # it leaves in the middle of the answer
        await asgi.call(app, "POST", "/chat", fields, [body], disconnect_after=number % 3)
    else:
        await asgi.call(app, "GET", "/v1/models/other", fields)


@pytest.mark.slow
async def test_ten_thousand_abandoned_requests_leave_no_slot_taken(small: Running) -> None:
    """Whatever they were doing when they ended."""
    app = create_app(services=small.services)
    key = (await small.key("town", limits=Limits(streams=1_000_000)))["X-API-Key"]
    fields = [("X-API-Key", key), ("Content-Type", "application/json")]
    for begin in range(0, 10_000, 200):
        await asyncio.gather(*(abandon(app, fields, n) for n in range(begin, begin + 200)))
    assert taken(small.services) == 0


async def test_connections_that_break_leave_no_slot_taken(small: Running) -> None:
    """Three hundred over real sockets, reset at any moment of a request."""
    key = (await small.key("town", limits=Limits(streams=1_000)))["X-API-Key"]
    body = orjson.dumps({"message": QUESTION, "stream": True})
    head = (
        f"POST /chat HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    whole = head + body
    host, port = small.url.removeprefix("http://").split(":")

    async def breaks(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(whole[: len(head) + number % (len(body) + 1)])
        await writer.drain()
        if number % 3 == 0:
            await asyncio.sleep(0.02)
        if number % 7 == 0 and number % (len(body) + 1) == len(body):
            await reader.read(20)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    for begin in range(0, 300, 50):
        await asyncio.gather(*(breaks(n) for n in range(begin, begin + 50)))
    async with asyncio.timeout(30):
        while taken(small.services):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
