"""What became of the questions of one collection, counted in one reading of the log's records."""

import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Fate = Literal["answered", "refused", "blocked", "failed", "left"]

_MOST_CHARS = 1000  # of a question; whoever asks more is not quoted in full
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Asked:
    """A question as often as it was asked in the same words, and the best that was found for it.

    ``last`` is the time of the log, ``score`` the best relevance, ``source`` where that is from.
    """

    text: str
    count: int = 0
    last: str = ""
    score: float | None = None
    source: str | None = None

    def note(self, text: str, record: Mapping[str, Any], score: float | None, source: str) -> None:
        """Count it once more; the newest wording stands for all."""
        self.count += 1
        if record["timestamp"] >= self.last:
            self.text, self.last = text, record["timestamp"]
        if score is not None and (self.score is None or score > self.score):
            self.score, self.source = score, source or None


@dataclass(frozen=True, slots=True)
class Rating:
    """The latest rating of an answer."""

    time: str
    up: bool
    comment: str


@dataclass(frozen=True, slots=True)
class RatedDown:
    """An answer that somebody found wrong, with its question and what was said about it."""

    question: str
    answer: str
    comment: str
    last: str


@dataclass(slots=True)
class Tally:
    """Counts of the questions to ``collection``: first all ratings, then all exchanges.

    A question has found nothing, or little where the best passage scored less than ``enough``.
    Memory is bounded: beyond ``most_texts`` different texts further ones are only counted, in
    ``uncollected``, and of the answers rated down the latest ``most_rated`` are kept.
    """

    collection: str
    enough: float
    most_texts: int = 100_000
    most_rated: int = 500
    fates: Counter[Fate] = field(default_factory=Counter)
    small_talk: int = 0
    rated_up: int = 0
    rated_down: int = 0
    uncollected: int = 0
    unnamed: int = 0  # answers of a time when sources were not logged
    missing: dict[str, Asked] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    down: deque[RatedDown] = field(init=False)
    _ratings: dict[str, Rating] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.down = deque(maxlen=self.most_rated)

    @property
    def questions(self) -> int:
        """How many questions there were; small talk is none."""
        return self.fates.total()

    def rate(self, record: Mapping[str, Any]) -> None:
        """Take note of a rating; of several about one answer the latest counts."""
        id, rating = record.get("answer_id"), record.get("rating")
        if record.get("collection") != self.collection or not isinstance(id, str):
            return
        known = self._ratings.get(id)
        if rating in (1, -1) and (known is None or known.time <= record["timestamp"]):
            comment = _text(record.get("comment"))
            self._ratings[id] = Rating(record["timestamp"], rating == 1, comment)

    def add(self, record: Mapping[str, Any]) -> None:
        """Count an exchange."""
        if record.get("collection") != self.collection:
            return
        if record.get("result") == "small_talk":
            self.small_talk += 1
            return
        text = _text(record.get("query"))
        self.fates[_fate(record)] += 1
        self._count_rating(text, record)
        references = _references(record, "sources")
        if record.get("result") == "found":
            used = {each["source"] for each in references if each.get("source")}
            self.sources.update(used)
            self.unnamed += not used
        best = max(_references(record, "considered") or references, key=_score, default=None)
        score = None if best is None else _score(best)
        if record.get("result") == "not_found" or (
            record.get("result") == "found" and score is not None and score < self.enough
        ):
            self._note(text, record, score, str((best or {}).get("source") or ""))

    def _note(self, text: str, record: Mapping[str, Any], score: float | None, source: str) -> None:
        same = _plain(text)
        if same and same not in self.missing:
            if len(self.missing) == self.most_texts:
                self.uncollected += 1
                return
            self.missing[same] = Asked(text)
        if same:
            self.missing[same].note(text, record, score, source)

    def _count_rating(self, text: str, record: Mapping[str, Any]) -> None:
        rating = self._ratings.get(str(record.get("answer_id")))
        if rating is None:
            return
        if rating.up:
            self.rated_up += 1
            return
        self.rated_down += 1
        answer = _text(record.get("response"))
        self.down.append(RatedDown(text, answer, rating.comment, record["timestamp"]))


def _fate(record: Mapping[str, Any]) -> Fate:
    if record.get("blocked") is True:
        return "blocked"
    if record.get("outcome") == "failed":
        return "failed"
    if record.get("outcome") == "disconnected":
        return "left"
    return "refused" if record.get("result") == "not_found" else "answered"


def _references(record: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = record.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _score(reference: Mapping[str, Any]) -> float:
    score = reference.get("relevance", reference.get("score"))
    return float(score) if isinstance(score, int | float) else 0.0


def _text(value: object) -> str:
    return _SURROGATES.sub("\ufffd", value)[:_MOST_CHARS] if isinstance(value, str) else ""


def _plain(text: str) -> str:
    """Return what is the same in texts that differ in case, white space or punctuation only."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text
