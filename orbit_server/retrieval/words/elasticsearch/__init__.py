"""The word indexes of all replicas in one Elasticsearch, one index a collection."""

from .build import build

__all__ = ["build"]
