"""Generated passages: questions with answers in made-up words, the same ones in every run.

Words are as frequent as in a natural text (Zipf's law), since that is what searches by words cost.
"""

import itertools
import random
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
_VOCABULARY = 12_000
_ASKED = (
    "How does the {} {} of the {} work with a {} {}",
    "When is the {} of the {} {} open for {} and {}",
    "What do I need for the {} {} in the {}, the {} or the {}",
    "Where can I bring the {} and the {} of a {} {} {}",
)


class Pair(NamedTuple):
    """A question and its answer; ``subjects`` are the five words that the question is about."""

    question: str
    answer: str
    subjects: tuple[str, ...]


class Words:
    """A source of made-up words, drawn as often as words of their rank are in natural texts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        made = random.Random(0)
        words = {"".join(made.choices(_SYLLABLES, k=made.choice((2, 3, 3, 4)))): None}
        while len(words) < _VOCABULARY:
            words["".join(made.choices(_SYLLABLES, k=made.choice((2, 3, 3, 4))))] = None
        self.words = list(words)
        self.weights = list(itertools.accumulate(1 / (rank + 20) for rank in range(_VOCABULARY)))

    def draw(self, count: int) -> list[str]:
        return self.random.choices(self.words, cum_weights=self.weights, k=count)


def pairs(count: int) -> Iterator[Pair]:
    """Yield ``count`` pairs; a larger count begins with those of a smaller one."""
    words = Words(1)
    for number in range(count):
        subjects = tuple(words.draw(5))
        question = _ASKED[number % len(_ASKED)].format(*subjects) + "?"
        a, b, c, d, e = subjects
        first, second, third = (" ".join(words.draw(6)) for _ in range(3))
        answer = (
            f"The {a} and the {b} are in the {first}. For the {c} you need the {second}, "
            f"and a {d} is with the {e} of {third}."
        )
        if number % 9 == 0:  # so that questions have no word that no passage has
            answer += " Ask in other words."
        yield Pair(question, answer, subjects)


def questions(count: int, length: int, *, about: int, seed: int) -> list[str]:
    """Return different questions, each on one of the first ``about`` pairs (1,000 at most).

    They ask to be answered in ``length`` words. None of them is stored as it stands, and another
    ``seed`` gives others, so nothing that remembers questions has met one before.
    """
    chance = random.Random(seed)
    known = _first_pairs()[:about]
    found: dict[str, None] = {}
    while len(found) < count:
        subjects = chance.sample(chance.choice(known).subjects, 5)
        asked = chance.choice(_ASKED).format(*subjects)
        found[f"{asked} in {length} words?"] = None
    return list(found)


@cache
def _first_pairs() -> list[Pair]:
    return list(pairs(1000))
