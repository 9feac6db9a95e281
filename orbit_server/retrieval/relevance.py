"""Whether a collection answers a question at all: a score, and from which score on it does.

Some passage is always first. What it scores depends on the collection, its language and the
embedder: the same score means much in one and nothing in another. But a question that a collection
does not answer scores there what other such questions score.
"""

from collections.abc import Collection, Sequence
from statistics import fmean, pstdev
from typing import NamedTuple

_ANSWERED = 0.05
_LEAST = 0.01  # what shares no word and no meaning scores less


class EmbedderDefault(NamedTuple):
    """What suits an embedding model.

    ``threshold`` is for where nothing is known of the collection. ``spreads`` are the standard
    deviations above the mean of foreign questions from which on a collection answers: fewer where
    meaning is not understood, since who asks in other words shares few with the passage.
    ``unknown`` is what a question loses that consists of words that no passage has: a model
    understands such words, without one they are all that tells it is about something else.
    """

    threshold: float
    measured: bool = True
    spreads: float = 2.0
    unknown: float = 0.0


DEFAULTS = {
    "hashed-words-1": EmbedderDefault(0.45, spreads=1.3, unknown=0.3),
    "all-minilm": EmbedderDefault(0.62),
}
UNMEASURED = EmbedderDefault(0.62, measured=False)
USUAL_WORDS = 0.15
"""The word score of questions without an answer, roughly, where it was not measured."""


def default_of(model: str) -> EmbedderDefault:
    """Return what suits the embedding ``model``, whatever its tag."""
    return DEFAULTS.get(model.partition(":")[0], UNMEASURED)


def word_score(coverage: float, bm25: float, lost: float = 0.0) -> float:
    """Return what a passage has of a question's words, 1 at most.

    ``coverage`` is the share of them that it contains, ``bm25`` its BM25 as a share of the best
    conceivable, which is less where they are scattered in a long text. Their mean was better than
    either, by the area under the ROC curve over eleven pairs of a public question set and an
    embedder. ``lost`` is taken off for what of the question no passage has.
    """
    return (coverage + bm25) / 2 - lost


def relevance(dense: float, words: float) -> float:
    """Return the relevance of a passage, 2 at most: its cosine similarity, and its word score.

    It orders passages, too: hit@1 was higher than with the better of its two parts alone in ten of
    eleven such pairs, and higher on average than with scores that are scaled over what was found.
    """
    return dense + words


def is_foreign(spoken: str | None, languages: Collection[str], *, shares_words: bool) -> bool:
    """Tell whether a question is in none of the ``languages`` of a collection, by ISO 639-1 codes.

    Then words say nothing of it, and a passage is given the word score that questions without an
    answer have here: neither more nor less than those must be told apart by meaning. ``spoken`` is
    the question's language; where nobody can tell it, it is foreign if it ``shares_words`` with no
    passage.
    """
    if spoken and languages:
        return spoken not in languages
    return not shares_words


def threshold_of(out_of_domain: Sequence[float], spreads: float) -> float:
    """Return from which relevance on a collection answers, by what foreign questions score there.

    It lies ``spreads`` standard deviations above their mean; the highest twentieth is left out,
    since the collection may answer those after all. A higher one refuses more questions that have
    an answer than it catches, and of what gets through a model can still say that the passages do
    not answer it. In a collection of a language that nobody knows, where foreign questions share
    nothing at all with any passage, something must be shared nevertheless.
    """
    scores = sorted(out_of_domain)
    kept = scores[: max(1, round(len(scores) * (1 - _ANSWERED)))]
    return max(_LEAST, fmean(kept) + spreads * pstdev(kept))
