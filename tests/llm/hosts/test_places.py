"""``Places``: no place is lost, whoever is cancelled when."""

import asyncio

import pytest

from orbit_server.errors import ModelBusy
from orbit_server.llm.hosts import Host
from orbit_server.llm.hosts.places import Places
from orbit_server.llm.ollama import Ollama

pytestmark = pytest.mark.anyio


def host() -> Host:
    return Host(Ollama("http://a:11434"), weight=1, places=1)


async def test_first_come_first_served() -> None:
    """Who waits longest gets the next place; nobody waits where there is one."""
    one, places, served = host(), Places(60), list[int]()

    async def ask(number: int) -> None:
        await places.take(lambda: one if one.has_place else None)
        served.append(number)

    await ask(0)
    tasks = [asyncio.create_task(ask(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    assert (served, one.answers, one.running) == ([0], 1, 1)
    for number in (1, 2):
        places.leave(one)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert served[-1] == number
    await asyncio.gather(*tasks)
    places.leave(one)
    assert (one.answers, one.running) == (0, 0)


async def test_who_waits_too_long_is_refused() -> None:
    """With the error of a busy model."""
    one, places = host(), Places(0.01)
    one.answers = 1
    with pytest.raises(ModelBusy):
        await places.take(lambda: one if one.has_place else None)


async def test_a_place_that_comes_to_somebody_who_has_left_goes_on() -> None:
    """Cancelled before its turn, or in the very moment of it."""
    one, places = host(), Places(60)

    def pick() -> Host | None:
        return one if one.has_place else None

    await places.take(pick)
    early, late, last = (asyncio.create_task(places.take(pick)) for _ in range(3))
    await asyncio.sleep(0)
    early.cancel()
    await asyncio.sleep(0)
    places.leave(one)
    late.cancel()
    await asyncio.gather(early, late, return_exceptions=True)
    assert await last is one
    places.leave(one)
    assert (one.answers, one.running) == (0, 0)
