"""The order of what two searches have found: scores scaled over the candidates, and weighted."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..types import Passage

COMPARED_WEIGHTS = (0.3, 0.5, 0.7)  # by an evaluation, beside the one in force


class Scored(NamedTuple):
    """What the two searches say of one passage: cosine similarity and BM25, where they found it."""

    id: str
    dense: float | None
    bm25: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the two searches proposed; ``passage.score`` is its relevance.

    ``dense`` is its cosine similarity to the question, whichever search found it; ``near`` says
    whether the search by meaning did. ``bm25`` is higher for better ones, comparable only within
    one answer, ``None`` where words did not find it.
    """

    passage: Passage
    dense: float
    bm25: float | None
    near: bool = True


class SearchSettings(NamedTuple):
    """How a collection is searched: when it has an answer, and what orders its passages.

    ``threshold`` is what the best of ``top_k`` passages must score; ``threshold_origin`` says who
    decided on it: the configuration, a calibration of this collection, or the embedder, for which
    it was measured or is a guess.
    """

    threshold: float
    threshold_origin: Literal["configured", "calibrated", "measured", "guess"]
    dense_weight: float
    top_k: int


class EmbedderDefaults(NamedTuple):
    """What suits an embedding model: the threshold of relevance, and the weight of meaning."""

    threshold: float
    dense_weight: float
    measured: bool = True


def rank(candidates: Sequence[Candidate], dense_weight: float) -> list[Passage]:
    """Return the passages of ``candidates`` best first, in the order of ``best_first``."""
    passages = {each.passage.id: each.passage for each in candidates}
    scored = [
        Scored(each.passage.id, each.dense if each.near else None, each.bm25) for each in candidates
    ]
    return [passages[each.id] for each in best_first(scored, dense_weight)]


def best_first(scored: Sequence[Scored], dense_weight: float) -> list[Scored]:
    """Return ``scored`` in the order of ``rank_scores``; ties go to the nearer passage."""
    ranking = rank_scores(scored, dense_weight)
    farthest = -math.inf
    return sorted(
        scored,
        key=lambda each: (-ranking[each.id], -(farthest if each.dense is None else each.dense)),
    )


def rank_scores(scored: Sequence[Scored], dense_weight: float) -> dict[str, float]:
    """Return what orders ``scored``, by id, 0 to 1: each half scaled to 0..1 over what it found.

    What a half did not find has nothing from it. So the order is known before any passage is read,
    and a passage's own vector need not be asked for.
    """
    dense = _scaled({each.id: each.dense for each in scored if each.dense is not None})
    words = _scaled({each.id: each.bm25 for each in scored if each.bm25 is not None})
    return {
        each.id: dense_weight * dense.get(each.id, 0.0)
        + (1 - dense_weight) * words.get(each.id, 0.0)
        for each in scored
    }


def best_of_any(scored: Sequence[Scored], dense_weights: Iterable[float], n: int) -> list[Scored]:
    """Return the ``n`` best for each of ``dense_weights``, and the worst that each half found.

    Among these alone every weight gives the same first ``n`` as among all, with the same scores.
    """
    best = [each for weight in dense_weights for each in best_first(scored, weight)[:n]]
    dense = (each for each in scored if each.dense is not None)
    words = (each for each in scored if each.bm25 is not None)
    worst = [
        min(dense, key=lambda each: each.dense or 0.0, default=None),
        min(words, key=lambda each: each.bm25 or 0.0, default=None),
    ]
    return list(dict.fromkeys([*best, *(each for each in worst if each is not None)]))


def relevance_score(best: Sequence[Passage]) -> float:
    """Return what tells whether the ``top_k`` best passages answer at all: the highest score."""
    return max((passage.score for passage in best), default=0.0)


def similarity(distance: float, space: str) -> float:
    """Return the cosine similarity of two unit vectors from Chroma's distance in ``space``.

    Chroma's distances: cosine 1 - cos, ip 1 - dot, l2 the squared Euclidean distance, which is
    2 - 2 cos for vectors of length one.
    """
    return 1 - distance / 2 if space == "l2" else 1 - distance


def _scaled(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    return {id: (score - low) / (high - low) if high > low else 1.0 for id, score in scores.items()}
