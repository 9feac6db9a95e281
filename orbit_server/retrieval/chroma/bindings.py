"""The Rust part of Chroma, which opens a folder in this process.

chromadb's own Python, which calls the same, takes 0.6 s to import and 50 MB of memory, and checks
again what ``client.py`` has checked. What is raised here are chromadb's exceptions, for which that
package is imported after all, or panics.
"""

import json
from pathlib import Path
from typing import Any

from .client import Body

DATABASE = "chroma.sqlite3"
NEVER_FULL = 1_000_000
_PLACE = "default_tenant", "default_database"


class OpenFolder:
    """A folder of Chroma's, opened with a cache that never drops a collection.

    The methods are the operations of ``client.py``: they take the name or the UUID of a collection,
    and what is sent to a server of Chroma's.
    """

    def __init__(self, path: Path) -> None:
        import chromadb_rust_bindings as rust  # type: ignore[import-untyped]

        database = rust.SqliteDBConfig(
            url=str(path / DATABASE),
            hash_type=rust.MigrationHash.MD5,
            migration_mode=rust.MigrationMode.Apply,
        )
        self._rust = rust.Bindings(
            allow_reset=False,
            sqlite_db_config=database,
            persist_path=str(path),
            hnsw_cache_size=NEVER_FULL,
        )

    def close(self) -> None:
        """Close the files. No other reference may be left: a traceback keeps those of its lines."""
        self._rust = None

    def heartbeat(self, _: str, __: Body) -> None:
        self._rust.heartbeat()

    def list(self, _: str, __: Body) -> list[Body]:
        return [_described(each) for each in self._rust.list_collections(None, 0, *_PLACE)]

    def find(self, name: str, _: Body) -> Body:
        return _described(self._rust.get_collection(name, *_PLACE))

    def create(self, _: str, body: Body) -> Body:
        # What chromadb notes of a program that brings its own vectors.
        noted = {"embedding_function": {"type": "legacy"}}
        configuration = json.dumps(body["configuration"] | noted)
        values = body["name"], configuration, None, body["metadata"], body["get_or_create"]
        return _described(self._rust.create_collection(*values, *_PLACE))

    def modify(self, id: str, body: Body) -> None:
        self._rust.update_collection(id, body.get("new_name"), body.get("new_metadata"), None)

    def drop(self, name: str, _: Body) -> None:
        self._rust.delete_collection(name, *_PLACE)

    def count(self, id: str, _: Body) -> int:
        return int(self._rust.count(id, *_PLACE))

    def query(self, id: str, body: Body) -> Body:
        searched = body.get("ids"), body["query_embeddings"], body["n_results"]
        found = self._rust.query(id, *searched, None, None, body["include"], *_PLACE)
        return {
            "ids": found.ids,
            "documents": found.documents,
            "metadatas": found.metadatas,
            "distances": found.distances,
        }

    def get(self, id: str, body: Body) -> Body:
        where = json.dumps(body["where"]) if body.get("where") else None
        wanted = body["ids"], where, body.get("limit"), body.get("offset", 0), None
        found = self._rust.get(id, *wanted, body["include"], *_PLACE)
        return {
            "ids": found.ids,
            "documents": found.documents,
            "metadatas": found.metadatas,
            "embeddings": found.embeddings,
        }

    def query_and_get(self, id: str, body: Body) -> Body | None:
        """Read what ``choice`` makes of the reply to ``query``."""
        chosen = body["choice"](self.query(id, body["query"]))
        return None if chosen is None else self.get(id, chosen)

    def upsert(self, id: str, body: Body) -> None:
        written = body["ids"], body["embeddings"], body["metadatas"], body["documents"]
        self._rust.upsert(id, *written, None, *_PLACE)

    def delete(self, id: str, body: Body) -> None:
        self._rust.delete(id, body["ids"], None, None, None, *_PLACE)


def _described(collection: Any) -> Body:
    return {
        "id": collection.id,
        "name": collection.name,
        "configuration_json": collection.configuration,
        "metadata": collection.metadata,
        "dimension": collection.dimension,
    }
