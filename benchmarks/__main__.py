"""``python -m benchmarks``: load the server and two yardsticks in turns, and print the goals.

Everything runs on loopback, in processes of its own that end with this one, and in a temporary
folder: the model's stand-in, a byte relay, the plainest server by hand, the whole product (each of
the two with Chroma in process and with a Chroma server), and the load generator.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from .figures import Table, goals_text
from .measures import Cast, Measures, say
from .replicas import measure_replicas
from .stage import Loaded, Stage

WITH_ALL = ("requests", "first", "streams", "many", "saturated", "tokens", "large")
PARTS = (*WITH_ALL, "memory", "starts", "replicas")


def measure(measures: Measures, options: argparse.Namespace) -> None:
    """Measure what ``options`` ask for, with passages that are loaded when they are needed."""
    loading: dict[str, list[float | None]] = {}

    def loaded(count: int) -> Loaded:
        say(f"load {count:,} passages")
        found, seconds, cpu = asyncio.run(measures.stage.load(count))
        if seconds:
            loading[f"{count:,} passages"] = [seconds, cpu]
        return found

    few, some, many = options.passages
    wanted = options.only
    if set(WITH_ALL) & set(wanted):
        passages = loaded(few)
        with measures.cast(passages) as cast:
            small = {}
            if {"requests", "large"} & set(wanted):
                small = measures.requests(cast, passages)
            measure_streams(measures, cast, wanted)
        if "large" in wanted:
            passages = loaded(many)
            with measures.cast(passages, yardsticks=False) as cast:
                measures.growth(small, measures.requests(cast, passages), many)
    if "memory" in wanted:
        measures.memory(loaded(some))
    if "starts" in wanted:
        measures.starts(loaded(few))
    if "replicas" in wanted:
        measure_replicas(measures, loaded(few))
    if loading:
        table = Table("loading, vectors given", ["seconds", "CPU seconds"], loading)
        measures.tables.append(table)


def measure_streams(measures: Measures, cast: Cast, wanted: list[str]) -> None:
    for part in ("first", "streams", "many", "saturated", "tokens"):
        if part in wanted:
            getattr(measures, part)(cast)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", type=parts, default=list(PARTS), help=",".join(PARTS))
    parser.add_argument(
        "--passages",
        type=int,
        nargs=3,
        default=(1000, 10_000, 100_000),
        metavar="N",
        help="in the loads, for the memory, and at large",
    )
    parser.add_argument("--rounds", type=int, default=2, help="of all servers in turns")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, no figures")
    parser.add_argument("--data", type=Path, help="folder in which what was loaded is kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    return parser.parse_args()


def parts(text: str) -> list[str]:
    wanted = text.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such parts: {', '.join(sorted(unknown))}")
    return wanted


def main() -> None:
    """Measure what the options ask for and print it; exit 1 when a goal was missed."""
    options = arguments()
    began = time.perf_counter()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        folder = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measures = Measures(Stage(folder), rounds=options.rounds)
        if options.quick:
            measures.rounds, measures.scale, measures.crowd = 1, 0.1, 0.1
            options.passages = [count // 10 for count in options.passages]
        measure(measures, options)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    machine += f", load {load}; {time.perf_counter() - began:.0f} s"
    if options.json:
        print(json.dumps({"machine": machine, **report(measures)}, indent=1))
    else:
        print(machine)
        for table in measures.tables:
            print(f"\n{table.text()}")
        print(f"\n{goals_text(measures.goals)}")
        for error in measures.errors:
            print(f"\nERROR {error}")
    raise SystemExit(0 if all(goal.met for goal in measures.goals) else 1)


def report(measures: Measures) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        "tables": [asdict(table) for table in measures.tables],
        "goals": [{**asdict(goal), "met": goal.met} for goal in measures.goals],
        "errors": measures.errors,
    }


if __name__ == "__main__":
    main()
