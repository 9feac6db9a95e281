"""The report of ``orbit questions``: what was counted, and what is missing, grouped by meaning."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .reviewed import Reviewed
from .tally import Asked, Fate, RatedDown, Tally

_MOST_WORDINGS = 20
_FATES: tuple[Fate, ...] = ("answered", "refused", "blocked", "failed", "left")


@dataclass(frozen=True, slots=True)
class Gap:
    """Questions of one meaning that found nothing, or little.

    ``question`` is the most frequent wording, or the newest of them; ``wordings`` are the other
    ones, the most frequent first. ``last`` is when it was asked last, ``score`` the best relevance
    and ``source`` where the nearest passage is from, where the log knows.
    """

    question: str
    count: int
    last: str
    score: float | None
    source: str | None
    wordings: list[str]

    @classmethod
    def of(cls, asked: Sequence[Asked]) -> "Gap":
        first, *others = sorted(asked, key=_weight, reverse=True)
        nearest = max(asked, key=lambda each: -1.0 if each.score is None else each.score)
        return cls(
            question=first.text,
            count=sum(each.count for each in asked),
            last=max(each.last for each in asked),
            score=nearest.score,
            source=nearest.source,
            wordings=[each.text for each in others[:_MOST_WORDINGS]],
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What people asked a collection since a time. Times are those of the log: UTC.

    ``counts`` are the questions by what became of them; ``ratings`` those of their answers.
    ``reviewed`` groups were answered or ignored and are left out of ``gaps``. ``damaged`` lines
    held no record. ``used`` are the sources by number of answers, ``unused`` those that the
    collection has beside them; answers of a time when sources were not logged are ``unnamed``.
    """

    collection: str
    since: str
    until: str
    threshold: float
    counts: dict[str, int]
    small_talk: int
    ratings: dict[str, int]
    gaps: list[Gap]
    reviewed: int
    rated_down: list[RatedDown]
    used: dict[str, int]
    unused: list[str]
    unnamed: int
    uncollected: int
    damaged: int

    def json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return asdict(self)


def texts_to_group(tally: Tally, decided: Sequence[Reviewed]) -> list[Asked]:
    """Return the questions to be grouped, those first that count most.

    Questions that were decided about are among them, with a count of 0, so that other wordings of
    theirs are known by their company.
    """
    asked = sorted(tally.missing.values(), key=_weight, reverse=True)
    return asked + [Asked(each.text) for each in decided]


def report(
    tally: Tally,
    asked: Sequence[Asked],
    groups: Sequence[Sequence[int]],
    decided: Sequence[Reviewed],
    *,
    since: str,
    until: str,
    threshold: float,
    sources: Sequence[str],
    damaged: int = 0,
) -> Report:
    """Return the report of ``tally``, of which ``groups`` number the ``asked`` questions."""
    by_text = {each.text: each for each in decided}
    gaps: list[Gap] = []
    settled = 0
    for group in groups:
        members = [asked[number] for number in group]
        counted = [each for each in members if each.count]
        if not counted:
            continue
        gap = Gap.of(counted)
        decisions = [by_text[each.text] for each in members if each.text in by_text]
        if any(decision.covers(gap.last) for decision in decisions):
            settled += 1
        else:
            gaps.append(gap)
    gaps.sort(key=lambda gap: (gap.count, gap.last, gap.question), reverse=True)
    return Report(
        collection=tally.collection,
        since=since,
        until=until,
        threshold=threshold,
        counts={"questions": tally.questions, **{fate: tally.fates[fate] for fate in _FATES}},
        small_talk=tally.small_talk,
        ratings={"up": tally.rated_up, "down": tally.rated_down},
        gaps=gaps,
        reviewed=settled,
        rated_down=sorted(tally.down, key=lambda each: each.last, reverse=True),
        used=dict(sorted(tally.sources.items(), key=lambda item: (-item[1], item[0]))),
        unused=sorted(set(sources) - tally.sources.keys()),
        unnamed=tally.unnamed,
        uncollected=tally.uncollected,
        damaged=damaged,
    )


def _weight(asked: Asked) -> tuple[int, str, str]:
    return asked.count, asked.last, asked.text
