"""``python -m benchmarks.logging_cost``: what a line of the chat log costs, in processor time.

The same loop runs with the chat log and without, in turns, in this process. Counted is the
processor time of all its threads, the writer's among them.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orbit_server.observability.chatlog import ChatLog
from orbit_server.observability.redaction import redactor

ANSWER = "The library opens at nine and lends books, films and games to everybody. " * 8


def exchange(number: int) -> dict[str, Any]:
    """Return the fields of an exchange as the server writes it: some 1,200 bytes."""
    return {
        "request_id": f"{number:032x}",
        "query": "When does the library open on Saturdays, and may I bring my dog?",
        "response": ANSWER,
        "backend": "ollama",
        "model": "gemma3:12b",
        "outcome": "completed",
        "error": None,
        "ip": "192.0.2.17",
        "ip_metadata": {
            "type": "ipv4",
            "isLocal": False,
            "source": "direct",
            "originalValue": "192.0.2.17",
        },
        "api_key": {"id": "3f2a9c", "prefix": "api_3f2a9c"},
        "collection": "town",
        "elasticsearch_status": "enabled",
        "blocked": False,
        "block_reason": None,
        "sources": [{"id": f"{at:032x}", "score": 0.8125} for at in range(4)],
        "tokens": {"prompt_tokens": 812, "completion_tokens": 143},
        "timings_ms": {"embedding": 14.1, "search": 6.3, "first_token": 212.9, "total": 3104.5},
    }


async def spend(log: ChatLog | None, numbers: range) -> float:
    """Return the microseconds of processor time that each exchange of ``numbers`` takes."""
    began = time.process_time()
    for number in numbers:
        fields = exchange(number)
        if log is not None:
            await log.write("exchange", **fields)
        else:
            await asyncio.sleep(0)
    return (time.process_time() - began) / len(numbers) * 1e6


async def measure(count: int, *, turns: int = 20, redact: bool = False) -> dict[str, list[float]]:
    """Return microseconds per exchange of each turn, ``on`` and ``off``."""
    spent: dict[str, list[float]] = {"on": [], "off": []}
    blot = redactor(["email", "phone", "card", "iban"]) if redact else None
    with tempfile.TemporaryDirectory() as folder:
        async with ChatLog(Path(folder), max_wait=5, redact=blot) as log:
            for _ in range(2 * turns):
                for name in spent:
                    one = await spend(log if name == "on" else None, range(count // turns // 2))
                    spent[name].append(one)
        assert log.lost == 0
    return spent


def main() -> None:
    """Print the cost with and without redaction."""
    parser = argparse.ArgumentParser(description="What a line of the chat log costs.")
    parser.add_argument("--count", type=int, default=5000, help="exchanges with the log on")
    count = parser.parse_args().count
    print(f"{count} exchanges on, {count} off, in turns; Python {sys.version.split()[0]}, ", end="")
    print(f"{os.cpu_count()} processors; median of the turns, microseconds of processor time\n")
    print("| redaction | off | on | a line costs |\n| --- | ---: | ---: | ---: |")
    for redact in (False, True):
        spent = asyncio.run(measure(count, redact=redact))
        on, off = (statistics.median(spent[name]) for name in ("on", "off"))
        print(f"| {'all patterns' if redact else 'none'} | {off:.0f} | {on:.0f} | {on - off:.0f} |")


if __name__ == "__main__":
    main()
