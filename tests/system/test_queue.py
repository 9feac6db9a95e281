"""Keys that share a model: a greedy one beside a modest one, and several processes."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from ..support.chat_server import town
from ..support.program import configure, server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_greedy_key_does_not_hold_up_another(tmp_path: Path) -> None:
    """64 answers, 56 of them for one key at once: the other's eight wait for a few, not for all.

    The waits are printed (``pytest -s``).
    """
    async with town(tmp_path, ollama__concurrency=2) as there:
        there.ollama.slots = 2
        there.ollama.reply, there.ollama.piece_delay = ["a ", "b ", "c "], 0.02
        there.ollama.first_delay = 0.3  # until the greedy one's are there, however slow that is
        queue = there.server.services.queue
        keys = {"greedy": there.headers, "modest": await there.server.key("town")}
        firsts: dict[str, list[float]] = {name: [] for name in keys}
        order: list[str] = []
        began = time.monotonic()

        async def ask(name: str) -> None:
            asked = time.monotonic()
            async with there.asking(headers=keys[name]) as response:
                assert response.status == 200
                await response.content.readuntil(b"data: ")
                firsts[name].append(time.monotonic() - asked)
                order.append(name)
                await response.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(56):
                group.create_task(ask("greedy"))
            while queue.waiting + queue.taken + len(firsts["greedy"]) < 56:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            there.ollama.first_delay = None
            for _ in range(8):
                group.create_task(ask("modest"))
        whole = time.monotonic() - began
        print(f"\n64 answers, 2 at once, {whole:.1f} s in all; seconds to the first text")
        for name, seconds in firsts.items():
            print(
                f"{name:7} {len(seconds):3} answers: first {min(seconds):5.2f}"
                f"  median {statistics.median(seconds):5.2f}  last {max(seconds):5.2f}"
            )
        places = [place for place, name in enumerate(order) if name == "modest"]
        print("the modest key's answers were number", ", ".join(map(str, places)), "of 64")
        assert there.ollama.max_active <= 2
        timings = [record["timings_ms"]["queue"] for record in await there.exchanged(64)]
        assert len(timings) == 64
        # By turns: some of the greedy one's had begun before, and then every second is the other's.
        mine = next(iter(places))
        assert all(place - mine <= 2 * number + 4 for number, place in enumerate(places))
        assert places[-1] < 48


@pytest.mark.process
async def test_workers_say_their_share(tmp_path: Path) -> None:
    """Which of them a question comes to is chance, so the operator is told what each may do."""
    configure(tmp_path, answer={"provider": "ollama"}, ollama={"concurrency": 5})
    async with server(tmp_path, "--workers=2") as running:
        assert "each worker sends Ollama at most 3 answers at the same time" in running.log
