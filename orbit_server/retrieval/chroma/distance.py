"""The distance of two vectors as Chroma measures it."""

import math

from .protocol import Vector


def distance(a: Vector, b: Vector, space: str) -> float:
    """Return the distance of two vectors of one length in ``space``.

    ``cosine``: 1 - cos, ``ip``: 1 - dot, ``l2``: the squared Euclidean distance; see
    https://docs.trychroma.com/docs/collections/configure. A vector of zeros is at right angles to
    all, as in Chroma.
    """
    squared = math.dist(a, b) ** 2
    if space == "l2":
        return squared
    one, other = math.hypot(*a), math.hypot(*b)
    dot = (one * one + other * other - squared) / 2  # three steps in C, not one in Python
    if space == "ip":
        return 1 - dot
    return 1 - dot / (one * other) if one and other else 1.0
