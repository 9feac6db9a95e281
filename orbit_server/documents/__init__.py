"""Documents: files become chunks, and chunks a collection, here or on a running server."""

from .collection_store import CollectionStore, Store, Stored
from .model import Chunk

__all__ = ["Chunk", "CollectionStore", "Store", "Stored"]
