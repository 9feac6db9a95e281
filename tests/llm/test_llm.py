"""What is built from the section ``ollama``: one client, or several as one, and their queue."""

import asyncio
from typing import Any

import pytest

from orbit_server.config.loader import load
from orbit_server.config.schema import OllamaConfig
from orbit_server.llm import Hosts, Ollama, build, build_queue, places
from orbit_server.llm.queue import FairQueue

pytestmark = pytest.mark.anyio


def config(*hosts: dict[str, Any], **settings: Any) -> OllamaConfig:
    return load({"ollama": {"hosts": list(hosts), **settings}}, environ={}).ollama


def test_one_host_is_asked_directly() -> None:
    """However it is named; what several need costs nothing then."""
    plain = build(config(base_url="http://a:11434"))
    assert isinstance(plain, Ollama)
    assert plain.base_url == "http://a:11434"
    alone = build(config({"url": "http://b:1/gpu", "headers": {"X-Token": "t"}}))
    assert isinstance(alone, Ollama)
    assert alone.base_url == "http://b:1/gpu"


def test_several_hosts_have_their_own_places_and_weights() -> None:
    """Of what is not said, the section's concurrency, and the weight follows from that."""
    several = config({"url": "http://a:1"}, {"url": "http://b:1", "concurrency": 8, "weight": 2})
    made = build(several)
    assert isinstance(made, Hosts)
    assert [(host.places, host.weight) for host in made.hosts] == [(4, 4), (8, 2)]
    assert places(several) == 12
    shared = build(several, workers=3)
    assert isinstance(shared, Hosts)
    assert [host.places for host in shared.hosts] == [2, 3]
    assert places(several, 3) == 5
    assert places(config({"url": "http://a:1", "concurrency": 0}, {"url": "http://b:1"})) == 0


async def test_the_queue_has_the_places_of_hosts_that_can_write() -> None:
    """Those without the model, and those that are out, lend none."""
    settings = config({"url": "http://a:1"}, {"url": "http://b:1", "concurrency": 2})
    hosts = build(settings)
    assert isinstance(hosts, Hosts)
    queue = build_queue(settings, hosts)
    assert queue.at_once == 6
    hosts.hosts[0].models, hosts.hosts[1].models = {}, {settings.model: ""}
    assert queue.at_once == 2
    hosts.hosts[0].models = {settings.model: ""}
    hosts.hosts[1].circuit.failed(silent=True)
    assert queue.at_once == 4
    hosts.hosts[0].circuit.failed(silent=True)
    assert queue.at_once == 6  # the last resort


async def test_a_host_that_comes_back_lets_the_waiting_in() -> None:
    """Without anybody who leaves."""
    room = [1]
    queue = FairQueue(lambda: room[0], length=5, timeout=60)
    async with queue.place("a"):
        waiting = asyncio.create_task(queue.place("b").__aenter__())
        await asyncio.sleep(0)
        queue.admit()
        await asyncio.sleep(0)
        assert not waiting.done()
        room[0] = 2
        queue.admit()
        await waiting
        assert (queue.taken, queue.waiting) == (2, 0)
