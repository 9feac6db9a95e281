"""The order of what two searches have found, and how it was decided that a passage answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..types import Passage
from .thresholds import Origin

COMPARED_WEIGHTS = (0.3, 0.5, 0.7)  # by an evaluation, beside the one in force


class Scored(NamedTuple):
    """What is known of a passage before it is read.

    ``dense`` is its cosine similarity to the question; of one that only words found, that of the
    farthest which was found by meaning. ``bm25`` is its BM25 as a share of what the best
    conceivable passage would have, ``None`` where words did not find it.
    """

    id: str
    dense: float
    bm25: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the two searches proposed; ``passage.score`` is its relevance.

    ``dense`` is its cosine similarity to the question, whichever search found it. ``bm25`` is its
    BM25 as a share of the best conceivable, ``None`` where words did not find it; ``words`` (1 at
    most) is what it has of the question's words.
    """

    passage: Passage
    dense: float
    bm25: float | None
    words: float

    def rank_score(self, dense_weight: float) -> float:
        """Return what orders candidates, about 0 to 1: the two halves, weighted."""
        return dense_weight * self.dense + (1 - dense_weight) * self.words


class SearchSettings(NamedTuple):
    """How a collection is searched: when it has an answer, and what orders its passages.

    ``threshold`` is what the best of ``top_k`` passages must score; ``threshold_origin`` says who
    decided on it: the configuration, a calibration of this collection, a measurement of it, or the
    embedder, for which it was measured elsewhere or is a guess.
    """

    threshold: float
    threshold_origin: Origin
    dense_weight: float
    top_k: int


def best_of(candidates: Sequence[Candidate], dense_weight: float) -> list[Candidate]:
    """Return ``candidates`` best first; ties go to the nearer passage, then to the smaller id."""
    return sorted(
        candidates,
        key=lambda each: (-each.rank_score(dense_weight), -each.dense, each.passage.id),
    )


def rank(candidates: Sequence[Candidate], dense_weight: float) -> list[Passage]:
    """Return the passages of ``candidates`` best first, as ``best_of`` orders them."""
    return [each.passage for each in best_of(candidates, dense_weight)]


def by_bm25(candidates: Sequence[Candidate]) -> list[Passage]:
    """Return the passages of ``candidates`` as BM25 alone orders them."""
    ordered = sorted(
        candidates, key=lambda each: (-(each.bm25 or 0.0), -each.dense, each.passage.id)
    )
    return [each.passage for each in ordered]


def best_first(scored: Sequence[Scored], dense_weight: float) -> list[Scored]:
    """Return ``scored`` in the order that is known before they are read.

    A passage is as good as its cosine and its share of the best BM25, weighted; ties go to the
    nearer one, then to the smaller id, so that every host has the same order.
    """
    return sorted(
        scored,
        key=lambda each: (
            -(dense_weight * each.dense + (1 - dense_weight) * (each.bm25 or 0.0)),
            -each.dense,
            each.id,
        ),
    )


def best_of_any(scored: Sequence[Scored], dense_weights: Iterable[float], n: int) -> list[Scored]:
    """Return the ``n`` best for each of ``dense_weights``."""
    best = [each for weight in dense_weights for each in best_first(scored, weight)[:n]]
    return list(dict.fromkeys(best))


def relevance_score(best: Sequence[Passage]) -> float:
    """Return what tells whether the ``top_k`` best passages answer at all: the highest score."""
    return max((passage.score for passage in best), default=0.0)


def similarity(distance: float, space: str) -> float:
    """Return the cosine similarity of two unit vectors from Chroma's distance in ``space``.

    Chroma's distances: cosine 1 - cos, ip 1 - dot, l2 the squared Euclidean distance, which is
    2 - 2 cos for vectors of length one.
    """
    return 1 - distance / 2 if space == "l2" else 1 - distance
