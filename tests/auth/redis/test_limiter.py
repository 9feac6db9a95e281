"""Limits in a real Redis: the same over all servers, and nobody waits for a Redis that is gone.

What it does like all limiters is in ``test_limiters``.
"""

import asyncio
import hashlib
import logging
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orbit_server.auth.key import Limits
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Use, Verdict
from orbit_server.auth.redis import RedisLimiter

from ...support.limits import use
from ...support.ports import free_port
from ...support.redis import RedisServer, missing, redis_server
from ...support.timing import NOON, Clock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.skipif(bool(missing()), reason=f"needs Debian's package {missing()}"),
]


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.command("FLUSHALL")
    running.command("CONFIG", "SET", "maxmemory", "0")
    return running


@asynccontextmanager
async def limiter(server: RedisServer, **options: Any) -> AsyncIterator[RedisLimiter]:
    """A limiter that waits long enough for a machine that is busy."""
    options = {"seconds": 20.0, "local": MemoryLimiter(), "retry_seconds": 0.05, **options}
    async with RedisLimiter(server.url, **options) as opened:
        yield opened


def same(one: Verdict, two: Verdict) -> bool:
    return one[:3] == two[:3] and abs(one.reset - two.reset) < 0.01


# What is counted


async def test_a_limit_that_was_lowered(server: RedisServer) -> None:
    """Another is possible when fewer than it allows are left, not when the first has left."""
    clock = Clock()
    async with limiter(server, clock=clock) as redis:
        await redis.take(use(requests_per_minute=2))
        clock.now += 10
        await redis.take(use(requests_per_minute=2))
        refused = Verdict("requests_per_minute", 1, 0, 60.0)
        assert await redis.take(use(requests_per_minute=1)) == refused


async def test_a_clock_that_is_set_back_locks_nobody_out(server: RedisServer) -> None:
    """What lies further ahead than it can was counted by a clock that was wrong."""
    clock = Clock()
    clock.now = NOON + 7200
    limits = use(visitor_per_minute=2, requests_per_minute=2, requests_per_day=9, streams=1)
    async with limiter(server, clock=clock) as killed, limiter(server, clock=clock) as redis:
        await killed.take(use(streams=1))
        killed._slots.clear()  # it is never heard of again
        for _ in range(2):
            await redis.take(use(visitor_per_minute=2, requests_per_minute=2))
            await redis.guess("a", 2, wrong=True)
        assert (await redis.take(limits)).refused == "visitor_per_minute"
        clock.now = NOON
        assert (await redis.guess("a", 2, wrong=False)).refused is None
        assert (await redis.take(limits)).refused is None
        assert (await redis.take(limits)).refused == "streams"
        redis.give_back("key_1")
        assert (await redis.take(limits)).refused is None
        assert (await redis.take(limits)).refused == "visitor_per_minute"


async def test_it_decides_as_memory_does(server: RedisServer) -> None:
    """Whatever comes in whatever order."""
    clock, open_ = Clock(), list[str]()
    memory = MemoryLimiter(clock=clock)
    limits = Limits(requests_per_minute=6, requests_per_day=30, streams=3, visitor_per_minute=4)
    async with limiter(server, clock=clock, lease_seconds=1e6) as redis:
        for _ in range(400):
            match random.randrange(4):
                case 0 if open_:
                    key = open_.pop(random.randrange(len(open_)))
                    memory.give_back(key)
                    redis.give_back(key)
                case 1:
                    clock.now += random.choice([1.0, 7.0, 29.5, 60.0, 3600.0])
                case 2:
                    who, wrong = random.choice("12"), random.random() < 0.7
                    found = await redis.guess(who, 3, wrong=wrong)
                    assert same(found, await memory.guess(who, 3, wrong=wrong))
                case _:
                    asked = Use(random.choice("ab"), random.choice("12"), limits)
                    verdict = await memory.take(asked)
                    assert same(await redis.take(asked), verdict)
                    if verdict.refused is None:
                        open_.append(asked.key_id)
        for key in open_:
            redis.give_back(key)
        await redis._link.call("PING")
        assert "streams" not in server.command("KEYS", "*")


async def test_nothing_to_count_costs_nothing(server: RedisServer) -> None:
    """A key without limits leaves no trace."""
    async with limiter(server) as redis:
        assert await redis.take(use()) == Verdict(None)
        redis.give_back("key_1")
        assert server.command("KEYS", "orbit:{*") == ""


async def test_what_lies_in_redis(server: RedisServer) -> None:
    """Everything has the prefix and an end; neither keys nor addresses can be read."""
    async with limiter(server) as redis:
        all_limits = use(requests_per_minute=5, requests_per_day=5, streams=5, visitor_per_minute=5)
        await redis.take(all_limits)
        await redis.guess("192.0.2.1", 3, wrong=True)
        names = server.command("KEYS", "*").split()
        assert len(names) == 6  # with that of the test whether it can be written
        assert all(name.startswith("orbit:") for name in names)
        assert not any("key_1" in name or "192.0.2" in name for name in names)
        assert all(int(server.command("PTTL", name)) > 0 for name in names)


# Several servers


async def test_all_servers_have_one_limit(server: RedisServer) -> None:
    """Exactly as many pass as may, of everything that is limited."""
    async with limiter(server) as one, limiter(server) as two, limiter(server) as three:
        servers = (one, two, three)
        for name in ("requests_per_minute", "requests_per_day", "streams", "visitor_per_minute"):
            limits: dict[str, Any] = {name: 100}
            asked = use(f"key of {name}", **limits)
            found = await asyncio.gather(*(each.take(asked) for each in servers for _ in range(67)))
            refused = Counter(verdict.refused for verdict in found)
            assert refused == {None: 100, name: 101}
        guesses = [await each.guess("a", 3, wrong=True) for each in servers]
        assert [guess.refused for guess in guesses] == [None, None, "wrong_keys"]
        holder = next(each for each in servers if each._slots)
        holder.give_back("key of streams")
        await holder._link.call("PING")
        assert (await one.take(use("key of streams", streams=100))).refused is None


HOLDS = """
import asyncio, sys
from orbit_server.auth.key import Limits
from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Use
from orbit_server.auth.redis import RedisLimiter

async def main():
    local = MemoryLimiter()
    async with RedisLimiter(sys.argv[1], local=local, seconds=20, beat_seconds=0.2) as redis:
        for _ in range(3):
            print((await redis.take(Use("key_1", "a", Limits(streams=3)))).refused, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_a_server_that_is_killed_frees_its_slots(server: RedisServer) -> None:
    """When it was not heard of for some time; one that lives keeps its own."""
    options = {"lease_seconds": 4.0, "beat_seconds": 0.2}
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", HOLDS, server.url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(3)]
    assert lines == ["None\n"] * 3
    async with limiter(server, **options) as stays:
        assert (await stays.take(use(streams=3))).refused == "streams"
        assert (await stays.take(use(streams=4))).refused is None
        process.kill()
        process.communicate()
        async with asyncio.timeout(60):
            while (await stays.take(use(streams=2))).refused == "streams":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(5)  # longer than a lease
        assert (await stays.take(use(streams=2))).refused == "streams"


# A Redis that is gone


async def used_again(redis: RedisLimiter) -> None:
    async with asyncio.timeout(60):
        while redis.down:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_one_that_hangs_costs_nobody_time(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who wait at the moment 50 ms, all others nothing; nobody is refused for it."""
    caplog.set_level(logging.INFO, logger="orbit_server.auth")
    # Longer than the machine may be held up, and much less than all of them one after the other.
    async with limiter(server, seconds=0.5) as redis:
        asked = use(requests_per_minute=1000, streams=1000)
        assert (await redis.take(asked)).limit == 1000
        server.pause()
        try:
            started = time.monotonic()
            found = await asyncio.gather(*(redis.take(asked) for _ in range(100)))
            assert all(verdict.refused is None for verdict in found)
            for _ in range(200):
                assert (await redis.take(asked)).refused is None
            assert (await redis.guess("a", 3, wrong=True)).remaining == 2
            assert time.monotonic() - started < 10
            assert await redis.health() == {"status": "unavailable"}
        finally:
            server.go_on()
        await used_again(redis)
        assert await redis.health() == {"status": "ok"}
        # Those that were admitted meanwhile count again, the first one too.
        async with asyncio.timeout(60):
            while (await redis.take(use(streams=301))).refused != "streams":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for _ in range(301):
            redis.give_back("key_1")
    lines = [record.message for record in caplog.records]
    where = f"Redis at 127.0.0.1:{server.port}"
    assert lines[:3] == [
        f"limits are counted in {where}",
        f"this process counts limits on its own: {where}: no answer in time",
        "limits are counted in Redis again",
    ]


async def test_alone_each_server_has_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    """From the beginning too: it starts without Redis, and uses it as soon as it is there."""
    caplog.set_level(logging.INFO, logger="orbit_server.auth")
    with redis_server() as server:
        server.kill()
        async with limiter(server) as redis:
            found = [(await redis.take(use(requests_per_minute=2))).refused for _ in range(3)]
            assert found == [None, None, "requests_per_minute"]
            assert (await redis.take(use(requests_per_minute=9))).refused is None
            server.start()
            await used_again(redis)
            found = [(await redis.take(use(requests_per_minute=2))).refused for _ in range(3)]
            assert found == [None, None, "requests_per_minute"]
            server.kill()
            server.start()
            await used_again(redis)
            await redis.take(use(requests_per_minute=2))
            await used_again(redis)
    text = caplog.text
    assert "it cannot be reached" in text
    assert "pass-word" not in text


WRONG: dict[str, tuple[list[str], list[str], str]] = {
    "full": (
        ["CONFIG", "SET", "maxmemory", "1"],
        ["CONFIG", "SET", "maxmemory", "0"],
        "it is full",
    ),
    "a replica": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], "accepts no writes"),
    "without scripts": (
        ["ACL", "SETUSER", "default", "-@scripting"],
        ["ACL", "SETUSER", "default", "+@all"],
        "may not run scripts",
    ),
    "another password": (
        ["ACL", "SETUSER", "default", "resetpass", ">other"],
        [],
        "refuses the user or the password",
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_one_that_cannot_be_used(caplog: pytest.LogCaptureFixture, what: str) -> None:
    """It is said what is wrong, once; it is used again when that is mended."""
    spoil, mend, sentence = WRONG[what]
    with redis_server() as server:
        async with limiter(server) as redis:
            assert (await redis.take(use(requests_per_minute=9))).refused is None
            server.command(*spoil)
            if what == "another password":
                await redis._link.connect()
            for _ in range(5):
                await redis.take(use(requests_per_minute=9))
                await asyncio.sleep(0.1)
            assert redis.down and sentence in redis.down
            if mend:
                server.command(*mend)
                await used_again(redis)
                assert (await redis.take(use(requests_per_minute=9))).refused is None
    lines = [record.message for record in caplog.records if "on its own" in record.message]
    assert len(lines) == 1 and sentence in lines[0]
    assert "pass-word" not in caplog.text


async def test_one_that_restarts_forgets_and_is_told_again(server: RedisServer) -> None:
    """Scripts and slots: what is under way counts, also behind a Redis that has lost all."""
    async with limiter(server, beat_seconds=0.1) as redis:
        for _ in range(3):
            await redis.take(use(streams=3))
        server.kill()
        server.start()
        async with asyncio.timeout(60):
            while redis.down or (await redis.take(use(streams=3))).refused != "streams":  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_nobody_there_does_not_hold_up_the_start() -> None:
    """The port is closed."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with RedisLimiter(url, local=MemoryLimiter()) as redis:
        assert (await redis.take(use(streams=1))).refused is None
        assert redis.down == "it cannot be reached"


@pytest.mark.parametrize("reply", [b"+OK", b":1", b"$-1", b"*0", b"HTTP/1.1 400 Bad Request"])
@pytest.mark.parametrize("knows_scripts", [False, True])
async def test_what_is_no_redis_locks_nobody_out(reply: bytes, knows_scripts: bool) -> None:
    """Whatever answers at its port: the server counts for itself then."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                words.append(await reader.readexactly(int((await reader.readline())[1:]) + 2))
            digest = hashlib.sha1(words[-1][:-2], usedforsecurity=False).hexdigest().encode()
            loaded = knows_scripts and words[0].startswith(b"SCRIPT")
            writer.write((b"$40\r\n" + digest if loaded else reply) + b"\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        url = f"redis://127.0.0.1:{other.sockets[0].getsockname()[1]}/0"
        async with RedisLimiter(url, local=MemoryLimiter(), seconds=20.0) as redis:
            for refused in (None, None, "requests_per_minute"):
                assert (await redis.take(use(requests_per_minute=2, streams=9))).refused == refused
            assert (await redis.guess("a", 3, wrong=True)).remaining == 2
            if not knows_scripts:
                assert redis.down == "it does not answer like Redis"
