"""Retrieval: a question and a collection become passages, best first."""

from .bm25 import Bm25Index
from .build import build, build_embedder, build_reranker
from .embedders import Embedder
from .probe import probe
from .rerank import Reranker
from .retriever import Retrieval

__all__ = [
    "Bm25Index",
    "Embedder",
    "Reranker",
    "Retrieval",
    "build",
    "build_embedder",
    "build_reranker",
    "probe",
]
