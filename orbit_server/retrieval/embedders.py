"""Text to vectors: through Ollama, or as hashed words where there is no Ollama.

Vectors of two models can be compared by arithmetic but not by meaning. A collection therefore
remembers who embedded it (``record``), and a question embedded otherwise is refused (``check``).
"""

import asyncio
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple, Protocol

from ..errors import EmbedderMismatch, ModelError
from .tokenizer import folded, is_cjk, words

_SEARCH_TASK = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
)


class Embedder(Protocol):
    """What turns texts into vectors of one length. ``provider`` and ``model`` name it."""

    provider: str
    model: str

    async def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text that is to be stored, in order."""

    async def query(self, text: str) -> list[float]:
        """Return the vector of a text that is searched for."""


class Prefixes(NamedTuple):
    """What a model was trained to see in front of a question and of a stored text."""

    query: str = ""
    document: str = ""


_PREFIXES = (
    ("nomic-embed-text", Prefixes("search_query: ", "search_document: ")),
    ("mxbai-embed-large", Prefixes("Represent this sentence for searching relevant passages: ")),
    ("snowflake-arctic-embed(2|.*-v2)", Prefixes("query: ")),
    (
        "snowflake-arctic-embed",
        Prefixes("Represent this sentence for searching relevant passages: "),
    ),
    ("embeddinggemma", Prefixes("task: search result | query: ", "title: none | text: ")),
    ("qwen3-embedding", Prefixes(f"{_SEARCH_TASK}Query:")),
    ("e5-.*instruct", Prefixes(f"{_SEARCH_TASK}Query: ")),
    (r"\be5-(small|base|large)", Prefixes("query: ", "passage: ")),
)


def prefixes(model: str) -> Prefixes:
    """Return the prefixes of ``model``, an Ollama model name; empty ones for models without.

    Namespace, tag and letter case do not matter. The texts are those of the models' own cards.
    """
    name = model.rpartition("/")[2].partition(":")[0].casefold()
    return next((found for known, found in _PREFIXES if re.search(known, name)), Prefixes())


class OllamaEmbedder:
    """Vectors from a model in Ollama.

    ``embed(texts, model=...)`` is Ollama's embedding call. Texts to be stored go in batches of
    ``batch_size``, at most ``concurrency`` of them at once. A question does not wait behind them.
    """

    provider = "ollama"

    def __init__(
        self,
        embed: Callable[..., Awaitable[list[list[float]]]],
        *,
        model: str,
        batch_size: int,
        concurrency: int,
    ) -> None:
        self.model = model
        self._embed = embed
        self._prefixes = prefixes(model)
        self._batch_size = batch_size
        self._free = asyncio.Semaphore(concurrency)

    async def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text, in order; the first failing batch cancels the others.

        Raises ModelError when a vector is missing, not finite, or of another length than the rest,
        and whatever the embedding call raises.
        """
        prefixed = [self._prefixes.document + text for text in texts]
        starts = range(0, len(prefixed), self._batch_size)
        try:
            async with asyncio.TaskGroup() as group:
                batches = [
                    group.create_task(self._batch(prefixed[start : start + self._batch_size]))
                    for start in starts
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return self._of_one_length(list(chain.from_iterable(map(asyncio.Task.result, batches))))

    async def query(self, text: str) -> list[float]:
        """Return the vector of a question. Raises as ``documents`` does."""
        [vector] = await self._vectors([self._prefixes.query + text])
        return vector

    async def _batch(self, texts: list[str]) -> list[list[float]]:
        async with self._free:
            return await self._vectors(texts)

    async def _vectors(self, texts: list[str]) -> list[list[float]]:
        vectors = await self._embed(texts, model=self.model)
        if len(vectors) != len(texts):
            raise ModelError(f"{self.model} gave {len(vectors)} vectors for {len(texts)} texts")
        if not all(map(math.isfinite, chain.from_iterable(vectors))):
            raise ModelError(f"{self.model} gave a vector with a value that is not finite")
        return self._of_one_length(vectors)

    def _of_one_length(self, vectors: list[list[float]]) -> list[list[float]]:
        lengths = sorted({len(vector) for vector in vectors})
        if len(lengths) > 1 or 0 in lengths:
            raise ModelError(f"{self.model} gave vectors of {lengths} dimensions, not of one")
        return vectors


DIMENSION = 1024
_NGRAM = 4
_SLICE = 16
_LONGEST_KEPT = 40
_STOP_WORDS = frozenset(
    """a an the this that these those some any each every all both either neither such
    i me my mine myself we us our ours ourselves you your yours yourself he him his she her hers
    it its itself they them their theirs
    who whom whose which what when where why how
    am is are was were be been being do does did done doing have has had having
    can could may might must shall should will would
    and or but nor if then than so as because while although though
    of in on at by for with about against between into through during to from up down out off over
    under again once here there too very just also only own same other more most no not yes
    s t d m ll re ve don doesn didn isn aren wasn weren won wouldn couldn shouldn cannot
    please get got let want like need one ones""".split()  # noqa: SIM905 - easier to read as words
)
_ACCENTS = re.compile("[\u0300-\u036f]+")


class LexicalEmbedder:
    """Vectors without a model: words and their character n-grams, hashed into 1,024 numbers.

    Two texts are near when they share words or parts of words; synonyms mean nothing to it. The
    vector depends on the text alone and is the same on every machine, so ``model`` must change
    whenever ``hashed_words`` does.
    """

    provider = "lexical"
    model = "hashed-words-1"

    async def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text, in order, computed in a thread a few at a time."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _SLICE):
            part = texts[start : start + _SLICE]
            vectors += await asyncio.to_thread(lambda part: [*map(hashed_words, part)], part)
        return vectors

    async def query(self, text: str) -> list[float]:
        """Return the vector of a question, computed in a thread."""
        return await asyncio.to_thread(hashed_words, text)


def hashed_words(text: str) -> list[float]:
    """Return the vector of ``text``: 1,024 numbers of length 1 together.

    Stop words count only where there is nothing else, and a text without any word gets one fixed
    vector, because an all-zero vector has no direction and cosine distance is undefined for it.
    """
    counts = Counter(words(_without_accents(folded(text))))
    telling = {word: count for word, count in counts.items() if word not in _STOP_WORDS}
    sums = [0.0] * DIMENSION
    for word, count in (telling or counts).items():
        weight = 1 + math.log(count)
        # Strangers choose the words: long ones would fill memory if they were kept.
        features = _features if len(word) <= _LONGEST_KEPT else _features.__wrapped__
        for bucket, value in features(word):
            sums[bucket] += weight * value
    length = math.sqrt(sum(value * value for value in sums))
    if length == 0:
        bucket, sign = _hashed("")
        sums[bucket] = length = sign
    return [value / length for value in sums]


def _without_accents(text: str) -> str:
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


@lru_cache(maxsize=8192)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """Return (bucket, value) of the stem, and of the n-grams, which together weigh as much."""
    if is_cjk(word):
        return (_hashed("w" + word),)
    # Here for the time of its import; this module, because the package prefers a C library where
    # one is installed; one object a call, because a stemmer keeps its word in itself.
    from snowballstemmer.english_stemmer import EnglishStemmer  # type: ignore[import-untyped]

    marked = f"<{word}>"
    grams = [marked[i : i + _NGRAM] for i in range(len(marked) - _NGRAM + 1)]
    share = 1 / math.sqrt(len(grams) or 1)
    hashed_grams = (
        (bucket, sign * share) for bucket, sign in map(_hashed, ["g" + g for g in grams])
    )
    return (_hashed("w" + EnglishStemmer().stemWord(word)), *hashed_grams)


def _hashed(feature: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
    return number % DIMENSION, 1.0 if number >> 63 else -1.0


def record(embedder: Embedder, dimension: int) -> dict[str, str | int]:
    """Return the collection metadata that names ``embedder`` and the length of its vectors."""
    return {
        "orbit_embedder": embedder.provider,
        "orbit_model": embedder.model,
        "orbit_dimension": dimension,
    }


def check(metadata: Mapping[str, Any] | None, embedder: Embedder, collection: str) -> None:
    """Raise EmbedderMismatch when ``collection`` says that another embedder made its vectors.

    ``metadata`` is the collection's own. One without our keys was loaded by somebody else, who
    has to know; it passes.
    """
    stored = metadata or {}
    provider = stored.get("orbit_embedder", embedder.provider)
    model = stored.get("orbit_model", embedder.model)
    if (provider, _with_tag(model)) != (embedder.provider, _with_tag(embedder.model)):
        raise EmbedderMismatch(
            f"Collection {collection!r} was embedded by {provider}/{model}, but the configuration"
            f" says {embedder.provider}/{embedder.model}. Configure {provider}/{model} again"
            " (embedding.provider, ollama.embed_model), or load the documents anew:"
            f" `python -m orbit_server collections delete {collection}`, then"
            f" `python -m orbit_server ingest PATH… --collection {collection}`."
        )


def _with_tag(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
