"""``python -m benchmarks.chroma_alone FOLDER COLLECTION``: what Chroma in process costs by itself.

For every question one query of the nearest forty and one read of ten of them with their vectors,
through chromadb's public calls, in a process that does nothing else. Prints the milliseconds of
processor time a question, and the process's peak memory in MB, as JSON.
"""

import argparse
import json
import os
import time
from typing import Any

import chromadb
from chromadb.config import Settings

from tests.support.ollama_standin import embedding

from .model import DIMENSION
from .passages import questions
from .processes import peak


def measure(path: str, name: str, count: int) -> dict[str, float]:
    """Return ``cpu`` (ms a question) and ``memory`` (MB) of ``count`` questions."""
    client = chromadb.PersistentClient(path, Settings(anonymized_telemetry=False))
    collection = client.get_collection(name, embedding_function=None)
    vectors: list[Any] = [
        embedding(text, DIMENSION)
        for text in questions(count + 10, 20, about=collection.count(), seed=0)
    ]
    began = time.process_time()
    for number, vector in enumerate(vectors):
        if number == 10:  # caches, first imports
            began = time.process_time()
        found = collection.query([vector], n_results=40, include=["distances"])
        best = found["ids"][0][:10]
        collection.get(ids=best, include=["embeddings", "documents", "metadatas"])
    spent = time.process_time() - began
    # Not getrusage: its peak begins with that of the program that started this one.
    return {"cpu": spent / count * 1000, "memory": peak(os.getpid()) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description="What Chroma in process costs by itself.")
    parser.add_argument("path")
    parser.add_argument("collection")
    parser.add_argument("--count", type=int, default=200, help="questions")
    options = parser.parse_args()
    print(json.dumps(measure(options.path, options.collection, options.count)))


if __name__ == "__main__":
    main()
