"""Distances as Chroma measures them; test_client.py compares them with Chroma's own."""

import pytest

from orbit_server.retrieval.chroma.distance import distance


@pytest.mark.parametrize(
    ("space", "expected"), [("cosine", 1 - 2 / 20**0.5), ("ip", -1.0), ("l2", 5.0)]
)
def test_every_space(space: str, expected: float) -> None:
    """Vectors of any length: only the cosine takes no notice of it."""
    assert distance([2.0, 0.0], [1.0, 2.0], space) == pytest.approx(expected)


@pytest.mark.parametrize("space", ["cosine", "ip"])
def test_no_direction(space: str) -> None:
    """A vector of zeros is at right angles to all."""
    assert distance([0.0, 0.0], [1.0, 2.0], space) == 1.0
