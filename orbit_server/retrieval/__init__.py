"""Retrieval: a question and a collection become passages, best first."""

from .build import build, build_embedder, build_reranker
from .chroma.probe import probe
from .embedders import Embedder
from .rerank import Reranker
from .retriever import Retrieval
from .words.index import WordIndex
from .words.upkeep import IndexUpkeep

__all__ = [
    "Embedder",
    "IndexUpkeep",
    "Reranker",
    "Retrieval",
    "WordIndex",
    "build",
    "build_embedder",
    "build_reranker",
    "probe",
]
