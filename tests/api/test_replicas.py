"""Three servers on one PostgreSQL and one Redis: one limit, and a key that ends ends everywhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from orbit_server.auth.key import Limits
from tests.support import postgres, redis
from tests.support.chat_server import PAIRS, QUESTION, ChatServer, Reply
from tests.support.ollama_standin import Hang, OllamaStandIn
from tests.support.server import ADMIN_TOKEN, configuration, running

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(postgres.missing() or redis.missing()),
        reason=f"needs Debian's package {postgres.missing() or redis.missing()}",
    ),
]


@asynccontextmanager
async def three(folder: Path) -> AsyncIterator[tuple[list[ChatServer], redis.RedisServer]]:
    """Three servers with the same documents, and the Redis in which they count."""
    async with AsyncExitStack() as stack:
        port = stack.enter_context(postgres.postgres())
        shared = stack.enter_context(redis.redis_server())
        ollama = await stack.enter_async_context(OllamaStandIn())
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        servers = []
        for name in ("one", "two", "three"):
            (folder / name).mkdir()
            config = configuration(
                folder / name,
                ollama__base_url=ollama.url,
                ollama__concurrency=0,
                chat__head_timeout=60,
                database__url=f"postgresql://orbit:secret@127.0.0.1:{port}/orbit?sslmode=disable",
                limits__storage=shared.url,
            )
            server = await stack.enter_async_context(running(config))
            await server.pairs("town", PAIRS)
            servers.append(ChatServer(server, ollama, http, {}))
        yield servers, shared


async def test_three_have_one_limit_and_one_end(tmp_path: Path) -> None:
    """Exactly as many requests pass as may; a key that is ended at one is silent at all."""
    async with three(tmp_path) as (servers, _):
        one, two, _ = servers
        for attempt in range(15):
            key = await one.server.key("town", limits=Limits(requests_per_day=15))
            asked = [each.ask(headers=key) for _ in range(10) for each in servers]
            statuses = Counter(reply.status for reply in await asyncio.gather(*asked))
            # On a machine that is busy Redis may be slower than is waited for: then they count
            # alone for a moment, as they should, and this says nothing.
            if statuses == {200: 15, 429: 15}:
                break
            assert attempt < 14, statuses
            await asyncio.sleep(2)
        key = await two.server.key("town")
        ollama = one.ollama
        ollama.reply, ollama.fault = ["The library", " opens"], Hang(after=1)
        asking: list[asyncio.Task[Reply]] = []
        for number, each in enumerate(servers, start=1):
            asking.append(asyncio.create_task(each.ask(QUESTION, headers=key)))
            await ollama.until(lambda: ollama.active == number)  # noqa: B023
        async with two.http.post(
            two.server.url + "/admin/api-keys/deactivate",
            json={"api_key": key["X-API-Key"]},
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        ) as ended:
            assert ended.status == 200
        async with asyncio.timeout(60):
            replies = await asyncio.gather(*asking)
        assert [reply.last["error"] for reply in replies] == ["key_ended"] * 3
        assert [(await each.ask(headers=key)).status for each in servers] == [401] * 3
        await ollama.until(lambda: ollama.active == 0)


async def test_a_redis_that_hangs_or_is_gone_locks_nobody_out(tmp_path: Path) -> None:
    """Requests go on at every server, and health says who counts; then it is used again."""
    async with three(tmp_path) as (servers, shared):
        key = await servers[0].server.key("town", limits=Limits(requests_per_minute=1000))

        async def states(wanted: str) -> None:
            async with asyncio.timeout(60):
                for each in servers:
                    while True:
                        each.server.services.health.forget()
                        state = await each.server.services.health()
                        assert state["status"] == "ok"
                        if state["components"]["limits"]["status"] == wanted:
                            break
                        await asyncio.sleep(0.05)

        await states("ok")
        for disturb, mend in ((shared.pause, shared.go_on), (shared.kill, shared.start)):
            disturb()
            asked = [each.ask(headers=key) for _ in range(5) for each in servers]
            async with asyncio.timeout(60):
                assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
            await states("unavailable")
            mend()
            await states("ok")
            assert {(await each.ask(headers=key)).status for each in servers} == {200}
