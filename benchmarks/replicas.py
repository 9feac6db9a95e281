"""What a question costs in one and in three replicas, and in the engines that they share.

PostgreSQL and Redis are those of the tests, on free ports; Chroma is a server of its own. The
model's stand-in and the load generator are not counted.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from orbit_server.auth.keys import Keys
from tests.support import ports, postgres, redis

from .figures import Table
from .load import Result
from .measures import Measures, run, say
from .processes import Process
from .stage import COLLECTION, Loaded, Settings, Stage, Target

_COUNTS = (1, 3)
_CLIENTS = 8  # of each replica
_PARTS = ("replicas", "Chroma", "PostgreSQL", "Redis")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Replicas that run, and what they share, by the names of ``_PARTS``."""

    replicas: Sequence[Target]
    engines: Mapping[str, Process]

    def cpu(self, count: int) -> list[float]:
        """Return the processor seconds so far of ``count`` replicas together and each engine."""
        replicas = sum(target.process.cpu() for target in self.replicas[:count])
        return [replicas, *(self.engines[name].cpu() for name in _PARTS[1:])]


@dataclass(slots=True)
class Spent:
    """Processor seconds by ``_PARTS``, and the questions that were answered for them."""

    cpu: list[float] = field(default_factory=lambda: [0.0] * len(_PARTS))
    answers: int = 0
    seconds: float = 0.0

    def row(self) -> list[float | None]:
        answers = max(self.answers, 1)
        each = [cpu / answers * 1e3 for cpu in self.cpu]
        return [*each, self.answers / max(self.seconds, 1e-9)]


def measure_replicas(measures: Measures, loaded: Loaded) -> None:
    """JSON answers of twenty tokens, eight questions at once at each replica."""
    if missing := postgres.missing() or redis.missing():
        say(f"replicas: not measured, since {missing} is not installed")
        return
    found = {count: Spent() for count in _COUNTS}
    with cluster(measures.stage, loaded) as made, measures.stage.model(0.0):
        _load(measures, made, max(_COUNTS), 1.0, seed=0)  # connections, caches, first imports
        for number in range(measures.rounds):
            for count, spent in found.items():
                say(f"replicas: {count}, round {number + 1}")
                before = made.cpu(count)
                results = _load(measures, made, count, 5.0, seed=10 * number + count)
                after = made.cpu(count)
                spent.cpu = [
                    had + end - start
                    for had, start, end in zip(spent.cpu, before, after, strict=True)
                ]
                spent.answers += sum(result.answers for result in results)
                spent.seconds += max(result.duration for result in results)
    measures.tables.append(
        Table(
            f"JSON, 20 tokens, {_CLIENTS} at once each, {loaded.count:,} passages",
            [*(f"CPU a question, ms: {name}" for name in _PARTS), "questions/s"],
            {_named(count): spent.row() for count, spent in found.items()},
        )
    )


@contextmanager
def cluster(stage: Stage, loaded: Loaded) -> Iterator[Cluster]:
    """Run as many replicas as are needed at most, each with word files and logs of its own."""
    with ExitStack() as stack:
        chroma = stack.enter_context(stage.chroma(stage.copy(loaded, "shared")))
        database = stack.enter_context(postgres.postgres_process())
        counters = stack.enter_context(redis.redis_server())
        url = f"postgresql+asyncpg://orbit:secret@{ports.HOST}:{database.port}/orbit"
        key = asyncio.run(_key(url))
        shared: Settings = {
            "database": {"url": url},
            # Limits that nobody reaches, so that they are counted.
            "limits": {
                "storage": counters.url,
                "requests_per_minute": 1_000_000,
                "streams": 10_000,
            },
        }
        replicas = []
        for number in range(max(_COUNTS)):
            own = replace(stage.copy(loaded, f"replica-{number + 1}"), key=key)
            replicas.append(stack.enter_context(stage.server(own, chroma.port, shared)))
        engines = {
            "Chroma": chroma,
            "PostgreSQL": Process(database.pid, database.port, 0.0),
            "Redis": Process(counters.process.pid, counters.port, 0.0),
        }
        yield Cluster(replicas, engines)


async def _key(url: str) -> str:
    async with Keys(url) as keys:
        _, secret = await keys.create(COLLECTION, "benchmark")
    return secret


def _load(
    measures: Measures, made: Cluster, count: int, seconds: float, *, seed: int
) -> list[Result]:
    """Ask ``count`` replicas at the same time, each from a process of its own."""
    jobs = [
        target.job(
            20,
            seed=1000 + 100 * seed + number,
            stream=False,
            clients=max(int(_CLIENTS * measures.crowd), 1),
            seconds=seconds * measures.scale,
        )
        for number, target in enumerate(made.replicas[:count])
    ]
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(run, jobs))
    measures.errors += [
        f"{_named(count)}: {error} ({times} times)"
        for result in results
        for error, times in result.errors.items()
    ]
    return results


def _named(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
