"""What a question looks for in the word index, and how much of that a passage has.

A code is found by its parts or by what they give when they are joined, a word that no passage has
by those that are spelt nearly so.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .analyzer import Analyzer, Token
from .spelling import Dictionary, compound, correctable, corrections, is_swapped, within

# Measured over eight sets of questions in six languages: better than all, nothing, or a quarter.
_STOP_WORD = 0.5
_MOST_WORDS = 512
MOST_TERMS = 32  # that are looked for
MOST_LOOKED_UP = 512
_MOST_CORRECTED = 4
# Measured with 100,000 passages of natural texts: as many answers are found, in a third of it.
_MOST_SCORED = 2**15  # passages, each as often as it has one of the terms
_TELLS_LITTLE = 0.15
_BEST_OF_A_TERM = 2.2  # BM25's k1 + 1, in idfs: what tantivy gives for a term at most


class Word(NamedTuple):
    """A word of a question: all ``parts`` together tell what any of ``instead`` tells alone.

    ``weight`` (above 0 to 1) is what they count for; ``more`` are terms that speak for a passage.
    What is ``guessed`` to be meant by a word that no passage has is asked for in full, and found by
    its weight.
    """

    parts: tuple[str, ...]
    instead: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    weight: float = 1.0
    guessed: bool = False


@dataclass(frozen=True)
class QuestionTerms:
    """The words of a question, and what each of its terms tells.

    ``idf`` is ln(1 + (N - n + 0.5) / (n + 0.5)), where ``n`` of ``N`` passages have the term;
    ``unknown`` is that of a term which no passage has.
    """

    words: Sequence[Word]
    idf: Mapping[str, float]
    unknown: float = math.inf

    def weights(self) -> dict[str, float]:
        """Return the factors of the terms' BM25."""
        found: dict[str, float] = {}
        for word in self.words:
            for term in word.parts + word.instead + word.more:
                found[term] = max(word.weight, found.get(term, 0.0))
        return found

    @cached_property
    def _asked(self) -> float:
        """What all words tell."""
        return sum(
            (1.0 if word.guessed else word.weight) * self.idf[part]
            for word in self.words
            for part in word.parts
        )

    @cached_property
    def _parts(self) -> Sequence[tuple[frozenset[str], float]]:
        """The terms of which any tells one part of a word, and how much that is."""
        return [
            (frozenset((part, *word.instead)), word.weight * self.idf[part])
            for word in self.words
            for part in word.parts
        ]

    @property
    def best_bm25(self) -> float:
        """The BM25 of a conceivable passage that has each word very often."""
        return _BEST_OF_A_TERM * self._asked

    @property
    def known(self) -> float:
        """The share (0 to 1) of what the question tells that the passages together have."""
        return self.coverage(term for term, tells in self.idf.items() if tells < self.unknown)

    def coverage(self, terms: Iterable[str]) -> float:
        """Return the share (0 to 1) of what the question tells that a passage of ``terms`` has."""
        absent = frozenset(terms).isdisjoint
        found = sum(tells for any_of, tells in self._parts if not absent(any_of))
        return found / self._asked if self._asked else 0.0


def question_terms(text: str, index: Dictionary, analyzer: Analyzer) -> QuestionTerms:
    """Return what the question ``text`` looks for in a collection; raise what the index does.

    Stop words count half, and not at all where no passage has them, also as "teh". The longest of
    the unknown words are taken for misspelt ones.
    """
    tokens = list(dict.fromkeys(analyzer.tokens(text)))[:_MOST_WORDS]
    terms = {term for token in tokens for term in token.parts + token.joined}
    passages, frequencies = index.frequencies(terms)
    words, misspelt = list[Word](), list[Token]()
    found_in = frequencies.__getitem__
    for token in tokens:
        word, parts, joined = token
        if all(map(found_in, parts)):
            words.append(Word(parts, joined[:1], joined[1:], _weight(token, analyzer)))
        elif joined and found_in(joined[0]):
            words.append(Word(joined[:1]))
        elif word in analyzer.stop_words:
            continue
        elif correctable(word):
            misspelt.append(token)
        elif not is_swapped(word, analyzer.stop_words):
            words.append(Word(parts, joined[:1], joined[1:]))
    misspelt.sort(key=lambda token: -len(token.word))
    for token in misspelt[:_MOST_CORRECTED] if passages else ():
        if found := corrections(token.word, index, analyzer):
            first, *others = found.terms
            frequencies |= found.frequencies
            if first not in analyzer.stop_words:
                words.append(Word((first,), tuple(others), (), found.weight, guessed=True))
            elif within(first, token.word, 1):
                words.append(Word((first,), tuple(others), (), found.weight * _STOP_WORD))
            else:  # only what the stemmer left of it is like a stop word
                words.append(Word(token.parts))
        elif found := compound(token.word, index, analyzer):
            frequencies |= found.frequencies
            words += [Word((part,), (), (), found.weight, guessed=True) for part in found.terms]
        elif not is_swapped(token.word, analyzer.stop_words):
            words.append(Word(token.parts))
    words += [Word(token.parts) for token in misspelt[_MOST_CORRECTED if passages else 0 :]]
    idf = {term: _idf(frequencies[term], passages) for word in words for term in word.parts}
    tells_most = _idf(0, passages) if idf else math.inf  # no word, no count
    return QuestionTerms([*dict.fromkeys(words)], idf, tells_most)  # two forms of a word are one


def telling(
    frequencies: Mapping[str, int], weights: Mapping[str, float], passages: int
) -> list[str]:
    """Return the terms to look for, the rarest first: at most 32 of those that passages have.

    A word of every other passage adds nothing to BM25, but makes it score them all: such are taken
    only when there are no others. Where the terms are in very many passages, also the most frequent
    are left out that together tell little, by their ``weights``, beside the others.
    """
    known = sorted((count, term) for term, count in frequencies.items() if count)
    rare = [(count, term) for count, term in known if count <= passages / 2] or known
    terms = [term for _, term in rare[:MOST_TERMS]]
    scored = sum(frequencies[term] for term in terms)
    if scored > _MOST_SCORED:
        tells = {term: weights[term] * _idf(frequencies[term], passages) for term in terms}
        little = _TELLS_LITTLE * sum(tells.values())
        while scored > _MOST_SCORED and (little := little - tells[terms[-1]]) >= 0:
            scored -= frequencies[terms.pop()]
    return terms


def plain_terms(text: str, analyzer: Analyzer) -> QuestionTerms:
    """Return the terms of a question where there is no index: all but stop words tell the same."""
    words = [
        Word(token.parts, token.joined[:1], (), _weight(token, analyzer))
        for token in analyzer.tokens(text)
    ]
    return QuestionTerms(
        [*dict.fromkeys(words)], {part: 1.0 for word in words for part in word.parts}
    )


def _idf(count: int, passages: int) -> float:
    return math.log(1 + (passages - count + 0.5) / (count + 0.5))


def _weight(token: Token, analyzer: Analyzer) -> float:
    return _STOP_WORD if token.word in analyzer.stop_words else 1.0
