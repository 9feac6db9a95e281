"""The threshold of a collection, measured by itself: what questions score that it does not answer.

It is measured when documents have been loaded, when a collection without one is asked, and again
when one has grown by half: by one task of one process, and not while somebody loads. Questions are
answered meanwhile, by the threshold before or by what suits the embedder.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any, Self

from cachetools import TTLCache

from ..errors import OrbitError, SearchError
from .chroma.protocol import Chroma, Collection
from .evaluation import Search
from .out_of_domain import out_of_domain_questions
from .ranking import SearchSettings, rank, relevance_score
from .relevance import threshold_of
from .thresholds import MEASURED, MEASURED_WORDS
from .words.mending import analyzer_of
from .words.protocol import Words

logger = logging.getLogger(__name__)

PASSAGES = "orbit_relevance_passages"  # how many there were when it was measured
RULES = "orbit_relevance_rules"  # and how: the version of the score, and the words' analyzer
_VERSION = 3
_REMEMBERED = 10_000
_GROWN = 1.5
_MOST_QUESTIONS = 192
_FEWEST_PASSAGES = 10
_LONGEST = 120.0


class ThresholdMeter:
    """Measures thresholds in the background, in ``async with`` only.

    ``search`` finds the candidates for a question in a collection, ``settings`` says of a
    collection's metadata how it is searched, ``spreads`` how far above what foreign questions score
    the threshold lies, in standard deviations. A collection is looked at once in ``pause`` seconds.
    """

    def __init__(
        self,
        chroma: Chroma,
        lexical: Words,
        *,
        search: Callable[[str], Search],
        settings: Callable[[Mapping[str, Any]], SearchSettings],
        spreads: float = 2.0,
        pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chroma = chroma
        self.lexical = lexical
        self._search = search
        self._settings = settings
        self._spreads = spreads
        self._looked_at: TTLCache[str, bool] = TTLCache(_REMEMBERED, pause, clock)
        self._tasks: set[asyncio.Task[None]] | None = None

    async def __aenter__(self) -> Self:
        self._tasks = set()
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks, self._tasks = self._tasks or set(), None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look_at(self, collection: Collection) -> None:
        """Begin to measure ``collection`` if that is due; costs next to nothing."""
        if self._tasks is None or collection.id in self._looked_at:
            return
        self._looked_at[collection.id] = True
        task = asyncio.create_task(self._look_at(collection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_at(self, collection: Collection) -> None:
        with suppress(SearchError):  # the word index is damaged, which the question itself survives
            if await self._due(collection):
                await self.measure(collection.name)

    async def measure(self, name: str) -> None:
        """Measure the collection ``name`` if that is due; what fails is logged, and tried again."""
        try:
            async with asyncio.timeout(_LONGEST):
                await self._measure(name)
        except (OrbitError, OSError) as error:  # a timeout is an OSError, too
            logger.warning("collection %s: the threshold was not measured: %s", name, error)

    async def _measure(self, name: str) -> None:
        collection = await self.chroma.collection(name, fresh=True)
        async with self.lexical.idle(collection.id) as idle:
            if not idle or not await self._due(collection):
                return
        async with self.lexical.alone(collection.id, "measuring") as alone:
            if not alone:
                return
            # Another process may have been at it until now.
            collection = await self.chroma.collection(name, fresh=True)
            if await self._due(collection):
                await self.chroma.annotate(collection, await self._measured(collection))

    async def _measured(self, collection: Collection) -> dict[str, Any]:
        search, settings = self._search(collection.name), self._settings(collection.metadata)
        passages = (await self.lexical.state(collection.id)).passages
        scores, words = list[float](), list[float]()
        for question in _questions(collection):
            found = await search(question)
            ranked = rank(found, settings.dense_weight)[: settings.top_k]
            scores.append(relevance_score(ranked))
            of_best = (each.words for each in found if each.passage.score == scores[-1])
            words.append(next(of_best, 0.0))
        threshold = round(threshold_of(scores, self._spreads), 4)
        logger.info(
            "collection %s: threshold %.3f, measured with %d questions that it cannot answer",
            collection.name,
            threshold,
            len(scores),
        )
        return {
            MEASURED: threshold,
            MEASURED_WORDS: round(fmean(words), 4),
            PASSAGES: passages,
            RULES: _rules(collection),
        }

    async def _due(self, collection: Collection) -> bool:
        known = collection.metadata
        if self._settings(known).threshold_origin in ("configured", "calibrated"):
            return False
        passages = (await self.lexical.state(collection.id)).passages
        if passages < _FEWEST_PASSAGES or not _questions(collection):
            return False
        if known.get(RULES) != _rules(collection) or MEASURED not in known:
            return True
        return passages >= _GROWN * int(known.get(PASSAGES) or 0)


def _rules(collection: Collection) -> str:
    return f"{_VERSION}/{analyzer_of(collection).name}"


def _questions(collection: Collection) -> Sequence[str]:
    """Return questions in the languages of a collection, at most 192, of all kinds."""
    languages = analyzer_of(collection).languages
    questions = out_of_domain_questions(languages)
    step = max(1, -(-len(questions) // _MOST_QUESTIONS))
    return questions[::step]
