"""Retrieval: a question and a collection become passages, best first."""

from .build import build, build_embedder, build_reranker, build_words
from .chroma.probe import probe
from .embedders import Embedder
from .rerank import Reranker
from .retriever import Retrieval
from .words.upkeep import IndexUpkeep

__all__ = [
    "Embedder",
    "IndexUpkeep",
    "Reranker",
    "Retrieval",
    "build",
    "build_embedder",
    "build_reranker",
    "build_words",
    "probe",
]
