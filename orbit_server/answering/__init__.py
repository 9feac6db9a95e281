"""Answering: a question and its passages become a stream of text. Knows no HTTP and no client."""

from .answer import Answer
from .pipeline import Pipeline

__all__ = ["Answer", "Pipeline"]
