"""Limits with two workers: together, however the connections fall, and whatever dies."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from ..support.ollama_standin import Hang, OllamaStandIn
from ..support.processes import served_by, workers
from ..support.program import Server, command, configure, server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, as Linux has it"),
]

TOWN = "# Library\n\nThe library opens at nine and lends books, films and games.\n"
BODY = {"message": "When does the library open?", "stream": True}


async def all_answer(running: Server) -> None:
    async with asyncio.timeout(60):
        while "workers\n" not in running.log:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def key(folder: Path, *options: str) -> dict[str, str]:
    made = await command(folder, "keys", "create", "--collection=town", "--name=Ann", *options)
    return {"X-API-Key": made.out.split()[-1]}


async def test_two_workers_have_one_limit(tmp_path: Path) -> None:
    """Sixty a minute and ten at once are that for both, also after one of them was killed."""
    async with OllamaStandIn() as ollama:
        configure(
            tmp_path,
            ollama={"base_url": ollama.url, "concurrency": 0},
            answer={"provider": "ollama"},
        )
        (tmp_path / "town.md").write_text(TOWN)
        assert (await command(tmp_path, "ingest", "town.md", "--collection", "town")).code == 0
        sixty = await key(tmp_path, "--per-minute=60")
        ten = await key(tmp_path, "--streams=10")
        async with server(tmp_path, "--workers=2") as running:
            await all_answer(running)
            assert "counts the limits of keys" in running.log
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as http:
                await one_minute(http, running, sixty)
                ollama.fault = Hang(after=1)
                await at_once(http, running, ten)


async def one_minute(http: aiohttp.ClientSession, running: Server, headers: dict[str, str]) -> None:
    """Use a minute up: over one connection first, then over many."""
    statuses: Counter[int] = Counter()
    url = f"{running.url}/v1/models"

    async def ask() -> None:
        async with http.get(url, headers=headers) as response:
            await response.read()
            statuses[response.status] += 1

    for _ in range(45):
        await ask()
    await asyncio.gather(*(ask() for _ in range(75)))
    assert statuses == {200: 60, 429: 60}


async def at_once(http: aiohttp.ClientSession, running: Server, headers: dict[str, str]) -> None:
    """Hold all places, see that there is no other, kill a worker: its places are free again."""
    url = f"{running.url}/chat"
    held: list[aiohttp.ClientResponse] = []

    async def ask() -> int:
        response = await http.post(url, json=BODY, headers=headers)
        if response.status == 200:
            held.append(response)
        return response.status

    assert Counter([await ask() for _ in range(15)]) == {200: 10, 429: 5}
    ports = {id(each): each.connection.transport.get_extra_info("sockname")[1] for each in held}  # type: ignore[union-attr]
    by_worker = {pid: served_by(pid) for pid in workers(running)}
    victim = max(by_worker, key=lambda pid: len(by_worker[pid] & set(ports.values())))
    killed = [each for each in held if ports[id(each)] in by_worker[victim]]
    assert killed
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(60):
        before, free = len(held), 0
        while free < len(killed):
            free = len(held) - before
            try:
                await ask()
            except aiohttp.ClientError:  # the new worker is not there yet
                await asyncio.sleep(0.05)
    assert await ask() == 429
    for response in held:
        response.close()
