"""What was measured becomes figures, and figures become goals that are met or missed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .load import Result


@dataclass(slots=True)
class Samples:
    """Loads of one kind on one server: ``cpu`` its processor seconds, ``memory`` its peak in MB."""

    cpu: float = 0.0
    memory: float = 0.0
    results: list[Result] = field(default_factory=list)

    def add(self, cpu: float, memory: float, result: Result) -> None:
        self.cpu += cpu
        self.memory = max(self.memory, memory)
        self.results.append(result)

    @property
    def answers(self) -> int:
        return sum(result.answers for result in self.results)

    @property
    def request_ms(self) -> float:
        """Processor milliseconds of an answer."""
        return self.cpu / max(self.answers, 1) * 1e3

    @property
    def token_us(self) -> float:
        """Processor microseconds of a token, its share of the request among them."""
        return self.cpu / max(sum(result.tokens for result in self.results), 1) * 1e6

    @property
    def tokens_a_second(self) -> float:
        return self._a_second(sum(result.tokens for result in self.results))

    @property
    def answers_a_second(self) -> float:
        return self._a_second(self.answers)

    @property
    def peak(self) -> int:
        """The most streams at once."""
        return max(result.peak for result in self.results)

    @property
    def errors(self) -> list[str]:
        return [
            f"{problem} ({times} times)"
            for result in self.results
            for problem, times in result.errors.items()
        ]

    def first_token_ms(self, share: float = 0.5) -> float:
        """Return within how many milliseconds this share of the answers began."""
        waits = [wait for result in self.results for wait in result.first_token]
        return percentile(waits, share) * 1e3

    def _a_second(self, number: int) -> float:
        return number / max(sum(result.duration for result in self.results), 1e-9)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of several servers under one load; a figure that means nothing there is ``None``."""

    title: str
    columns: Sequence[str]
    rows: dict[str, list[float | None]]

    def text(self) -> str:
        """Return the table in Markdown."""
        return _markdown(
            [self.title, *self.columns],
            [[name, *map(_figure, figures)] for name, figures in self.rows.items()],
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be at most (``least``: at least) ``limit``; ``why`` explains the limit.

    ``flaw`` says why the figure means nothing, where that is so; then the goal is not met.
    """

    name: str
    figure: float
    limit: float
    unit: str
    why: str = ""
    least: bool = False
    flaw: str = ""

    @property
    def met(self) -> bool:
        met = self.figure >= self.limit if self.least else self.figure <= self.limit
        return met and not self.flaw

    def row(self) -> list[str]:
        limit = f"{'≥' if self.least else '≤'} {_figure(self.limit)} {self.unit}"
        found = f"{_figure(self.figure)} {self.unit}" + (f" ({self.flaw})" if self.flaw else "")
        return [self.name, found, f"{limit}{self.why and f' ({self.why})'}", _answer(self.met)]


def goals_text(goals: Sequence[Goal]) -> str:
    """Return all goals as one table in Markdown."""
    return _markdown(["goal", "measured", "wanted", "met"], [goal.row() for goal in goals])


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def line(points: dict[float, float]) -> tuple[float, float]:
    """Return where the line through the points meets x = 0, and its slope (least squares)."""
    x, y = sum(points) / len(points), sum(points.values()) / len(points)
    slope = sum((a - x) * (b - y) for a, b in points.items())
    slope /= sum((a - x) ** 2 for a in points)
    return y - slope * x, slope


def _answer(met: bool) -> str:
    return "yes" if met else "**no**"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(lines)
