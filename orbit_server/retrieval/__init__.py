"""Retrieval: a question and a collection become passages, best first."""

from .bm25 import LexicalIndex
from .build import build, build_embedder, build_reranker
from .embedders import Embedder
from .rerank import Reranker
from .retriever import Retrieval

__all__ = [
    "Embedder",
    "LexicalIndex",
    "Reranker",
    "Retrieval",
    "build",
    "build_embedder",
    "build_reranker",
]
