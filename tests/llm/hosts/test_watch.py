"""What is learned of a host in the background, and how one that was out comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from orbit_server.errors import ModelError
from orbit_server.llm.hosts.circuit import Circuit
from orbit_server.llm.hosts.host import Host
from orbit_server.llm.hosts.watch import watch
from orbit_server.llm.ollama import Ollama
from tests.support.ollama_standin import RUNNER_STOPPED, OllamaStandIn

pytestmark = pytest.mark.anyio

CHAT, EMBED = "gemma3:4b", "bge-m3"


@asynccontextmanager
async def watched(
    standin: OllamaStandIn, *, refresh_seconds: float = 0.02, ask_seconds: float = 5.0
) -> AsyncIterator[tuple[Host, Callable[[Callable[[], object]], Awaitable[None]]]]:
    """Watch a host with short pauses; it, and a function to wait until something holds of it."""
    circuit = Circuit(first_pause=0.02, longest_pause=0.05, jitter=lambda *_: 1.0)
    client = Ollama(standin.url, options={"num_ctx": 8192}, connect_timeout=1)
    host = Host(client, weight=1, places=1, circuit=circuit)
    changed = asyncio.Event()

    async def until(holds: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                changed.clear()
                await changed.wait()

    async with client:
        watcher = asyncio.create_task(
            watch(
                host,
                refresh_seconds=refresh_seconds,
                ask_seconds=ask_seconds,
                trial_seconds=5.0,
                changed=changed.set,
            )
        )
        try:
            yield host, until
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


async def test_what_is_installed_and_loaded() -> None:
    """Also what changes while it is watched."""
    async with OllamaStandIn() as standin, watched(standin) as (host, until):
        await until(lambda: host.models)
        assert host.has(CHAT)
        assert host.has(EMBED)
        assert host.digest(EMBED)
        assert host.version.count(".") == 2
        assert host.loaded == set()
        await host.client.complete([{"role": "user", "content": "a"}], model=CHAT)
        await until(lambda: host.loaded == {CHAT})
        standin.models = {CHAT: ["completion"]}
        await until(lambda: not host.has(EMBED))


async def test_a_dead_host_is_out_and_comes_back() -> None:
    """Nobody has to ask it for anything."""
    async with OllamaStandIn() as standin, watched(standin) as (host, until):
        await until(lambda: host.models)
        await standin.kill()
        await until(lambda: host.is_out)
        assert host.has(CHAT)  # what it had is known still
        await standin.start()
        await until(lambda: not host.is_out)
        assert host.circuit.failures == 0


async def test_a_frozen_host_is_out() -> None:
    """It takes connections and answers nothing: the lists have their limit of time."""
    async with OllamaStandIn() as standin, watched(standin, ask_seconds=0.3) as (host, until):
        await until(lambda: host.models)
        standin.frozen = True
        await until(lambda: host.is_out)
        standin.frozen = False
        await until(lambda: not host.is_out)


@pytest.mark.parametrize("kind", ["chat", "embed"])
async def test_a_host_whose_model_failed_is_tried_with_that_model(kind: str) -> None:
    """That it lists its models is not enough; one token is."""
    model = CHAT if kind == "chat" else EMBED
    async with OllamaStandIn() as standin, watched(standin) as (host, until):
        await until(lambda: host.models)
        standin.fault = standin.embed_fault = RUNNER_STOPPED
        for _ in range(3):
            host.suspect = (kind, model)
            host.fails(ModelError("broken"))
        asked = "/api/chat" if kind == "chat" else "/api/embed"
        await standin.until(lambda: len(standin.bodies(asked)) >= 2)
        assert host.is_out
        standin.fault = standin.embed_fault = None
        await until(lambda: not host.is_out)
        assert host.suspect is None
        if kind == "chat":
            assert {body["options"]["num_predict"] for body in standin.bodies(asked)} == {1}


async def test_lists_do_not_absolve_a_model_that_fails() -> None:
    """Failures of calls stay counted until a call succeeds."""
    async with OllamaStandIn() as standin, watched(standin) as (host, until):
        await until(lambda: host.models)
        host.suspect = ("chat", CHAT)
        host.fails(ModelError("broken"))
        seen = len(standin.requests)
        await standin.until(lambda: len(standin.requests) > seen + 9)
        assert host.circuit.failures == 1
        host.works(CHAT)
        assert host.circuit.failures == 0
