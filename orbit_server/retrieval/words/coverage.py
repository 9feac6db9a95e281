"""How much of what a question asks for a passage contains."""

import math
from collections.abc import Iterable, Mapping


def idf_weights(passages: int, frequencies: Mapping[str, int]) -> dict[str, float]:
    """Return what each term tells: ln(1 + (N - n + 0.5) / (n + 0.5)), as in BM25.

    ``n`` of ``N`` ``passages`` contain it. Without passages all terms weigh the same.
    """
    return {
        term: math.log(1 + (passages - count + 0.5) / (count + 0.5))
        for term, count in frequencies.items()
    }


def coverage(weights: Mapping[str, float], terms: Iterable[str]) -> float:
    """Return the share (0 to 1) of the question's ``weights`` that a passage of ``terms`` has."""
    mass = sum(weights.values())
    return sum(weights[term] for term in weights.keys() & set(terms)) / mass if mass else 0.0
