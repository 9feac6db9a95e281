"""Text to vectors through a model, and which embedder a collection was made with.

Vectors of two models can be compared by arithmetic but not by meaning. A collection therefore
remembers who embedded it (``embedder_metadata``), and a question embedded otherwise is refused
(``check_embedder``). Where several hosts embed, the files of their models may differ: a collection
also remembers the digest of these, and its texts go to hosts that have the same (``embedder_of``).
"""

import asyncio
import math
import re
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import Any, NamedTuple, Protocol

from cachetools import LRUCache

from ..errors import EmbedderMismatch, ModelError
from .refused_texts import Embedded, embedded

_SEARCH_TASK = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
)


DIGEST = "orbit_digest"


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

    ``embed(texts, model=...)`` is Ollama's embedding call, which gets ``digest`` too once that is
    set. Texts to be stored go in batches of ``batch_size``, at most ``concurrency`` of them at
    once. A question does not wait behind them. ``digest_of`` tells the digest of a model.
    """

    provider = "ollama"

    def __init__(
        self,
        embed: Callable[..., Awaitable[list[list[float]]]],
        *,
        model: str,
        batch_size: int,
        concurrency: int,
        digest_of: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        self.model = model
        self.digest: str | None = None
        self._digest_of = digest_of
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

    def with_digest(self, digest: str) -> "OllamaEmbedder":
        """Return the same embedder, bound to the files of the model that have this digest."""
        bound = copy(self)
        bound.digest = digest
        return bound

    async def current_digest(self) -> str | None:
        """Return the digest of the model's files, ``None`` where nobody tells."""
        if self.digest is not None or self._digest_of is None:
            return self.digest
        try:
            return await self._digest_of(self.model)
        except ModelError:
            return None

    async def _batch(self, texts: list[str]) -> list[list[float]]:
        async with self._free:
            return await self._vectors(texts)

    async def _vectors(self, texts: list[str]) -> list[list[float]]:
        files = {} if self.digest is None else {"digest": self.digest}
        vectors = await self._embed(texts, model=self.model, **files)
        if len(vectors) != len(texts):
            raise ModelError(f"{self.model} gave {len(vectors)} vectors for {len(texts)} texts")
        # A sum of single-precision numbers is finite where all of them are.
        if not all(math.isfinite(sum(vector)) for vector in vectors):
            raise ModelError(f"{self.model} gave a vector with a value that is not finite")
        return self._of_one_length(vectors)

    def _of_one_length(self, vectors: list[list[float]]) -> list[list[float]]:
        lengths = sorted({len(vector) for vector in vectors})
        if len(lengths) > 1 or 0 in lengths:
            raise ModelError(f"{self.model} gave vectors of {lengths} dimensions, not of one")
        return vectors


class QuestionVectors:
    """The vectors of questions, of which the latest are remembered with single precision.

    That is the precision of Chroma and of the models. Memory is bounded: by ``most_bytes`` for the
    vectors, and questions above ``longest`` characters are not remembered.
    """

    def __init__(
        self, embedder: Embedder, *, most_bytes: int = 4 * 1024 * 1024, longest: int = 500
    ) -> None:
        self._embedder, self._longest = embedder, longest
        self._remembered: LRUCache[tuple[str, str | None], array[float]] = LRUCache(
            most_bytes, getsizeof=lambda vector: vector.itemsize * len(vector)
        )

    async def __call__(self, text: str, metadata: Mapping[str, Any] | None = None) -> Embedded:
        """Embed a question, or its beginning where the model refuses the whole of it.

        ``metadata`` is that of the collection. Raises what the embedder raises when the model is at
        fault.
        """
        key = text, (metadata or {}).get(DIGEST)
        if (known := self._remembered.get(key)) is not None:
            return Embedded(known.tolist(), len(text))
        embedder = embedder_of(metadata, self._embedder)

        async def queries(texts: Sequence[str]) -> list[list[float]]:
            return [await embedder.query(text) for text in texts]

        [found] = await embedded([text], queries)
        if found.vector is None:
            return found
        single = array("f", found.vector)
        fits = single.itemsize * len(single) <= self._remembered.maxsize
        if fits and found.chars == len(text) <= self._longest:
            self._remembered[key] = single
        return found._replace(vector=single.tolist())


def embedder_metadata(
    embedder: Embedder, dimension: int, digest: str | None = None
) -> dict[str, str | int]:
    """Return the collection metadata that names ``embedder`` and the length of its vectors.

    ``digest`` is that of the model's files, where it is known.
    """
    metadata: dict[str, str | int] = {
        "orbit_embedder": embedder.provider,
        "orbit_model": embedder.model,
        "orbit_dimension": dimension,
    }
    return metadata | ({} if digest is None else {DIGEST: digest})


async def digest_of(embedder: Embedder) -> str | None:
    """Return the digest of the files that ``embedder`` works with, ``None`` where it has none."""
    return await embedder.current_digest() if isinstance(embedder, OllamaEmbedder) else None


def embedder_of(metadata: Mapping[str, Any] | None, embedder: Embedder) -> Embedder:
    """Return ``embedder`` for a collection with this ``metadata``: with the files it was made by.

    A collection that remembers none, because it is older, takes those that are known first.
    """
    digest = (metadata or {}).get(DIGEST)
    if isinstance(embedder, OllamaEmbedder) and isinstance(digest, str) and digest:
        return embedder.with_digest(digest)
    return embedder


def check_embedder(metadata: Mapping[str, Any] | None, embedder: Embedder, collection: str) -> None:
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
            f" `orbit collections delete {collection}`, then"
            f" `orbit ingest PATH… --collection {collection}`."
        )


def _with_tag(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
