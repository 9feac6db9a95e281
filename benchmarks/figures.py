"""What was measured becomes figures: of the relay, of the server, and their ratio."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .load import Result

SERVERS = ("relay", "server")


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one server: ``cpu`` seconds of its processor time, ``memory`` MB afterwards."""

    server: str
    length: int  # tokens in each answer
    cpu: float
    memory: float
    result: Result


@dataclass(slots=True)
class Workload:
    """Everything that was measured in one kind of load."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    def of(self, server: str, length: int | None = None) -> list[Sample]:
        return [
            sample
            for sample in self.samples
            if sample.server == server and length in (None, sample.length)
        ]

    def errors(self) -> dict[str, int]:
        """Return how often what went wrong, on either server."""
        found: dict[str, int] = {}
        for sample in self.samples:
            for problem, times in sample.result.errors.items():
                where = f"{sample.server}: {problem}"
                found[where] = found.get(where, 0) + times
        return found

    def figures(self, server: str) -> dict[str, float]:
        """Return the figures of one server.

        The processor time of an answer is ``request + tokens x token``; both come from the line
        through the answers of different lengths. With one length only, there is no line.
        """
        samples = self.of(server)
        lengths = sorted({sample.length for sample in samples})
        middle = lengths[len(lengths) // 2]
        costs = [_cost(self.of(server, length)) for length in lengths]
        found: dict[str, float] = {}
        if len(lengths) > 1:
            request, token = _line(lengths, costs)
            found["CPU per token, µs"] = token * 1e6
            found["CPU per request, ms"] = request * 1e3
        found[f"CPU per token, {middle}-token answers, µs"] = (
            costs[lengths.index(middle)] / middle * 1e6
        )
        waits = sorted(wait for sample in samples for wait in sample.result.first_token)
        found["first token p50, ms"] = _percentile(waits, 0.5) * 1e3
        found["first token p95, ms"] = _percentile(waits, 0.95) * 1e3
        found["tokens/s"] = _speed(samples)
        found["streams at once"] = max(sample.result.peak for sample in samples)
        found["memory, MB"] = max(sample.memory for sample in samples)
        return found

    def kept_up(self) -> bool:
        """Tell whether the server delivered the tokens of every length as fast as the relay."""
        lengths = {sample.length for sample in self.samples}
        return all(
            _speed(self.of("server", length)) > 0.95 * _speed(self.of("relay", length))
            for length in lengths
        )

    def table(self) -> dict[str, dict[str, float]]:
        """Return the figures of both servers and the server's as a multiple of the relay's."""
        relay, server = (self.figures(name) for name in SERVERS)
        ratio = {name: server[name] / relay[name] for name in relay if relay[name]}
        return {"relay": relay, "server": server, "ratio": ratio}

    def json(self) -> dict[str, Any]:
        """Return the table, the errors and every sample without its single waiting times."""
        samples = [asdict(sample) for sample in self.samples]
        for sample in samples:
            del sample["result"]["first_token"]
        return {"name": self.name, **self.table(), "errors": self.errors(), "samples": samples}

    def text(self) -> str:
        """Return the table for people."""
        table = self.table()
        lines = [f"{self.name:42}{'relay':>10}{'server':>10}{'ratio':>8}"]
        for name in table["relay"]:
            lines.append(
                f"  {name:40}{table['relay'][name]:10.1f}{table['server'][name]:10.1f}"
                f"{table['ratio'].get(name, 0.0):8.2f}"
            )
        lines += [f"  ERROR {problem}: {times} times" for problem, times in self.errors().items()]
        return "\n".join(lines)


def _cost(samples: Sequence[Sample]) -> float:
    answers = sum(sample.result.answers for sample in samples)
    return sum(sample.cpu for sample in samples) / max(answers, 1)


def _speed(samples: Sequence[Sample]) -> float:
    seconds = sum(sample.result.duration for sample in samples)
    return sum(sample.result.tokens for sample in samples) / seconds


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return where the line through the points meets x = 0, and its slope (least squares)."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    slope /= sum((a - x) ** 2 for a in xs)
    return y - slope * x, slope


def _percentile(values: Sequence[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


def median(values: Iterable[float]) -> float:
    """Return the middle one of ``values``."""
    return _percentile(sorted(values), 0.5)
