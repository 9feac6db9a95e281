"""``python -m benchmarks``: load the server and the relay in turns, and print both and the ratio.

Everything runs on loopback, in processes of its own that end with this one, and in a temporary
folder: the model's stand-in, the relay, the whole server (keys, chat log, search in Chroma in
process, embeddings and answers from the stand-in), and the load generator.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orbit_server.config.loader import load
from orbit_server.documents.model import Chunk
from orbit_server.services import Services

from .figures import Sample, Workload, median
from .load import Job, Result
from .processes import ROOT, Process, free_port, running

COLLECTION = "benchmark"
LENGTHS = (50, 100, 200)
PAIRS = json.loads((ROOT / "examples" / "town-qa.json").read_text())
GOALS = {"paced": 1.3, "saturated": 1.5}
STARTUP_GOAL = 1.5


class Bench:
    """The folder, the ports and the key of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model_port, self.relay_port, self.server_port = (free_port() for _ in range(3))
        self.model_url = f"http://127.0.0.1:{self.model_port}"
        self.config = folder / "config.yaml"
        settings = {
            "general": {"host": "127.0.0.1", "port": self.server_port},
            "logging": {
                "console": {"enabled": False},
                "file": {"directory": str(folder / "logs")},
            },
            "chroma": {"path": str(folder / "chroma")},
            "database": {"url": f"sqlite+aiosqlite:///{folder}/orbit.db"},
            "ollama": {"base_url": self.model_url},
        }
        self.config.write_text(json.dumps(settings))  # JSON is YAML
        self.key = ""

    async def load_documents(self) -> None:
        """Store the sample questions and answers, and make a key for them."""
        chunks = [
            Chunk.of(pair["question"], pair["answer"], {"source": "town-qa", "position": n, **pair})
            for n, pair in enumerate(PAIRS)
        ]
        async with Services(load(self.config, environ={})) as services:
            await services.store.put(COLLECTION, chunks, [])
            _, self.key = await services.keys.create(COLLECTION, "benchmark")

    def model(self, piece_delay: float = 0.02, coalesce: int = 1) -> Any:
        return running(
            *("-m", "benchmarks.model", "--port", str(self.model_port)),
            *("--piece-delay", str(piece_delay), "--coalesce", str(coalesce)),
            port=self.model_port,
        )

    def relay(self) -> Any:
        return running(
            *("-m", "benchmarks.relay", "--port", str(self.relay_port), "--model", self.model_url),
            port=self.relay_port,
        )

    def server(self) -> Any:
        return running(
            *("run.py", "--config", str(self.config)), port=self.server_port, path="/health"
        )

    def job(self, server: str, length: int, **more: Any) -> Job:
        question = f"{PAIRS[0]['question']} Tell me in {length} words."
        if server == "server":
            return Job(
                port=self.server_port,
                path="/chat",
                headers={"X-API-Key": self.key},
                body=json.dumps({"message": question, "stream": True}),
                tokens=length,
                piece='"done": false',
                last='"finish_reason":"stop"',
                **more,
            )
        message = {"role": "user", "content": question}
        # As the server says it: another num_ctx would load the model again.
        options = {"num_ctx": 8192}
        chat = {"model": "gemma3:4b", "messages": [message], "options": options}
        return Job(
            port=self.relay_port,
            path="/",
            headers={},
            body=json.dumps(chat),
            tokens=length,
            piece='"done":false',
            last='"done":true',
            **more,
        )


def run(job: Job) -> Result:
    """Do ``job`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        cwd=ROOT,
        input=json.dumps(asdict(job)).encode(),
        stdout=subprocess.PIPE,
        timeout=job.seconds + job.deadline + 30,
        check=True,
    )
    return Result(**json.loads(done.stdout))


def measure(process: Process, server: str, job: Job) -> Sample:
    """Do ``job`` and return it with what it cost ``process``."""
    before = process.cpu()
    result = run(job)
    return Sample(server, job.tokens, process.cpu() - before, process.memory(), result)


def alternate(
    bench: Bench,
    servers: dict[str, Process],
    title: str,
    lengths: Sequence[int],
    rounds: int,
    **load: Any,
) -> Workload:
    """Load the servers in turns with answers of every length, and return what was measured."""
    workload = Workload(title)
    warm = {**load, "clients": min(load["clients"], 16), "seconds": 1.0, "spread": 0.0}
    for server, process in servers.items():  # connections, caches, first imports
        measure(process, server, bench.job(server, 20, **warm))
    for number in range(rounds):
        for length in lengths:
            for server, process in servers.items():
                say(f"{title}: round {number + 1} of {rounds}, {length} tokens, {server}")
                job = bench.job(server, length, **load)
                workload.samples.append(measure(process, server, job))
    return workload


def measure_workloads(bench: Bench, options: argparse.Namespace) -> dict[str, Workload]:
    """Load the relay and the server as the options say, the same model behind both."""
    found: dict[str, Workload] = {}
    with ExitStack() as stack:
        with bench.model():
            servers: dict[str, Process] = {
                "relay": stack.enter_context(bench.relay()),
                "server": stack.enter_context(bench.server()),
            }
        many = {"clients": options.streams, "seconds": options.seconds}
        if options.streams:
            title = f"{options.streams} streams, 20 ms a token"
            with bench.model(0.02):
                found["paced"] = alternate(
                    bench, servers, title, options.tokens, options.rounds, **many, spread=2.0
                )
        if options.streams and options.saturate:
            title = f"{options.streams} streams, saturated"
            with bench.model(0.0, options.coalesce):
                found["saturated"] = alternate(
                    bench, servers, title, options.tokens, options.rounds, **many
                )
        if options.slow:
            title = f"{options.slow} slow streams, 500 ms a token"
            with bench.model(0.5):
                found["slow"] = alternate(
                    bench, servers, title, [60], 1, clients=options.slow, seconds=0.0
                )
    return found


def measure_startup(bench: Bench, times: int) -> list[float]:
    """Return the seconds from the start of the process to a healthy answer, several times."""
    found = []
    with bench.model():
        for number in range(times):
            say(f"start {number + 1} of {times}")
            with bench.server() as server:
                found.append(server.startup)
    return found


def judge(workloads: dict[str, Workload], startups: Sequence[float]) -> dict[str, bool]:
    """Return every goal that was measured, and whether it was met.

    A server that falls behind the model's pace reads several tokens at once and looks cheap; no
    goal for paced tokens is met then.
    """
    goals: dict[str, bool] = {}
    for name, most in GOALS.items():
        if name in workloads:
            workload = workloads[name]
            kept_up = name != "paced" or workload.kept_up()
            for cost, ratio in workload.table()["ratio"].items():
                if cost.startswith("CPU per token"):
                    goal = f"{name}: {cost} at most {most} x the relay's"
                    goals[goal] = kept_up and ratio <= most
            if name == "paced":
                goals["paced: the server keeps up with the model"] = kept_up
    for workload in workloads.values():
        goals[f"{workload.name}: no error"] = not workload.errors()
    if startups:
        goals[f"starts in under {STARTUP_GOAL} s"] = median(startups) < STARTUP_GOAL
    return goals


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--streams", type=int, default=128, help="at once; 0 for none")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of relay and server in turns")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=LENGTHS, help="lengths of the answers"
    )
    parser.add_argument("--saturate", action="store_true", help="also as fast as it goes")
    parser.add_argument("--coalesce", type=int, default=1, help="pieces a write when saturated")
    parser.add_argument("--slow", type=int, default=0, help="also so many slow streams at once")
    parser.add_argument("--starts", type=int, default=5, help="times to start the server")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser.parse_args()


def main() -> None:
    """Measure what the options ask for and print it; exit 1 when a goal was missed."""
    options = arguments()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        with bench.model():
            asyncio.run(bench.load_documents())
        startups = measure_startup(bench, options.starts)
        workloads = measure_workloads(bench, options)
    goals = judge(workloads, startups)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    if options.json:
        found = {name: workload.json() for name, workload in workloads.items()}
        report = {"machine": machine, "startup": startups, "workloads": found, "goals": goals}
        print(json.dumps(report, indent=1))
    else:
        print(machine)
        if startups:
            print(f"start to /health, s: {', '.join(f'{each:.2f}' for each in startups)}")
        for workload in workloads.values():
            print("\n" + workload.text())
        print()
        for goal, met in goals.items():
            print(f"{'met   ' if met else 'MISSED'} {goal}")
    raise SystemExit(0 if all(goals.values()) else 1)


if __name__ == "__main__":
    main()
