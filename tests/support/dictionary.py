"""A word index in memory, for tests of what needs one."""

from collections import Counter
from collections.abc import Iterable

from orbit_server.retrieval.words.analyzer import Analyzer


class MemoryDictionary:
    """The terms of some texts; counts how many it was asked for, and refuses other distances."""

    def __init__(self, texts: Iterable[str], analyzer: Analyzer) -> None:
        self.texts = [set(analyzer.terms(text)) for text in texts]
        self.asked = 0

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """Return the number of texts, and how many of them have each term."""
        counts = Counter(term for text in self.texts for term in text)
        found = {term: counts[term] for term in terms}
        self.asked += len(found)
        return len(self.texts), found

    def similar(self, term: str, *, distance: int) -> list[str]:
        """Return the terms within so many edits."""
        assert distance in (1, 2)
        self.asked += 1
        known = {term for text in self.texts for term in text}
        return sorted(each for each in known if 0 < _edits(term, each) <= distance)


def _edits(one: str, other: str) -> int:
    """Return how many letters are changed, left out, added or swapped."""
    rows = [list(range(len(other) + 1))]
    for i, mine in enumerate(one, 1):
        row = [i]
        for j, its in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (mine != its))
            if i > 1 and j > 1 and mine == other[j - 2] and one[i - 2] == its:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
