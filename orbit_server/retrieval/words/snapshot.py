"""A word index as it was at its last commit, read with tantivy.

Each passage is a document of its id, its terms parted by blanks, and a digest of its text, so that
what has not changed is not written again. The terms are stored too: which of them a passage has is
then one short look, and an index is compacted without asking Chroma. What is stored lies in blocks
that are unpacked to be read, so the ids of what was found come from columns of numbers.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import tantivy
from cachetools import LRUCache
from tantivy import Occur, Query

from .protocol import Hit
from .question import MOST_LOOKED_UP, telling
from .record import digest
from .spelling import within

_IDS_A_QUERY = 500
_PAGE = 5000
_ROUNDS = 8
_REMEMBERED = 1024
_TIED = 64  # passages beyond those that are asked for, to tell which of equal ones come first
_EXACT = 10**4  # parts of a score: what is less depends on the order in which its parts are added
_SIMILAR = 8  # passages that are looked at for the words that are meant by a misspelt one
_PLACES = _TERMS = 4096  # kept at once: of passages, and terms with their numbers
_HEX = re.compile("[0-9a-f]{32}")
_HALVES = struct.Struct(">qq")


class Stored(NamedTuple):
    """What an index holds of a passage."""

    id: str
    words: str
    digest: int


def schema() -> tantivy.Schema:
    """Return the fields of an index."""
    fields = tantivy.SchemaBuilder()
    fields.add_text_field("id", tokenizer_name="raw", index_option="basic")
    fields.add_integer_field("id_1", fast=True)  # the halves of an id of 32 hexadecimal digits,
    fields.add_integer_field("id_2", fast=True)
    fields.add_bytes_field("other_id", stored=True)  # or one of another kind, in UTF-8
    fields.add_text_field("words", stored=True, tokenizer_name="whitespace", index_option="freq")
    fields.add_integer_field("digest", fast=True)
    return fields.build()


def document(row: Stored) -> tantivy.Document:
    """Return what an index is given of a passage."""
    if _HEX.fullmatch(row.id):
        first, second = _HALVES.unpack(bytes.fromhex(row.id))
        id: dict[str, Any] = {"id_1": first, "id_2": second}
    else:
        id = {"other_id": row.id.encode()}
    return tantivy.Document(id=row.id, words=row.words, digest=row.digest, **id)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The passages of one index at one moment; later commits do not change it."""

    schema: tantivy.Schema
    searcher: tantivy.Searcher
    having: Callable[[str], int]  # how many passages have a term; most questions ask for the same
    # Looking for them is the dearest part of a question, and people misspell the same words.
    similar_terms: LRUCache[tuple[str, int], list[str]] = field(
        default_factory=lambda: LRUCache(_REMEMBERED)
    )
    # Of what was found last, which is asked for its terms next.
    addresses: dict[str, tantivy.DocAddress] = field(default_factory=dict)

    @classmethod
    def of(cls, index: tantivy.Index) -> "Snapshot":
        """Return what ``index`` holds now."""
        index.config_reader("manual")  # else it is loaded twice, and behind our back
        searcher = index.searcher()
        most, find = searcher.num_docs, searcher.doc_freq
        having = lru_cache(_TERMS)(lambda term: min(find("words", term), most))
        return cls(index.schema, searcher, having)

    @property
    def count(self) -> int:
        """The number of passages; what was deleted is not counted."""
        return self.searcher.num_docs

    def frequencies(self, terms: Iterable[str]) -> tuple[int, dict[str, int]]:
        """Return the number of passages, and how many of them have each of ``terms``.

        Passages that were deleted lately may count among the latter, at most a tenth more.
        """
        having = self.having
        return self.count, {term: having(term) for term in terms}

    def search(self, weights: Mapping[str, float], n: int) -> list[Hit]:
        """Return the ``n`` best passages that have one of the terms, best first, then by their ids.

        ``weights`` are factors of the terms' BM25; those that ``telling`` names are looked for.
        Which of very many that are equally good are among them is left to chance.
        """
        passages, frequencies = self.frequencies(list(weights)[:MOST_LOOKED_UP])
        known = telling(frequencies, weights, passages)
        if not known:
            return []
        terms = [self._term("words", term, weights[term], "freq") for term in known]
        hits = self._find(terms, n + _TIED)
        if len(hits) > n:  # as far as the n-th goes, with all that are as good when rounded
            least = hits[n - 1][0] - 1 / _EXACT
            hits = [hit for hit in hits if hit[0] >= least]
        places = [each for _, each in hits]
        ids = self._ids(places)
        self._remember(ids, places)
        scores = [-round(score * _EXACT) / _EXACT for score, _ in hits]
        found = sorted(zip(scores, ids, strict=True))
        return [Hit(id, -score) for score, id in found[:n]]

    def terms_of(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the terms of these passages, with repetitions, as far as they are here."""
        known = self.addresses
        found = {id: known[id] for id in ids if id in known}
        if others := self._addresses([id for id in ids if id not in found]):
            found |= zip(self._ids(others), others, strict=True)
        return {id: self._words(address).split() for id, address in found.items()}

    def digests(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the digests of the texts of these passages, as far as they are here."""
        found = self._addresses(ids)
        return dict(zip(self._ids(found), self._digests(found), strict=True))

    def changed(self, texts: Mapping[str, str]) -> list[str]:
        """Return the ids in ``texts`` that are here with another text, or not at all."""
        known = self.digests(list(texts))
        return [id for id, text in texts.items() if known.get(id) != digest(text)]

    def similar(self, term: str, *, distance: int) -> list[str]:
        """Return indexed terms that at most ``distance`` (1 or 2) edits make of ``term``.

        Two neighbours that change places are one edit. ``term`` itself is not among them; where
        very many are similar, these are some.
        """
        known = self.similar_terms.get((term, distance))
        if known is None:
            known = self.similar_terms[term, distance] = self._similar(term, distance)
        return list(known)

    def _similar(self, term: str, distance: int) -> list[str]:
        found: dict[str, None] = {}
        fuzzy = Query.fuzzy_term_query(self.schema, "words", term, distance=distance)
        for _ in range(_ROUNDS):  # each costs more: of many words some must do
            known = [(Occur.MustNot, self._term("words", each)) for each in found]
            query = Query.boolean_query([(Occur.Must, fuzzy), *known])
            hits = self.searcher.search(query, _SIMILAR, count=False).hits
            new = {
                each
                for _, address in hits
                for each in set(self._words(address).split())
                if each not in found and within(term, each, distance)
            }
            if not new:
                break
            found |= dict.fromkeys(sorted(new))
        return [each for each in found if each != term]

    def pages(self) -> Iterator[list[Stored]]:
        """Iterate over all that is here."""
        everything = Query.all_query()
        for offset in range(0, self.count, _PAGE):
            hits = self.searcher.search(everything, _PAGE, count=False, offset=offset).hits
            found = [address for _, address in hits]
            words = map(self._words, found)
            yield list(map(Stored, self._ids(found), words, self._digests(found)))

    def _addresses(self, ids: Sequence[str]) -> list[tantivy.DocAddress]:
        found = []
        for first in range(0, len(ids), _IDS_A_QUERY):
            some = ids[first : first + _IDS_A_QUERY]
            found += self._find([self._term("id", id) for id in some], len(some))
        return [address for _, address in found]

    def _term(self, field: str, term: str, weight: float = 1.0, option: str = "basic") -> Query:
        query = Query.term_query(self.schema, field, term, option)
        return query if weight == 1.0 else Query.boost_query(query, weight)

    def _find(self, queries: Sequence[Query], n: int) -> list[tuple[float, tantivy.DocAddress]]:
        query = Query.boolean_query([(Occur.Should, each) for each in queries])
        hits: list[tuple[Any, tantivy.DocAddress]] = self.searcher.search(
            query, n, count=False
        ).hits
        return hits

    def _remember(self, ids: Sequence[str], addresses: Sequence[tantivy.DocAddress]) -> None:
        if len(self.addresses) >= _PLACES:
            self.addresses.clear()
        self.addresses.update(zip(ids, addresses, strict=True))

    def _ids(self, addresses: list[tantivy.DocAddress]) -> list[str]:
        column, pack = self.searcher.fast_field_values, _HALVES.pack
        halves = zip(column("id_1", addresses), column("id_2", addresses), strict=True)
        return [
            self._other_id(address) if first is None else pack(first, second).hex()
            for address, (first, second) in zip(addresses, halves, strict=True)
        ]

    def _digests(self, addresses: list[tantivy.DocAddress]) -> list[int]:
        return [int(each or 0) for each in self.searcher.fast_field_values("digest", addresses)]

    def _other_id(self, address: tantivy.DocAddress) -> str:
        return bytes(self.searcher.doc(address).get_first("other_id") or b"").decode()

    def _words(self, address: tantivy.DocAddress) -> str:
        return str(self.searcher.doc(address).get_first("words") or "")


class OpenIndex:
    """An index that is held open to be read; a thread of tantivy's own looks at it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._index = tantivy.Index.open(str(folder))
        self._state: object = None
        self._snapshot: Snapshot | None = None

    def snapshot(self, state: object) -> Snapshot:
        """Return the snapshot of a ``state`` of the files: another one when that has changed."""
        if self._snapshot is None or self._state != state:
            self._snapshot, self._state = Snapshot.of(self._index), state
        return self._snapshot
