"""The measurements: each loads the servers in turns, and says what was found and what was wanted.

``cast`` is what runs: the relay, and the plain server and ours, each with Chroma in process and
with a Chroma server. Every goal is one of the project's; what it is measured against stands in the
same table.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .figures import Goal, Samples, Table, line, percentile
from .load import Job, Result
from .processes import ROOT
from .stage import COLLECTION, Loaded, Stage, Target

Cast = Mapping[str, Target]
SERVER, APART = "server", "server + Chroma"
PLAIN = {SERVER: "plain", APART: "plain + Chroma"}


@dataclass(slots=True)
class Measures:
    """What one run has found; ``scale`` shortens the loads, ``crowd`` makes them smaller."""

    stage: Stage
    rounds: int = 2
    scale: float = 1.0
    crowd: float = 1.0
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _jobs: int = 0

    @contextmanager
    def cast(self, loaded: Loaded, *, yardsticks: bool = True) -> Iterator[Cast]:
        """Run all servers on the same passages until the block is left."""
        stage = self.stage
        with ExitStack() as stack:
            apart = stage.copy(loaded, "apart")
            chroma = stack.enter_context(stage.chroma(apart)).port
            found: list[Any] = [stage.server(loaded), stage.server(apart, chroma)]
            if yardsticks:
                found.append(stage.relay())
                found.append(stage.plain(stage.copy(loaded, "plain")))
                found.append(stage.plain(apart, chroma))
            with stage.model(0.0):
                running = [stack.enter_context(each) for each in found]
                cast = {target.name: target for target in running}
                # Connections, caches, first imports.
                self._load(cast.values(), length=20, clients=4, seconds=1.0, rounds=1)
            yield cast

    # -- what a question costs -----------------------------------------------------------------

    def requests(self, cast: Cast, loaded: Loaded) -> dict[str, Samples]:
        """JSON answers of twenty tokens, eight questions at once."""
        with self.stage.model(0.0):
            found = self._load(cast.values(), length=20, clients=8, seconds=3.0, stream=False)
        raw = self.chroma_alone(loaded)
        count = f"{loaded.count:,} passages"
        self._table(
            f"JSON, 20 tokens, 8 at once, {count}",
            found,
            {
                "CPU a request, ms": lambda samples: samples.request_ms,
                "answer p50, ms": lambda samples: samples.first_token_ms(),
                "requests/s": lambda samples: samples.answers_a_second,
            },
            {"Chroma alone, in process": [raw["cpu"], None, None]},
        )
        name = f"CPU of a JSON request, {count}"
        self._goal(f"{name}, Chroma server", found[APART].request_ms, 2.5, "ms", found)
        why = f"Chroma's own calls {raw['cpu']:.2f} + 1.5"
        limit = raw["cpu"] + 1.5
        self._goal(f"{name}, in process", found[SERVER].request_ms, limit, "ms", found, why=why)
        return found

    def growth(self, small: dict[str, Samples], large: dict[str, Samples], count: int) -> None:
        """Compare the same with few and with many passages."""
        for name, where in ((APART, "Chroma server"), (SERVER, "in process")):
            before, after = small[name].request_ms, large[name].request_ms
            goal = f"CPU of a JSON request at {count:,} passages, {where}"
            self._goal(goal, after, 1.3 * before, "ms", large, why=f"1.3 × {before:.2f}")

    def chroma_alone(self, loaded: Loaded) -> dict[str, float]:
        """Return what Chroma's own calls cost, and the memory they take, in a process alone."""
        copy = self.stage.copy(loaded, "alone")
        say("Chroma alone")
        found = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.chroma_alone"),
                *(str(copy.folder / "chroma"), COLLECTION),
                *("--count", str(max(int(200 * self.scale), 10))),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        alone: dict[str, float] = json.loads(found.stdout)
        return alone

    def memory(self, loaded: Loaded) -> None:
        """Peak memory after some hundred questions."""
        alone = self.chroma_alone(loaded)["memory"]
        with self.cast(loaded, yardsticks=False) as cast, self.stage.model(0.0):
            found = self._load(cast.values(), length=20, clients=8, seconds=3.0, stream=False)
        name = f"peak memory, {loaded.count:,} passages"
        rows = {"Chroma alone, in process": [alone]}
        self._table(name, found, {"MB": lambda samples: samples.memory}, rows)
        why = f"Chroma alone {alone:.0f} + 60"
        self._goal(f"{name}, in process", found[SERVER].memory, alone + 60, "MB", found, why=why)
        self._goal(f"{name}, Chroma server", found[APART].memory, 110, "MB", found)

    # -- how soon an answer begins -------------------------------------------------------------

    def first(self, cast: Cast) -> None:
        """Streams one by one; the model says its first word after half a millisecond."""
        found: dict[str, Samples] = {}
        gaps: dict[str, float | None] = {}
        file = self.stage.folder / "gaps.json"
        for name, target in cast.items():
            with self.stage.model(0.0, gaps=file):
                found |= self._load([target], length=20, clients=1, seconds=2.0)
            seconds = json.loads(file.read_text())
            gaps[name] = percentile(seconds, 0.5) * 1e3 if seconds else None
        first = {name: samples.first_token_ms() for name, samples in found.items()}
        self.tables.append(
            Table(
                "one by one, model 0.5 ms",
                ["first token p50, ms", "p95, ms", "embedding to question p50, ms"],
                {
                    name: [first[name], samples.first_token_ms(0.95), gaps[name]]
                    for name, samples in found.items()
                },
            )
        )
        for name, plain in PLAIN.items():
            goal, why = f"first token one by one, {name}", f"1.3 × {first[plain]:.1f} ({plain})"
            self._goal(goal, first[name], 1.3 * first[plain], "ms", found, why=why)
        for name in PLAIN:
            goal = f"from the embedding to the question to the model, {name}"
            self._goal(goal, gaps[name] or float("nan"), 5.0, "ms", found)

    # -- many streams --------------------------------------------------------------------------

    def streams(self, cast: Cast) -> None:
        """256 streams, a token every 40 ms; new ones begin as steadily as old ones end."""
        with self.stage.model(0.04):
            found = self._streams(cast, 256, length=100, seconds=8.0, spread=4.0)
        relay = found["relay"].token_us
        for name in PLAIN:
            goal, why = f"256 streams: CPU of a token, {name}", f"1.5 × {relay:.0f} (relay)"
            self._goal(goal, found[name].token_us, 1.5 * relay, "µs", found, why=why)
            goal = f"256 streams: first token p50, {name}"
            self._goal(goal, found[name].first_token_ms(), 50, "ms", found)

    def many(self, cast: Cast) -> None:
        """1,000 streams, a token every 200 ms."""
        with self.stage.model(0.2):
            found = self._streams(cast, 1000, length=50, seconds=10.0, spread=10.0)
        for name in PLAIN:
            goal = f"1,000 streams: first token p50, {name}"
            self._goal(goal, found[name].first_token_ms(), 150, "ms", found)

    def _streams(self, cast: Cast, clients: int, **load: Any) -> dict[str, Samples]:
        found = self._load(cast.values(), clients=clients, rounds=1, **load)
        self._table(
            f"{clients:,} streams, {load['length']} tokens, steady arrivals",
            found,
            {
                "CPU a token, µs": lambda samples: samples.token_us,
                "first token p50, ms": lambda samples: samples.first_token_ms(),
                "p95, ms": lambda samples: samples.first_token_ms(0.95),
                "tokens/s": lambda samples: samples.tokens_a_second,
                "streams at once": lambda samples: samples.peak,
                "peak memory, MB": lambda samples: samples.memory,
            },
        )
        return found

    def saturated(self, cast: Cast) -> None:
        """64 streams, as fast as the model's stand-in can write them."""
        with self.stage.model(0.0):
            found = self._load(cast.values(), length=200, clients=64, seconds=4.0)
        self._table(
            "64 streams, 200 tokens, saturated",
            found,
            {
                "tokens/s": lambda samples: samples.tokens_a_second,
                "CPU a token, µs": lambda samples: samples.token_us,
                "first token p50, ms": lambda samples: samples.first_token_ms(),
            },
        )
        for name in PLAIN:
            speed = found[name].tokens_a_second
            self._goal(f"saturated, {name}", speed, 35_000, "tokens/s", found, least=True)

    def tokens(self, cast: Cast) -> None:
        """128 streams, a token every 20 ms, in two lengths: what a token costs by itself.

        The processor time of an answer is a straight line over its length; its slope is the price
        of a token, where it begins is that of a request.
        """
        chat = cast[APART]
        targets = [cast["relay"], cast["plain + Chroma"], chat]
        targets.append(replace(chat, name="server + Chroma, /v1", speaks="v1"))
        costs: dict[str, dict[float, float]] = {target.name: {} for target in targets}
        speed: dict[str, float] = {}
        with self.stage.model(0.02):
            for length in (50, 200):
                found = self._load(targets, length=length, clients=128, seconds=4.0, spread=1.0)
                for name, samples in found.items():
                    costs[name][length] = samples.request_ms
                    speed[name] = samples.tokens_a_second
        lines = {name: line(cost) for name, cost in costs.items()}
        slopes = {name: slope * 1e3 for name, (_, slope) in lines.items()}
        self.tables.append(
            Table(
                "128 streams, 20 ms a token: line over 50 and 200 tokens",
                ["CPU a token, µs", "CPU a request, ms", "tokens/s"],
                {name: [slopes[name], lines[name][0], speed[name]] for name in lines},
            )
        )
        *_, v1 = slopes
        # One that falls behind the model reads several tokens at once and looks cheap.
        slow = min(speed[chat.name], speed[v1]) < 0.9 * speed["relay"]
        flaw = "fell behind the model" if slow else ""
        for goal, name, factor, other in (
            ("a token more, /chat", chat.name, 1.5, "relay"),
            ("a token more, /v1", v1, 1.15, chat.name),
        ):
            why, limit = f"{factor} × {slopes[other]:.1f} ({other})", factor * slopes[other]
            self.goals.append(Goal(goal, slopes[name], limit, "µs", why, flaw=flaw))

    def starts(self, loaded: Loaded) -> None:
        """How soon after its start the server is healthy."""
        found = []
        with self.stage.model(0.0):
            for _ in range(max(int(5 * self.scale), 1)):
                say("start")
                with self.stage.server(loaded) as target:
                    found.append(target.process.startup)
        self.goals.append(Goal("from the start to /health", percentile(found, 0.5), 1.5, "s"))

    # -- doing it ------------------------------------------------------------------------------

    def _load(
        self,
        targets: Any,
        *,
        clients: int,
        seconds: float,
        spread: float = 0.0,
        rounds: int | None = None,
        **job: Any,
    ) -> dict[str, Samples]:
        """Load the targets in turns, and return what each of them did and took."""
        found = {target.name: Samples() for target in targets}
        for number in range(self.rounds if rounds is None else rounds):
            for target in targets:
                self._jobs += 1
                load = target.job(
                    clients=max(int(clients * self.crowd), 1),
                    seconds=seconds * self.scale,
                    spread=spread * self.scale,
                    seed=self._jobs,
                    **job,
                )
                what = f"{load.clients} clients, {load.tokens} tokens"
                say(f"{what}, round {number + 1}: {target.name}")
                before = target.process.cpu()
                result = run(load)
                spent = target.process.cpu() - before
                found[target.name].add(spent, target.process.memory(), result)
        for name, samples in found.items():
            self.errors += [f"{name}: {error}" for error in samples.errors]
        return found

    def _table(
        self,
        title: str,
        found: Mapping[str, Samples],
        columns: Mapping[str, Any],
        rows: Mapping[str, list[Any]] | None = None,
    ) -> None:
        figures = {name: [of(each) for of in columns.values()] for name, each in found.items()}
        self.tables.append(Table(title, list(columns), {**figures, **(rows or {})}))

    def _goal(
        self,
        name: str,
        figure: float,
        limit: float,
        unit: str,
        found: Mapping[str, Samples],
        **more: Any,
    ) -> None:
        flaw = "errors" if any(samples.errors for samples in found.values()) else ""
        self.goals.append(Goal(name, figure, limit, unit, flaw=flaw, **more))


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


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
