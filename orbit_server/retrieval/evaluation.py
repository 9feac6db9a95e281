"""How well a collection is searched, in figures: hit rates by the weight of meaning.

Searching costs an embedding and two lookups, ordering what was found costs nothing. So every
question is searched once, and all weights are compared on the same candidates.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ..errors import OrbitError
from ..types import Passage
from .ranking import (
    COMPARED_WEIGHTS,
    Candidate,
    SearchSettings,
    by_bm25,
    rank,
    relevance_score,
)

Search = Callable[[str], Awaitable[Sequence[Candidate]]]

_DEPTH = 10
_MISTAKES_SHOWN = 5


class EvaluationQuestion(BaseModel):
    """One entry of a question file.

    Whoever calls it ``answerable`` points to the right passage by at least one of ``source`` (a
    file, or the end of its path), ``answer_contains`` (words of the text) and ``matches`` (the
    stored question, or a heading); what is given must all hold. Other fields are ignored.
    """

    model_config = ConfigDict(frozen=True)

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    answerable: bool
    source: str | None = None
    answer_contains: str | None = None
    matches: str | None = None

    @model_validator(mode="after")
    def _points_somewhere(self) -> Self:
        if self.answerable and not (self.source or self.answer_contains or self.matches):
            raise ValueError("an answerable question needs source, answer_contains or matches")
        return self

    def answered_by(self, passage: Passage) -> bool:
        """Tell whether ``passage`` is the one that answers; case and spacing do not matter."""
        text = passage.answer or passage.text
        return (
            f"/{passage.source}".endswith(f"/{self.source or passage.source}")
            and _folded(self.answer_contains or "") in _folded(text)
            and _folded(self.matches or "") in _folded(f"{passage.title}\n{passage.text}")
        )


def read_questions(path: Path) -> list[EvaluationQuestion]:
    """Return the questions of a JSON file; OrbitError names the file and every wrong entry."""
    try:
        entries = orjson.loads(path.read_bytes())
    except OSError as error:
        raise OrbitError(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise OrbitError(f"{path} is not JSON: {error}") from error
    try:
        asked = TypeAdapter(list[EvaluationQuestion]).validate_python(entries)
    except ValidationError as error:
        raise OrbitError(f"{path} cannot be used:\n{_mistakes(error, entries)}") from error
    if not asked:
        raise OrbitError(f"{path} holds no questions")
    return asked


def _mistakes(error: ValidationError, entries: Any) -> str:
    lines = []
    for mistake in error.errors(include_url=False):
        number, *fields = mistake["loc"] or (None,)
        if not isinstance(number, int):
            return '  a list is expected: [{"question": …, "answerable": …, …}, …]'
        entry = entries[number]
        name = entry.get("question") if isinstance(entry, dict) else None
        where = f"  entry {number + 1}" + (f" ({str(name)[:60]!r})" if name else "")
        message = mistake["msg"].removeprefix("Value error, ")
        lines.append(": ".join([where, *map(str, fields), message]))
    if (left_out := len(lines) - _MISTAKES_SHOWN) > 0:
        lines[_MISTAKES_SHOWN:] = [f"  and {left_out} more"]
    return "\n".join(lines)


class Metrics(NamedTuple):
    """What a way to order passages achieves; each 0 to 1, ``None`` without such questions.

    Of the answerable questions: how often the right passage is first, and among the first three;
    the mean of 1/rank over the first ten; the share that passes the threshold (``kept``), and that
    does with the right passage first (``kept_right``). ``let_through`` is the share of the others
    that passes it.
    """

    search: str
    dense_weight: float
    hit_at_1: float | None
    hit_at_3: float | None
    mrr_at_10: float | None
    kept: float | None
    kept_right: float | None
    let_through: float | None


async def evaluate(
    search: Search,
    asked: Sequence[EvaluationQuestion],
    settings: SearchSettings,
    *,
    advanced: Callable[[], None] = lambda: None,
) -> list[Metrics]:
    """Return the figures of dense search, BM25 and hybrid: first the weight in force, then others.

    ``advanced()`` is called after every question.
    """
    found: list[Sequence[Candidate]] = []
    for each in asked:
        found.append(await search(each.question))
        advanced()
    rows = [("dense", 1.0), ("BM25", 0.0), ("hybrid", settings.dense_weight)]
    rows += [("hybrid", w) for w in COMPARED_WEIGHTS if w != settings.dense_weight]
    return [_metrics(name, weight, asked, found, settings) for name, weight in rows]


def _metrics(
    name: str,
    weight: float,
    asked: Sequence[EvaluationQuestion],
    found: Sequence[Sequence[Candidate]],
    settings: SearchSettings,
) -> Metrics:
    places: list[int | None] = []
    passed: dict[bool, list[bool]] = {True: [], False: []}
    for each, candidates in zip(asked, found, strict=True):
        ranked = by_bm25(candidates) if name == "BM25" else rank(candidates, weight)
        passed[each.answerable].append(
            relevance_score(ranked[: settings.top_k]) >= settings.threshold
        )
        if each.answerable:
            right = (n for n, passage in enumerate(ranked, 1) if each.answered_by(passage))
            places.append(next(right, None))
    return Metrics(
        name,
        weight,
        mean([place == 1 for place in places]),
        mean([place is not None and place <= 3 for place in places]),
        mean([1 / place if place and place <= _DEPTH else 0.0 for place in places]),
        mean(passed[True]),
        mean([place == 1 and kept for place, kept in zip(places, passed[True], strict=True)]),
        mean(passed[False]),
    )


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, ``None`` of nothing."""
    return sum(values) / len(values) if values else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
