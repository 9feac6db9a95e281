"""A word that no passage has becomes the words that may be meant: indexed ones that are nearest.

The index holds stems. A slip in the stem of a word leaves it one edit away (a letter too many, too
few, another one, or two that changed places). One in its ending gives any stem: so what one edit
makes of the ending is stemmed and looked up, as *parkng* becomes *parking*, and that *park*; after
Peter Norvig, https://norvig.com/spell-correct.html. Of long words two edits are understood.
Letters that changed places, as in *bycicle*, are one slip however far apart they are.

Nothing is near to most compounds, of which languages like German make new ones at will. Such a word
becomes its two parts: *Gesetzgebungsverfahren* is found by *Gesetzgebung* and *Verfahren*.
"""

from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple, Protocol

from .analyzer import Analyzer, unaccented
from .tokenizer import is_cjk

_SHORTEST = 4
_SHORTEST_FOR_TWO = 7  # "bycicle": less than that, and two edits make it any word
_SHORTEST_MEANT = 3  # of a stem
_SHORTEST_FOR_ANOTHER = 6  # letter instead of one: "tile" is no "time"
_LONGEST = 24
_ENDING = 3
_MOST = 3
_ONE_EDIT, _TWO_EDITS = 0.8, 0.5  # what they count for, beside a word that was found as it is
_PART = 0.8  # over one set of questions in German, better than 0.5
_COMPOUNDING = frozenset({"da", "de", "fi", "hu", "nl", "no", "sv"})
_SHORTEST_PART = 4
_LINKS = ("", "s", "es", "n", "en", "e", "er")  # between the parts


class Dictionary(Protocol):
    """The terms of a word index."""

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """Return the number of passages, and how many of them have each term."""

    def similar(self, term: str, *, distance: int) -> list[str]:
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


def spellings(word: str, analyzer: Analyzer) -> tuple[str, str]:
    """Return what is compared with indexed terms: the word without accents, and its stem."""
    return unaccented(word), analyzer.stem(word)


def corrections(word: str, index: Dictionary, analyzer: Analyzer) -> Corrections | None:
    """Return the terms that may be meant by an unknown ``word``, ``None`` if there are none.

    Cheapest first: most words are found by their stem, one edit away.
    """
    plain, stem = both = spellings(word, analyzer)

    def similar(distance: int, *, shortest: int) -> list[str]:
        return [
            term
            for each in set(both)
            if len(each) >= shortest
            for term in index.similar(each, distance=distance)
            if _meant(each, term)
        ]

    if found := similar(1, shortest=_SHORTEST_MEANT):
        return _likeliest(found, index, analyzer, _ONE_EDIT)
    ends = dict.fromkeys(map(analyzer.stem, _other_endings(word, analyzer.letters)))
    known = [term for term, n in index.frequencies(ends)[1].items() if n]
    if found := [term for term in known if len(term) >= _SHORTEST_MEANT]:
        return _likeliest(found, index, analyzer, _ONE_EDIT)
    if len(plain) >= _SHORTEST_FOR_TWO and (found := similar(2, shortest=_SHORTEST_FOR_TWO - 1)):
        letters = sorted(plain), sorted(stem)
        if swapped := [term for term in found if sorted(term) in letters]:
            return _likeliest(swapped, index, analyzer, _ONE_EDIT)
        return _likeliest(found, index, analyzer, _TWO_EDITS)
    return None


def is_swapped(word: str, words: Container[str]) -> bool:
    """Tell whether ``word`` is one of ``words`` with two neighbours in each other's place."""
    if not 3 <= len(word) <= _LONGEST:
        return False
    return any(
        word[:place] + word[place + 1] + word[place] + word[place + 2 :] in words
        for place in range(len(word) - 1)
    )


def compound(word: str, index: Dictionary, analyzer: Analyzer) -> Corrections | None:
    """Return the two terms of which an unknown ``word`` is made, ``None`` if there are none.

    Both are indexed. The first part is the shortest possible: *Haus|haltsgröße* before
    *Haushalt|größe* only where passages have both *Haus* and *Haltsgröße*.
    """
    if _COMPOUNDING.isdisjoint(analyzer.languages):
        return None
    made_of = {
        (analyzer.stem(first), analyzer.stem(word[end:])): None
        for end in range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1)
        for link in _LINKS
        if len(first := word[:end].removesuffix(link)) >= _SHORTEST_PART
        and word[:end] == first + link
        and first not in analyzer.stop_words
    }
    if not made_of:
        return None
    found = index.frequencies(dict.fromkeys(term for both in made_of for term in both))[1]
    for both in made_of:
        if all(map(found.get, both)):
            return Corrections({term: found[term] for term in both}, _PART)
    return None


def _meant(word: str, term: str) -> bool:
    """Tell likely slips from other words: few err in the first letter.

    In a short word another letter makes another word: *tile* is no *time*.
    """
    if len(term) < _SHORTEST_MEANT or (term[0] != word[0] and term[:2] != word[1::-1]):
        return False
    swapped = sorted(term) == sorted(word)
    return len(word) != len(term) or len(word) >= _SHORTEST_FOR_ANOTHER or swapped


def _likeliest(
    terms: Iterable[str], index: Dictionary, analyzer: Analyzer, weight: float
) -> Corrections:
    """Take what most passages have; stop words only where nothing else is meant."""
    found = index.frequencies(dict.fromkeys(terms))[1]
    telling = found.keys() - analyzer.stop_words
    order = sorted(telling or found, key=lambda term: (-found[term], term))
    return Corrections({term: found[term] for term in order[:_MOST]}, weight)


def _other_endings(word: str, letters: str) -> Iterator[str]:
    """Yield what one edit in the last letters makes of a word."""
    for place in range(max(2, len(word) - _ENDING), len(word)):
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


def within(one: str, other: str, distance: int) -> bool:
    """Return whether ``one`` becomes ``other`` by at most ``distance`` edits.

    Two neighbours that changed places count as one edit (optimal string alignment).
    """
    if abs(len(one) - len(other)) > distance:
        return False
    same = 0
    for mine, its in zip(one, other, strict=False):
        if mine != its:
            break
        same += 1
    one, other = one[same:], other[same:]
    if not one or not other:
        return True  # the lengths differ by no more than what is allowed
    if distance == 0:
        return False
    return (
        within(one[1:], other[1:], distance - 1)
        or within(one, other[1:], distance - 1)
        or within(one[1:], other, distance - 1)
        or (one[:2] == other[1::-1] and within(one[2:], other[2:], distance - 1))
    )
