"""More questions than six hosts can take, of which three fail in different ways."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from orbit_server.errors import ModelError, ModelInterrupted
from orbit_server.llm.hosts import Hosts
from orbit_server.llm.queue import FairQueue
from tests.support.ollama_standin import Hang, OllamaStandIn

from .test_hosts import ASK, CHAT, together

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PLACES, QUESTIONS, PIECES = 4, 150, 4
SECONDS = {"fast": 0.4, "medium": 0.8, "slow": 1.6, "dying": 0.8}


async def test_no_question_is_lost_before_its_first_text() -> None:
    """Three speeds, one that dies, one that hangs, one without the model.

    Answers of the dying one may break after their first text, and say so. Of the places of the
    three that work, 90 % are taken whenever anybody waits: each answers as many as its speed
    allows, and no order of hosts would answer more.
    """
    async with AsyncExitStack() as stack:
        names = [*SECONDS, "hanging", "empty"]
        made = {name: await stack.enter_async_context(OllamaStandIn()) for name in names}
        for name, standin in made.items():
            standin.reply = [name] * PIECES
            standin.piece_delay = SECONDS.get(name, 0) / PIECES
        made["hanging"].fault, made["empty"].models = Hang(), {}
        hosts = together(list(made.values()), places=PLACES, first_timeout=2, first_pause=1)
        await stack.enter_async_context(hosts)
        await hosts.models()
        queue = FairQueue(lambda: hosts.capacity(CHAT), length=QUESTIONS, timeout=600)
        hosts.watch_places(queue.admit)
        ends: Counter[str] = Counter()
        dead = False
        asked = [asyncio.create_task(ask(hosts, queue, ends, n)) for n in range(QUESTIONS)]
        taken: Counter[str] = Counter()
        looks = 0
        await asyncio.sleep(0.1)
        while queue.waiting:
            # Places, not seconds: those of a machine that does other things as well say nothing.
            taken.update({name: host.answers for name, host in zip(made, hosts.hosts, strict=True)})
            looks += 1
            if sum(ends.values()) > QUESTIONS // 4 and not dead:
                await made["dying"].kill()
                dead = True
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
    assert sum(ends.values()) == QUESTIONS
    assert ends["lost"] == 0
    assert ends["hanging"] == ends["empty"] == 0
    assert ends["broken"] <= PLACES
    assert len(made["empty"].bodies("/api/chat")) == 0
    assert len(made["hanging"].bodies("/api/chat")) <= 4 * PLACES
    assert dead
    for name in ("fast", "medium", "slow"):
        assert taken[name] > 0.9 * PLACES * looks, (name, taken[name], looks)
        assert made[name].max_active <= PLACES
    assert ends["fast"] > ends["medium"] > ends["slow"]
    assert all((host.answers, host.running) == (0, 0) for host in hosts.hosts)
    assert (queue.taken, queue.waiting) == (0, 0)


async def ask(hosts: Hosts, queue: FairQueue, ends: Counter[str], number: int) -> None:
    """Ask one question of one of three keys, and count how it ended."""
    said: list[str] = []
    try:
        async with (
            queue.place(f"key {number % 3}"),
            hosts.chat(ASK, model=CHAT, conversation=str(number)) as stream,
        ):
            async for pieces in stream:
                said += pieces
    except ModelError as error:
        broken = said and isinstance(error, ModelInterrupted)
        ends["broken" if broken else "lost"] += 1
    else:
        assert said == [said[0]] * PIECES
        ends[said[0]] += 1
