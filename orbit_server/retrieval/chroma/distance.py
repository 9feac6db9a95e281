"""The distance of two vectors as Chroma measures it."""

import math
from operator import mul

from .protocol import Vector


def distance(a: Vector, b: Vector, space: str) -> float:
    """Return the distance of two vectors of one length in ``space``.

    ``cosine``: 1 - cos, ``ip``: 1 - dot, ``l2``: the squared Euclidean distance; see
    https://docs.trychroma.com/docs/collections/configure. A vector of zeros is at right angles to
    all, as in Chroma.
    """
    if space == "l2":
        return math.dist(a, b) ** 2
    dot: float = sum(map(mul, a, b))
    if space == "ip":
        return 1 - dot
    lengths = math.hypot(*a) * math.hypot(*b)
    return 1 - dot / lengths if lengths else 1.0
