"""A question and a collection become passages that may answer it, best first.

Meaning and words are searched: vectors in Chroma, BM25 beside it. Both scores mean the same in
every question, so the best passages are known before any is read; only they are. How many of the
question's words they contain then settles their order, and whether they answer at all
(``relevance.py``).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import ModelError, SearchError, SearchUnavailable
from ..types import MOST_CONSIDERED, Passage, Question, Retrieved
from .chroma.protocol import Chroma, Collection, Record
from .duplicates import Distinct
from .embedders import Embedder, QuestionVectors, check_embedder
from .evaluation import Search
from .measuring import ThresholdMeter
from .ranking import (
    COMPARED_WEIGHTS,
    Candidate,
    Scored,
    SearchSettings,
    best_first,
    best_of,
    best_of_any,
    relevance_score,
    similarity,
)
from .relevance import USUAL_WORDS, is_foreign, relevance, word_score
from .thresholds import MEASURED_WORDS, Thresholds
from .words.collection_language import languages_of
from .words.errors import WordsUnavailable
from .words.languages import language_of
from .words.mending import IndexMender, analyzer_of, words_of
from .words.protocol import Hit, Words
from .words.question import QuestionTerms, plain_terms

logger = logging.getLogger(__name__)

_DEPTH = 10
_DENSE_WEIGHT = 0.5


class _ByWords(NamedTuple):
    """What a question looks for, and what has it: None where words cannot be searched."""

    terms: QuestionTerms
    hits: list[Hit] | None


class _Asked(NamedTuple):
    """A question, and what is known before its collection is searched by meaning.

    ``vector`` is None where the model refuses the question. Its search ``by_words`` may still go
    on until its collection has been searched by meaning.
    """

    text: str
    request_id: str | None
    collection: Collection
    vector: list[float] | None
    by_words: asyncio.Future[_ByWords]
    embedding_ms: float
    search_ms: float

    @property
    def terms(self) -> QuestionTerms:
        return self.by_words.result().terms

    @property
    def hits(self) -> list[Hit] | None:
        return self.by_words.result().hits

    def scored(self, nearest: Mapping[str, float]) -> list[Scored]:
        """Return what both searches found: by meaning what is ``nearest``, ids and distances."""
        best, space = self.terms.best_bm25 or 1.0, self.collection.space
        bm25 = {hit.id: min(hit.score / best, 1.0) for hit in self.hits or ()}
        near = [
            Scored(id, similarity(distance, space), bm25.pop(id, None))
            for id, distance in nearest.items()
        ]
        farthest = min((each.dense for each in near), default=0.0)
        return near + [Scored(id, farthest, share) for id, share in bm25.items()]


class Retrieval:
    """Search by meaning and by words: the ``top_k`` best passages, if any is relevant.

    ``candidates`` are taken from each search; ``dense_weight`` (0 to 1) is the share of meaning in
    the order, ``None`` for equal shares. The best passage must score ``confidence``, else nothing
    is relevant; of the others those are used that score ``relevance``. ``None`` leaves it to
    ``Thresholds``.
    """

    def __init__(
        self,
        *,
        chroma: Chroma,
        lexical: Words,
        embedder: Embedder,
        top_k: int = 5,
        candidates: int = 40,
        dense_weight: float | None = None,
        confidence: float | None = None,
        relevance: float | None = None,
    ) -> None:
        self.chroma = chroma
        self.lexical = lexical
        self.embedder = embedder
        self._question_vector = QuestionVectors(embedder)
        self.mender = IndexMender(chroma, lexical)
        self.top_k = top_k
        self.candidates = max(candidates, top_k)
        self.dense_weight = _DENSE_WEIGHT if dense_weight is None else dense_weight
        self.thresholds = Thresholds(embedder.model, confidence, relevance)
        self.meter = ThresholdMeter(
            chroma,
            lexical,
            search=self._finding,
            settings=self.settings,
            spreads=self.thresholds.default.spreads,
        )

    async def __call__(self, question: Question, collection: str) -> Retrieved:
        """Return the relevant passages of ``collection`` for ``question``, best first.

        Raises the ``SearchError`` family, ``EmbedderMismatch`` before anything is embedded.
        """
        asked = await self._asked(question.message, collection, question.request_id)
        started = time.perf_counter()
        weight = self.dense_weight if asked.vector is not None else 0.0
        ranked, read = await self._search(
            asked, lambda scored: best_first(scored, weight), 2 * self.top_k
        )
        found = await self._best(asked, weight, ranked, read)
        passages = [replace(each.passage, rank_score=each.rank_score(weight)) for each in found]
        self.meter.look_at(asked.collection)
        best, others = self.thresholds.both(asked.collection.metadata)
        considered = passages[:MOST_CONSIDERED]
        if relevance_score(passages) < best:
            passages = []
        searching = asked.search_ms + _milliseconds(started, time.perf_counter())
        return Retrieved(
            [passage for passage in passages if passage.score >= others],
            {"embedding": asked.embedding_ms, "search": round(searching, 1)},
            considered=considered,
        )

    async def find(
        self, text: str, collection: str, *, request_id: str | None = None
    ) -> tuple[list[Candidate], Collection]:
        """Return the best candidates for ``text``, nearest first, and the collection as searched.

        These are the ones that ``rank`` needs for its first ten, or ``top_k``, at any of
        ``COMPARED_WEIGHTS``, by one half alone, or at the weight in force.
        """
        asked = await self._asked(text, collection, request_id)
        return await self._candidates(asked), asked.collection

    async def _candidates(self, asked: _Asked) -> list[Candidate]:
        weights, depth = {1.0, 0.0, *COMPARED_WEIGHTS, self.dense_weight}, max(_DEPTH, self.top_k)
        chosen, read = await self._search(asked, lambda scored: best_of_any(scored, weights, depth))
        found = self._judged(asked, chosen, read)
        return sorted(found, key=lambda each: -each.dense)

    def _finding(self, collection: str) -> Search:
        async def search(question: str) -> list[Candidate]:
            asked = await self._asked(question, collection, None)
            found = await self._candidates(asked)
            if asked.hits is None:
                raise SearchUnavailable("words cannot be searched now")
            return found

        return search

    async def _asked(self, text: str, collection: str, request_id: str | None) -> _Asked:
        """Embed a question, and search it by words meanwhile."""
        stored = await self.chroma.collection(collection)
        check_embedder(stored.metadata, self.embedder, collection)
        started = time.perf_counter()
        by_words = asyncio.create_task(self._by_words(stored, text))
        try:
            vector, _, reason = await self._question_vector(text, stored.metadata)
            embedded = time.perf_counter()
            if vector is None or not self.lexical.remote:
                await by_words
        except BaseException:
            by_words.cancel()
            raise
        asked = _Asked(
            text, request_id, stored, vector, by_words, _milliseconds(started, embedded), 0
        )
        if vector is None:
            logger.warning(
                "the embedding model refuses a question, which is searched by words alone: %s",
                reason,
                extra={"request_id": request_id},
            )
            if asked.hits is None:
                raise ModelError(reason)  # neither search can tell that there is nothing
        return asked._replace(search_ms=_milliseconds(embedded, time.perf_counter()))

    async def _search(
        self,
        asked: _Asked,
        order: Callable[[list[Scored]], list[Scored]],
        depth: int | None = None,
    ) -> tuple[list[Scored], list[Record]]:
        """Search by meaning, and put what both searches found in ``order``; read the first."""
        name, ordered = asked.collection.name, list[Scored]()

        def choose(nearest: Mapping[str, float]) -> list[str]:
            ordered[:] = order(asked.scored(nearest))
            return [each.id for each in ordered[:depth]]

        if asked.vector is None:
            ids = choose({})
            return ordered, await self.chroma.get(name, ids=ids, request_id=asked.request_id)
        try:
            read = await self.chroma.search(
                name,
                asked.vector,
                n=self.candidates,
                choose=choose,
                beside=None if asked.by_words.done() else asked.by_words,
                request_id=asked.request_id,
            )
        except BaseException:
            asked.by_words.cancel()
            raise
        searched = await self.chroma.collection(name)
        if searched.id != asked.collection.id:
            # Deleted and made anew while we searched: it may have another embedder now.
            check_embedder(searched.metadata, self.embedder, name)
        return ordered, read

    async def _by_words(self, stored: Collection, text: str) -> _ByWords:
        """Search by words, where their index is whole; a part of it would mislead."""
        analyzer = analyzer_of(stored)
        await asyncio.sleep(0)  # until the question is on its way to the embedding model
        try:
            async with self.lexical.limited():
                if await self.mender.is_complete(stored):
                    found = await self.lexical.find(stored.id, text, analyzer, n=self.candidates)
                    return _ByWords(*found)
        except WordsUnavailable:
            pass  # it is said once, and tried again
        except SearchError as error:
            self.mender.distrust(stored, str(error))
        return _ByWords(plain_terms(text, analyzer), None)

    async def _best(
        self, asked: _Asked, weight: float, ranked: Sequence[Scored], read: Sequence[Record]
    ) -> list[Candidate]:
        """Return the ``top_k`` best of ``ranked``, now that the first of them have been read.

        Of those that say the same only the first counts; only where many do is there more to read.
        """
        seen, best = Distinct(asked.text), list[Candidate]()
        depth = 2 * self.top_k
        while True:
            for each in best_of(self._judged(asked, ranked[:depth], read), weight):
                if len(best) < self.top_k and seen.add(each.passage.text, each.passage.title):
                    best.append(each)
            ranked = ranked[depth:]
            if len(best) == self.top_k or not ranked:
                return best_of(best, weight)
            read = await self.chroma.get(
                asked.collection.name,
                ids=[each.id for each in ranked[:depth]],
                vector=asked.vector,
                request_id=asked.request_id,
            )

    def _judged(
        self, asked: _Asked, chosen: Sequence[Scored], read: Sequence[Record]
    ) -> list[Candidate]:
        """Return the ``chosen`` with their relevance; what was deleted meanwhile is left out.

        Where there is no vector, words stand for the cosine as well, and where words cannot be
        searched, the share of the question's that a passage contains for its BM25.
        """
        records = {record.id: record for record in read}
        terms, least = self._terms(asked, read), self._least_words(asked)
        lost = self.thresholds.default.unknown
        lost = lost and lost * (1 - asked.terms.known)
        judged = []
        for scored in chosen:
            if (record := records.get(scored.id)) is None:
                continue
            covered = asked.terms.coverage(terms[record.id])
            bm25 = covered if asked.hits is None else scored.bm25 or 0.0
            words = word_score(covered, bm25, lost)
            words = words if least is None else max(words, least)
            dense = words if asked.vector is None else _cosine(record, asked.collection)
            relevant = passage(record, asked.collection, relevance(dense, words))
            judged.append(Candidate(relevant, dense=dense, bm25=scored.bm25, words=words))
        return judged

    def _least_words(self, asked: _Asked) -> float | None:
        """Return the word score of every passage where a question is in another language."""
        if asked.vector is None or asked.hits is None:
            return None
        known = asked.collection.metadata
        spoken, languages = language_of(asked.text), languages_of(known)
        if not is_foreign(spoken, languages, shares_words=bool(asked.hits)):
            return None
        return float(known.get(MEASURED_WORDS, USUAL_WORDS))

    def _terms(self, asked: _Asked, read: Sequence[Record]) -> Mapping[str, Sequence[str]]:
        """Return the terms of each passage: as they are indexed, which costs least."""
        records = {record.id: record for record in read}
        known = {
            hit.id: hit.words.split()
            for hit in asked.hits or ()
            if hit.words is not None and hit.id in records
        }
        missing = records.keys() - known.keys()
        if missing and asked.hits is not None:
            try:
                known |= self.lexical.terms_of(asked.collection.id, list(missing))
            except SearchError as error:
                self.mender.distrust(asked.collection, str(error))
        split = analyzer_of(asked.collection).terms
        for id in records.keys() - known.keys():
            known[id] = split(words_of(records[id].document, records[id].metadata))
        return known

    def settings(self, metadata: Mapping[str, Any]) -> SearchSettings:
        """Return how the collection with this ``metadata`` is searched, and who decided so."""
        threshold, origin = self.thresholds.of(metadata)
        return SearchSettings(threshold, origin, self.dense_weight, self.top_k)


def _cosine(record: Record, collection: Collection) -> float:
    return 0.0 if record.distance is None else similarity(record.distance, collection.space)


def passage(record: Record, collection: Collection, score: float = 0.0) -> Passage:
    """Return a stored record as a passage of this ``score``.

    Of a question/answer pair the text is both together.
    """
    metadata: dict[str, Any] = record.metadata
    question, answer = metadata.get("question"), metadata.get("answer")
    text = record.document or ""
    if question and answer:
        text = f"{question}\n{answer}"
    return Passage(
        id=record.id,
        text=text,
        title=str(metadata.get("heading") or metadata.get("title") or question or record.id),
        source=str(metadata.get("source") or collection.name),
        score=score,
        answer=str(answer) if answer else None,
    )


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
