"""The parts of retrieval, made from their sections of the configuration; nothing is opened."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..config.schema import (
    ChromaConfig,
    ElasticsearchConfig,
    EmbeddingConfig,
    RerankerConfig,
    RetrievalConfig,
)
from ..llm.protocols import Complete
from .chroma.protocol import Chroma
from .embedders import Embedder, OllamaEmbedder
from .hashed_embedder import LexicalEmbedder
from .rerank import Reranker, refuse_embedders
from .retriever import Retrieval
from .words import elasticsearch
from .words.index import WordIndex
from .words.protocol import Words


def build(
    config: RetrievalConfig,
    thresholds: ChromaConfig,
    *,
    chroma: Chroma,
    lexical: Words,
    embedder: Embedder,
) -> Retrieval:
    """Return the search over both indexes; ``thresholds`` are those of the section ``chroma``."""
    return Retrieval(
        chroma=chroma,
        lexical=lexical,
        embedder=embedder,
        top_k=config.top_k,
        candidates=config.candidates,
        dense_weight=config.dense_weight,
        confidence=thresholds.confidence_threshold,
        relevance=thresholds.relevance_threshold,
    )


def build_words(config: RetrievalConfig, shared: ElasticsearchConfig) -> Words:
    """Return the word indexes: in files of this host, or in the Elasticsearch of all replicas."""
    if config.words == "elasticsearch":
        return elasticsearch.build(shared)
    return WordIndex(Path(config.path))


def build_embedder(
    config: EmbeddingConfig,
    *,
    embed: Callable[..., Awaitable[list[list[float]]]],
    model: str,
    digest_of: Callable[[str], Awaitable[str | None]] | None = None,
) -> Embedder:
    """Return what turns texts into vectors: ``embed`` with ``model``, or hashed words.

    ``digest_of`` tells the digest of a model, which collections remember.
    """
    if config.provider == "lexical":
        return LexicalEmbedder()
    return OllamaEmbedder(
        partial(embed, model=model),
        model=model,
        batch_size=config.batch_size,
        concurrency=config.concurrency,
        digest_of=digest_of,
    )


def build_reranker(
    config: RerankerConfig, *, complete: Complete, options: Mapping[str, Any]
) -> Reranker | None:
    """Return the reranker, or ``None`` when it is off; raise ``ConfigError`` for a wrong model.

    ``options`` are those of every call of the model.
    """
    if not config.enabled:
        return None
    refuse_embedders(config.model)
    return Reranker(
        complete,
        model=config.model,
        top_n=config.top_n,
        batch_size=config.batch_size,
        temperature=config.temperature,
        timeout=config.timeout,
        options=options,
    )
