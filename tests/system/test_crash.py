"""A server that is killed under load, and a disk that runs full: what was answered stays on record.

The server is a real process, killed by SIGKILL. Clients note the request id of every exchange whose
end they saw; each of these must be in Elasticsearch in the end, once.
"""

import asyncio
import contextlib
import itertools
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..support.elasticsearch_standin import BUSY, NO_MASTER, ElasticsearchStandIn, Fault, Reset
from ..support.ports import free_port
from ..support.program import Server, answering, command, configure, server, start
from ..support.server import ADMIN_TOKEN, events

pytestmark = pytest.mark.anyio

SEED = 20260301
KILLS = 20
CLIENTS = 6
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
QUESTION = "When does the library open?"
TOWN = "# Library\n\nThe library opens at nine and lends books, films and games.\n"


async def prepare(folder: Path, **sections: Any) -> dict[str, str]:
    """Write a configuration and the town's documents; the header that carries a key for them."""
    configure(folder, **sections)
    (folder / "town.md").write_text(TOWN)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    made = await command(folder, "keys", "create", "--collection", "town", "--name", "Ann")
    return {"X-API-Key": made.out.split()[-1]}


@dataclass
class Clients:
    """Clients that ask one question after the other, whether a server is there or not."""

    url: str
    headers: dict[str, str]
    sent: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def ask(self, http: aiohttp.ClientSession, *, stream: bool) -> None:
        """Ask once, and note the exchange as sent if it got out, and as seen if its end arrives."""
        name = f"crash-{next(self._numbers)}"
        asking = http.post(
            self.url + "/chat",
            json={"message": QUESTION, "stream": stream},
            headers={**self.headers, "X-Request-ID": name},
        )
        self.sent.append(name)
        try:
            response = await asking
        except aiohttp.ClientConnectorError:
            self.sent.remove(name)  # nobody was there to take it
            raise
        async with response:
            body = await response.read()
            assert response.status == 200, body
            assert response.headers["X-Request-ID"] == name
            last = events(body)[-1] if stream else {**orjson.loads(body), "done": True}
            assert last["done"], body
            self.seen.append(name)

    async def keep_asking(self, number: int) -> None:
        """Ask until cancelled."""
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    await self.ask(http, stream=number % 2 == 0)
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.02)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask from several clients at once until the block ends."""
        tasks = [asyncio.create_task(self.keep_asking(number)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(result, asyncio.CancelledError), result


@asynccontextmanager
async def coming_and_going(
    elastic: ElasticsearchStandIn, chance: random.Random
) -> AsyncIterator[Counter[str]]:
    """Break and mend ``elastic`` at random until the block ends; how often in which way."""
    faults: dict[str, Fault | None] = {
        "well": None,
        "reset after half": Reset(stored=0.5),
        "reset after all": Reset(stored=1.0),
        "429": BUSY,
        "503": NO_MASTER,
    }
    states: Counter[str] = Counter()

    async def break_and_mend() -> None:
        while True:
            state = chance.choice([*faults, "well", "away"])
            states[state] += 1
            elastic.fault = faults.get(state)
            if state == "away":
                await elastic.kill()
            await asyncio.sleep(chance.uniform(0.1, 0.8))
            if state == "away":
                await elastic.start()

    task = asyncio.create_task(break_and_mend())
    try:
        yield states
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await elastic.kill()
        elastic.fault = None
        await elastic.start()


async def figure(running: Server, name: str) -> float:
    """Return the value of a metric without labels."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(running.url + "/metrics", headers=ADMIN) as response,
    ):
        text = await response.text()
    [value] = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]
    return float(value)


async def until(holds: Callable[[], Awaitable[bool]], timeout: float = 30.0) -> None:
    """Return once what ``holds()`` awaits is true; TimeoutError when it never is."""
    async with asyncio.timeout(timeout):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def in_files(logs: Path) -> tuple[Counter[str], int]:
    """Return how often each exchange is in the files by request id, and the torn lines."""
    found: Counter[str] = Counter()
    torn = 0
    for path in logs.glob("chat-*.log"):
        for line in path.read_bytes().splitlines():
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                torn += 1
            else:
                found.update([record["request_id"]] if record["kind"] == "exchange" else [])
    return found, torn


async def test_killed_twenty_times(tmp_path: Path) -> None:
    """Killed under load while Elasticsearch comes and goes: nothing is lost, nothing doubled."""
    chance = random.Random(SEED)
    async with ElasticsearchStandIn() as elastic:
        headers = await prepare(
            tmp_path,
            logging={"file": {"max_wait_ms": 5000, "max_size_mb": 0.2}},
            elasticsearch={
                "enabled": True,
                "node": elastic.url,
                "flush_seconds": 0.05,
                "batch_size": 50,
            },
        )
        port = free_port()
        clients = Clients(f"http://127.0.0.1:{port}", headers)

        @asynccontextmanager
        async def serving() -> AsyncIterator[Server]:
            process = start(tmp_path, "--host", "127.0.0.1", f"--port={port}")
            try:
                running = Server(clients.url, tmp_path, process)
                await answering(running)
                yield running
            finally:
                process.kill()
                process.wait()

        async with coming_and_going(elastic, random.Random(SEED)) as states, clients.asking():
            for _ in range(KILLS):
                async with serving() as running:
                    await asyncio.sleep(chance.uniform(0.3, 1.0))
                    assert running.process.poll() is None, running.log
        async with serving() as running:

            async def caught_up() -> bool:
                return await figure(running, "orbit_shipper_lag_lines") == 0

            await until(caught_up, 60)
            assert await running.ended() == 0

        written, torn = in_files(tmp_path / "logs")
        stored = Counter(
            source["http"]["request"]["id"]
            for source in elastic.sources().values()
            if source["event"]["action"] == "exchange"
        )
        seen = set(clients.seen)
        doubled = [name for name, count in stored.items() if count > 1]
        lost = (seen | set(written)) - set(stored)
        print(
            f"\nseed {SEED}, {KILLS} times killed; Elasticsearch: {dict(states)}, "
            f"{elastic.conflicts} resent and refused as known; {torn} torn lines\n\n"
            "| sent | seen | in files | in Elasticsearch | doubled | lost |\n"
            "| ---: | ---: | ---: | ---: | ---: | ---: |\n"
            f"| {len(clients.sent)} | {len(seen)} | {len(written)} | {len(stored)} "
            f"| {len(doubled)} | {len(lost)} |"
        )
        assert len(seen) == len(clients.seen) > KILLS
        assert (doubled, lost) == ([], set())
        assert stored == written
        assert "Traceback" not in running.log


# -- a disk that runs full -----------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kilobytes, mounted under the temporary folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    order = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "orbit-test", str(disk)]
    if mount is None or subprocess.run(order, capture_output=True).returncode != 0:
        pytest.skip("needs mount: a small tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write to ``path`` until its disk takes no more."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """Chats go on while the log's disk is full, /health says so, and it heals by itself."""
    headers = await prepare(
        tmp_path, logging={"file": {"directory": str(small_disk), "enabled": False}}
    )
    async with server(tmp_path) as running, aiohttp.ClientSession() as http:
        clients = Clients(running.url, headers)

        async def logs() -> dict[str, Any]:
            async with http.get(running.url + "/health") as response:
                assert response.status == 200
                part: dict[str, Any] = (await response.json())["components"]["logs"]
                return part

        async def broken() -> bool:
            return bool((await logs())["status"] == "error")

        async def well() -> bool:
            return bool((await logs())["status"] == "ok")

        for _ in range(5):
            await clients.ask(http, stream=True)
        assert await logs() == {"status": "ok", "lost": 0}

        fill(small_disk / "something-else")
        for number in range(60):  # more than what is left of the log's last page
            await clients.ask(http, stream=number % 2 == 0)
        await until(broken)
        assert (await logs())["lost"] > 0

        (small_disk / "something-else").unlink()
        for _ in range(5):
            await clients.ask(http, stream=True)
        await until(well)
        lost = (await logs())["lost"]
        assert await figure(running, "orbit_chatlog_lost_total") == lost
        assert await running.ended(signal.SIGTERM) == 0
        assert "Traceback" not in running.log
        assert "cannot be written" in running.log

    written, _ = in_files(small_disk)
    assert max(written.values()) == 1
    missing = [name for name in clients.seen if name not in written]
    assert 0 < len(missing) <= lost
    assert set(clients.seen[-5:]) <= set(written)
