"""Who decides on the relevance from which a collection answers."""

from typing import Any

import pytest

from orbit_server.retrieval.thresholds import CALIBRATED, MEASURED, Thresholds


@pytest.mark.parametrize(
    ("configured", "metadata", "model", "expected"),
    [
        (0.9, {CALIBRATED: 0.3}, "hashed-words-1", (0.9, "configured")),
        (0.0, {CALIBRATED: 0.3}, "hashed-words-1", (0.0, "configured")),
        (None, {CALIBRATED: 0.3, MEASURED: 0.4}, "hashed-words-1", (0.3, "calibrated")),
        (None, {CALIBRATED: 0}, "hashed-words-1", (0.0, "calibrated")),
        (None, {MEASURED: 0.4}, "hashed-words-1", (0.4, "measured")),
        (None, {}, "hashed-words-1", (0.45, "embedder")),
        (None, {}, "all-minilm:33m", (0.62, "embedder")),
        (None, {}, "something-new", (0.62, "guess")),
        (None, {"orbit_threshold": 0.1}, "something-new", (0.62, "guess")),  # of another score
    ],
)
def test_who_decides(
    configured: float | None, metadata: dict[str, Any], model: str, expected: tuple[float, str]
) -> None:
    """The configuration wins over a calibration, that over a measurement, that over the model."""
    thresholds = Thresholds(model, configured)
    assert thresholds.of(metadata) == expected
    assert thresholds.both(metadata)[0] == expected[0]


def test_the_others_need_less() -> None:
    """What comes with the best passage must reach six tenths of its threshold, if none is set."""
    assert Thresholds("m", 0.5).both({}) == (0.5, 0.3)
    assert Thresholds("m", 0.5, 0.1).both({}) == (0.5, 0.1)
    assert Thresholds("m", 0.5, 0.9).both({}) == (0.5, 0.5)
