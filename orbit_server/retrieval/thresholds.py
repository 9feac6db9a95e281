"""From which relevance on a collection answers, and who decided on it.

The first of these that there is: the configuration; what ``calibrate`` found with questions of the
collection's own; what was measured by itself; what suits the embedder.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .relevance import EmbedderDefault, default_of

Origin = Literal["configured", "calibrated", "measured", "embedder", "guess"]

# The keys of a collection's metadata. They name the score that they are of: what was found with
# another one ("orbit_threshold") means nothing in this one.
CALIBRATED = "orbit_relevance_calibrated"
MEASURED = "orbit_relevance_measured"
MEASURED_WORDS = "orbit_relevance_words"  # the word score of questions without an answer

_OTHERS = 0.6


class Thresholds(NamedTuple):
    """How thresholds are chosen: by ``configured`` ones where there are any, for ``model``.

    ``best`` is what the best passage must score, ``others`` every other one that is used; the
    latter is six tenths of the former unless it is configured. ``model`` embeds.
    """

    model: str
    best: float | None = None
    others: float | None = None

    @property
    def default(self) -> EmbedderDefault:
        """What suits the model."""
        return default_of(self.model)

    def of(self, metadata: Mapping[str, Any]) -> tuple[float, Origin]:
        """Return what the best passage must score in a collection, and who decided on it."""
        default = self.default
        choices: list[tuple[float | None, Origin]] = [
            (self.best, "configured"),
            (metadata.get(CALIBRATED), "calibrated"),
            (metadata.get(MEASURED), "measured"),
            (default.threshold, "embedder" if default.measured else "guess"),
        ]
        return next((float(value), origin) for value, origin in choices if value is not None)

    def both(self, metadata: Mapping[str, Any]) -> tuple[float, float]:
        """Return what the best passage must score in a collection, and every other one."""
        best, _ = self.of(metadata)
        return best, min(best, best * _OTHERS if self.others is None else self.others)
