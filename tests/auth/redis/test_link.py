"""``RedisLink``: what waits is sent together and in order; a failure is for all who wait."""

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from redis import exceptions

from orbit_server.auth.redis.link import RedisGone, RedisLink, reason

from ...support.redis import RedisServer, missing, redis_server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}"),
]

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


def link(server: RedisServer, seconds: float = 20.0) -> RedisLink:
    test = ("SET", "test", 1, "PX", 1000)
    return RedisLink(server.url, scripts=[ADD], test=test, seconds=seconds)


async def test_commands_are_done_in_their_order(server: RedisServer) -> None:
    """Also those whose reply nobody waits for, and more than go out in one round."""
    opened = link(server)
    with pytest.raises(RedisGone, match="not connected"):
        await opened.call("PING")
    await opened.connect()
    server.command("DEL", "list")
    for number in range(250):
        opened.tell("RPUSH", "list", number)
    found = await opened.call("LRANGE", "list", 0, -1)
    assert [int(each) for each in found] == list(range(250))
    sums = await asyncio.gather(*(opened.run(ADD, ["sum"], 1) for _ in range(500)))
    assert sorted(sums) == list(range(1, 501))
    opened.tell("SET", "last", "word")
    await opened.close()
    assert server.command("GET", "last") == "word"


async def test_a_loop_that_was_held_up_is_not_a_slow_redis(server: RedisServer) -> None:
    """The reply has been there all the time."""
    opened = link(server, seconds=0.05)
    await opened.connect()
    for _ in range(20):
        asked = asyncio.create_task(opened.call("PING"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it is sent
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251
        server.command("PING")  # Redis has answered what came before
        assert await asked
        assert opened.down is None
    await opened.close()


async def test_a_failure_is_for_all_who_wait(server: RedisServer) -> None:
    """Those of later rounds do not wait for a failure of their own."""
    opened = link(server, seconds=0.3)
    await opened.connect()
    server.pause()
    try:
        asked = [opened.call("PING") for _ in range(350)]
        async with asyncio.timeout(20):
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert {str(each) for each in found} == {"no answer in time"}
        assert opened.lost.is_set()
        with pytest.raises(RedisGone):
            await opened.call("PING")
    finally:
        server.go_on()
    await opened.connect()
    assert await opened.call("PING")
    await opened.close()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.AuthenticationError("WRONGPASS"), "refuses the user or the password"),
        (exceptions.BusyLoadingError("LOADING"), "is loading"),
        (exceptions.ConnectionError("redis://:secret@h"), "cannot be reached"),
        (exceptions.ResponseError("MISCONF at redis://:secret@h"), r"MISCONF at redis://\*\*\*@h"),
        (TimeoutError(), "no answer in time"),
    ],
)
def test_what_is_wrong_is_said_without_a_password(error: Exception, words: str) -> None:
    """In words where they are known, else in those of Redis."""
    assert re.search(words, reason(error))
    assert "secret" not in reason(error)
