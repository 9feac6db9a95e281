"""The score that says whether a passage answers, and from which on a collection does."""

import pytest

from orbit_server.retrieval.relevance import default_of, relevance, threshold_of, word_score


def test_what_a_passage_has_of_the_words() -> None:
    """All words close together are all; all of them scattered in a long text are less."""
    assert word_score(1.0, 1.0) == 1.0
    assert word_score(1.0, 0.4) == pytest.approx(0.7)
    assert relevance(0.5, word_score(0.0, 0.0)) == 0.5


def test_foreign_questions_set_the_threshold() -> None:
    """It follows them wherever they are, and lies above nearly all of such a heap."""
    scores = [0.1, 0.15, 0.2, 0.2, 0.25, 0.25, 0.3, 0.3, 0.35, 0.4] * 2
    threshold = threshold_of(scores, 2.0)
    assert threshold_of(scores, 1.5) < threshold
    assert 0.35 < threshold < 0.45
    assert threshold_of([score + 0.4 for score in scores], 2.0) == pytest.approx(threshold + 0.4)
    assert threshold_of([0.2, 0.2], 2.0) == 0.2


def test_a_passage_that_shares_nothing_never_answers() -> None:
    """Also where foreign questions are so far away that anything would lie above them."""
    assert threshold_of([-0.14, -0.1, -0.07, 0.0], 1.5) > 0.0


def test_one_that_is_answered_after_all_does_not_count() -> None:
    """Cooks answer some of the questions about cooking."""
    scores = [0.1, 0.2, 0.2, 0.3] * 5
    assert threshold_of([*scores[:-1], 1.8], 2.0) <= threshold_of(scores, 2.0)


def test_only_a_model_understands_words_that_no_passage_has() -> None:
    """Without one they are taken off, and fewer questions are refused for it."""
    assert word_score(0.5, 0.5, 0.2) == pytest.approx(0.3)
    built_in, model = default_of("hashed-words-1"), default_of("all-minilm:33m")
    assert (built_in.unknown, built_in.spreads) == (0.3, 1.3)
    assert (model.unknown, model.spreads) == (0.0, 2.0)
    assert default_of("something-new") == (0.62, False, 2.0, 0.0)
