"""The order of what two searches have found: scores scaled over the candidates, and weighted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..types import Passage


class Scored(NamedTuple):
    """What the two searches say of one passage: cosine similarity, and BM25 if words found it."""

    id: str
    dense: float
    bm25: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the two searches proposed; ``passage.score`` is its relevance.

    ``dense`` is its cosine similarity to the question, whichever search found it. ``bm25`` is
    higher for better ones, comparable only within one answer, ``None`` where words did not find it.
    """

    passage: Passage
    dense: float
    bm25: float | None


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
    scored = [Scored(each.passage.id, each.dense, each.bm25) for each in candidates]
    return [passages[each.id] for each in best_first(scored, dense_weight)]


def best_first(scored: Sequence[Scored], dense_weight: float) -> list[Scored]:
    """Return ``scored`` in the order of ``rank_scores``; ties go to the nearer passage."""
    ranking = rank_scores(scored, dense_weight)
    return sorted(scored, key=lambda each: (-ranking[each.id], -each.dense))


def rank_scores(scored: Sequence[Scored], dense_weight: float) -> dict[str, float]:
    """Return what orders ``scored``, by id, 0 to 1: each half scaled to 0..1 over all of them.

    What words did not find has nothing from that half.
    """
    dense = _scaled({each.id: each.dense for each in scored})
    words = _scaled({each.id: each.bm25 for each in scored if each.bm25 is not None})
    return {
        id: dense_weight * share + (1 - dense_weight) * words.get(id, 0.0)
        for id, share in dense.items()
    }


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
