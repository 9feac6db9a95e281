"""A misspelt word becomes the words that may be meant: those that the index knows, and are nearest.

Every word that is one edit away (a letter too many, too few, another one, or two that changed
places) is stemmed and looked up, after Peter Norvig, https://norvig.com/spell-correct.html: so
*parkng* is *park*, as it is in the index, which *parking* became. Where there is none, indexed
terms within two edits are taken, for long words.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from .analyzer import Analyzer, unaccented
from .tokenizer import is_cjk

_SHORTEST = 4
_SHORTEST_FOR_TWO = 7  # "bycicle": less than that, and two edits make it any word
_SHORTEST_MEANT = 3  # of a stem
_SHORTEST_FOR_ANOTHER = 6  # letter instead of one: "tile" is no "time"
_LONGEST = 20
_MOST = 3
_ONE_EDIT, _TWO_EDITS = 0.8, 0.5  # what they count for, beside a word that was found as it is


class Dictionary(Protocol):
    """The terms of a word index."""

    def frequencies(self, collection_id: str, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """Return the number of passages, and how many of them have each term."""

    def similar(self, collection_id: str, term: str, *, distance: int) -> list[str]:
        """Return indexed terms that are so many edits away at most."""


class Corrections(NamedTuple):
    """What may be meant by a word: indexed terms, and in how many passages each is.

    The likeliest is first; ``weight`` is what they count for, beside a word that is spelt right.
    """

    frequencies: dict[str, int]
    weight: float

    @property
    def terms(self) -> list[str]:
        """The terms, the likeliest first."""
        return list(self.frequencies)


def correctable(word: str) -> bool:
    """Return whether a word that no passage has may be misspelt: no code, and none of characters.

    Short words have too many neighbours.
    """
    return _SHORTEST <= len(word) <= _LONGEST and word.isalpha() and not is_cjk(word)


def corrections(
    word: str, index: Dictionary, collection_id: str, analyzer: Analyzer
) -> Corrections | None:
    """Return the terms that may be meant by an unknown ``word``, ``None`` if there are none."""
    edited = dict.fromkeys(map(analyzer.stem, _one_edit(word, analyzer.letters)))
    _, found = index.frequencies(collection_id, edited)
    if known := {term: n for term, n in found.items() if n and len(term) >= _SHORTEST_MEANT}:
        return Corrections(_likeliest(word, known), _ONE_EDIT)
    plain = unaccented(word)
    for distance, weight in ((1, _ONE_EDIT), (2, _TWO_EDITS)):
        if len(plain) < (_SHORTEST_FOR_ANOTHER, _SHORTEST_FOR_TWO)[distance - 1]:
            break
        terms = [
            term
            for each in {plain, analyzer.stem(word)}
            if len(each) >= (_SHORTEST, _SHORTEST_FOR_TWO - 1)[distance - 1]
            for term in index.similar(collection_id, each, distance=distance)
            if len(term) >= _SHORTEST
        ]
        if terms:
            return Corrections(_likeliest(word, index.frequencies(collection_id, terms)[1]), weight)
    return None


def _likeliest(word: str, found: dict[str, int]) -> dict[str, int]:
    """Few err in the first letter; of the rest, what more passages have."""
    first = unaccented(word[0])
    order = sorted(found, key=lambda term: (term[0] != first, -found[term], term))
    return {term: found[term] for term in order[:_MOST]}


def _one_edit(word: str, letters: str) -> Iterator[str]:
    yield word[1] + word[0] + word[2:]
    for place in range(1, len(word)):  # few err in the first letter
        before, letter, after = word[:place], word[place], word[place + 1 :]
        yield before + after
        if after:
            yield before + after[0] + letter + after[1:]
        for other in letters:
            yield before + other + letter + after
            if len(word) >= _SHORTEST_FOR_ANOTHER:
                yield before + other + after
    for other in letters:
        yield word + other
