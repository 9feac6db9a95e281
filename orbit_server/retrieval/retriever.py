"""A question and a collection become passages that may answer it, best first.

Meaning and words are searched at once: vectors in Chroma, BM25 beside it. Each score is scaled over
the candidates to 0..1, and a passage's rank follows from the weighted sum. Whether anything is
relevant at all is another question: relevance = cosine similarity + 0.5 × the share of the
question's IDF mass that the passage contains, which separated answerable from out-of-domain
questions best.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from ..errors import ModelError, SearchError
from ..types import Passage, Question, Retrieved
from .bm25 import NO_INDEX, Bm25Index, Hit
from .chroma.protocol import Chroma, Collection, Record
from .duplicates import Distinct
from .embedders import Embedder, QuestionVectors, check_embedder
from .mending import IndexMender
from .ranking import (
    Candidate,
    EmbedderDefaults,
    Scored,
    SearchSettings,
    best_first,
    rank_scores,
    relevance_score,
    similarity,
)

logger = logging.getLogger(__name__)

THRESHOLD = "orbit_threshold"
_COVERAGE_WEIGHT = 0.5
_RELEVANT = 0.6
_DEFAULTS = {
    "hashed-words-1": EmbedderDefaults(0.42, 0.3),
    "all-minilm": EmbedderDefaults(0.61, 0.7),
}
_UNMEASURED = EmbedderDefaults(0.5, 0.7, measured=False)


class Retrieval:
    """Search by meaning and by words: the ``top_k`` best passages, if any is relevant.

    ``candidates`` are taken from each search; ``dense_weight`` (0 to 1) is the share of meaning in
    the order, ``None`` takes what suits the embedder. The best passage must score ``confidence``,
    else nothing is relevant; of the others those are used that score ``relevance``. ``None`` takes
    what was calibrated for the collection, else what suits the embedder.
    """

    def __init__(
        self,
        *,
        chroma: Chroma,
        lexical: Bm25Index,
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
        self.defaults = _DEFAULTS.get(embedder.model.partition(":")[0], _UNMEASURED)
        self.dense_weight = self.defaults.dense_weight if dense_weight is None else dense_weight
        self.confidence = confidence
        self.relevance = relevance

    async def __call__(self, question: Question, collection: str) -> Retrieved:
        """Return the relevant passages of ``collection`` for ``question``, best first.

        Raises the ``SearchError`` family, ``EmbedderMismatch`` before anything is embedded.
        """
        timings: dict[str, float] = {}
        text, request_id = question.message, question.request_id
        scored, searched = await self._scored(text, collection, timings, request_id)
        started = time.perf_counter()
        ranking = rank_scores(scored, self.dense_weight)
        ranked = best_first(scored, self.dense_weight)
        candidates = await self._distinct(ranked, text, searched, request_id)
        timings["search"] += _milliseconds(started, time.perf_counter())
        passages = [
            replace(each.passage, rank_score=ranking[each.passage.id]) for each in candidates
        ]
        confidence, relevance = self.thresholds(searched.metadata)
        if relevance_score(passages) < confidence:
            passages = []
        return Retrieved([passage for passage in passages if passage.score >= relevance], timings)

    async def find(
        self, text: str, collection: str, *, request_id: str | None = None
    ) -> tuple[list[Candidate], Collection]:
        """Return all candidates for ``text``, nearest first, and the collection as searched."""
        scored, searched = await self._scored(text, collection, {}, request_id)
        scored.sort(key=lambda each: -each.dense)
        return await self._read(scored, text, searched, request_id), searched

    async def _scored(
        self, text: str, collection: str, timings: dict[str, float], request_id: str | None
    ) -> tuple[list[Scored], Collection]:
        """Search by both; what has to be read of the documents is decided by the scores."""
        stored = await self.chroma.collection(collection)
        check_embedder(stored.metadata, self.embedder, collection)
        started = time.perf_counter()
        vector, _, reason = await self._question_vector(text)
        embedded = time.perf_counter()
        if vector is None:
            logger.warning(
                "the embedding model refuses a question, which words alone answer: %s",
                reason,
                extra={"request_id": request_id},
            )
            by_words = await self._by_words(stored, text, reason, request_id)
            timings["embedding"] = _milliseconds(started, embedded)
            timings["search"] = _milliseconds(embedded, time.perf_counter())
            return by_words, stored
        records, hits = await asyncio.gather(
            self.chroma.query(
                collection, vector, n=self.candidates, bare=True, request_id=request_id
            ),
            self._hits(stored, text),
        )
        near = {record.id for record in records}
        if far := [hit.id for hit in hits if hit.id not in near]:
            records += await self._among(far, collection, vector, request_id)
        searched = await self.chroma.collection(collection)
        if searched.id != stored.id:
            # Deleted and made anew while we searched: it may have another embedder now.
            check_embedder(searched.metadata, self.embedder, collection)
        timings["embedding"] = _milliseconds(started, embedded)
        timings["search"] = _milliseconds(embedded, time.perf_counter())
        bm25 = {hit.id: hit.score for hit in hits}
        return [
            Scored(record.id, _cosine(record, searched), bm25.get(record.id)) for record in records
        ], searched

    async def _by_words(
        self, stored: Collection, text: str, reason: str, request_id: str | None
    ) -> list[Scored]:
        """Search by words where there is no vector: their share stands for the cosine as well."""
        hits = await self._hits(stored, text)
        if not hits and not await self.mender.is_complete(stored):
            raise ModelError(reason)  # neither search can tell that there is nothing
        bare = [Scored(hit.id, 0.0, hit.score) for hit in hits]
        return [
            Scored(each.passage.id, each.passage.score / _COVERAGE_WEIGHT, each.bm25)
            for each in await self._read(bare, text, stored, request_id)
        ]

    async def _hits(self, stored: Collection, text: str) -> list[Hit]:
        """Search by words, where their index is complete; a part of it would mislead."""
        if not await self.mender.is_complete(stored):
            return []
        try:
            return await self.lexical.search(stored.id, text, n=self.candidates)
        except SearchError as error:
            self.mender.distrust(stored, str(error))
            return []

    async def _distinct(
        self, ranked: Sequence[Scored], text: str, searched: Collection, request_id: str | None
    ) -> list[Candidate]:
        """Read the ``top_k`` best passages; of those that say the same only the first counts."""
        seen, distinct = Distinct(text), list[Candidate]()
        while ranked and (missing := self.top_k - len(distinct)) > 0:
            read = await self._read(ranked[:missing], text, searched, request_id)
            distinct += [each for each in read if seen.add(each.passage.text, each.passage.title)]
            ranked = ranked[missing:]
        return distinct

    async def _read(
        self, scored: Sequence[Scored], text: str, searched: Collection, request_id: str | None
    ) -> list[Candidate]:
        """Read the passages of ``scored``, in its order; what was deleted meanwhile is left out."""
        ids = [each.id for each in scored]
        records = await self.chroma.get(searched.name, ids=ids, request_id=request_id)
        read = {record.id: passage(record, searched) for record in records}
        there = [each for each in scored if each.id in read]
        texts = [f"{read[each.id].title}\n{read[each.id].text}" for each in there]
        try:
            shares = await self.lexical.coverage(searched.id, text, texts)
        except SearchError as error:
            self.mender.distrust(searched, str(error))
            shares = await self.lexical.coverage(NO_INDEX, text, texts)
        return [
            Candidate(
                replace(read[each.id], score=each.dense + _COVERAGE_WEIGHT * share),
                dense=each.dense,
                bm25=each.bm25,
            )
            for each, share in zip(there, shares, strict=True)
        ]

    async def _among(
        self, ids: list[str], collection: str, vector: list[float], request_id: str | None
    ) -> list[Record]:
        among = partial(self.chroma.query, collection, vector, bare=True, request_id=request_id)
        try:
            return await among(n=len(ids), ids=ids)
        except SearchError as error:
            # Chroma fails as a whole when one of the ids is gone, as it is for a moment whenever
            # documents are loaded or removed: the word index is written first, or last.
            if type(error) is not SearchError:
                raise
            there = await self.chroma.get(collection, ids=ids, request_id=request_id)
            if len(there) == len(ids):
                raise
        return await among(n=len(there), ids=[record.id for record in there]) if there else []

    def thresholds(self, metadata: Mapping[str, Any]) -> tuple[float, float]:
        """Return what the best passage must score, and every other one.

        The configuration wins over what was calibrated for the collection (its ``metadata``), and
        that over the embedder's default.
        """
        calibrated = metadata.get(THRESHOLD)
        confidence = self.confidence
        if confidence is None:
            confidence = self.defaults.threshold if calibrated is None else float(calibrated)
        relevance = confidence * _RELEVANT if self.relevance is None else self.relevance
        return confidence, min(confidence, relevance)

    def settings(self, metadata: Mapping[str, Any]) -> SearchSettings:
        """Return how the collection with this ``metadata`` is searched, and who decided so."""
        origin: Literal["configured", "calibrated", "measured", "guess"] = "configured"
        if self.confidence is None:
            origin = "measured" if self.defaults.measured else "guess"
            origin = "calibrated" if THRESHOLD in metadata else origin
        confidence, _ = self.thresholds(metadata)
        return SearchSettings(confidence, origin, self.dense_weight, self.top_k)


def _cosine(record: Record, collection: Collection) -> float:
    return 0.0 if record.distance is None else similarity(record.distance, collection.space)


def passage(record: Record, collection: Collection) -> Passage:
    """Return a stored record as a passage, scored by its cosine similarity, 0 without a distance.

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
        score=_cosine(record, collection),
        answer=str(answer) if answer else None,
    )


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
