"""What our indexes in Elasticsearch are called, and how they hold a passage.

The terms of a passage are those of our own analyzer, parted by blanks, so that both ends agree
whatever is installed there. Its text is not stored: Chroma has it.
"""

import re
import secrets
from typing import Any, NamedTuple

import orjson

from ....errors import SearchError
from ..record import digest as digest_of

VERSION = 1
_LONGEST_ID = 512  # bytes, of an _id


class Index(NamedTuple):
    """One index of a collection; the one that is ``live`` is searched."""

    name: str
    live: bool
    version: int
    analyzer: str


class Names:
    """The names that begin with ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.state = f"{prefix}.state"
        self.all = f"{prefix}-*"

    def alias(self, collection_id: str) -> str:
        """Return the name under which the index of a collection is searched."""
        # It may come from a Chroma server that is not ours, and becomes a part of a path.
        if not re.fullmatch(r"[a-z0-9_-]{1,100}", collection_id):
            raise SearchError(f"{collection_id!r} is not the id of a collection")
        return f"{self.prefix}-{collection_id}"

    def record(self, collection_id: str) -> str:
        """Return the path of what was written down of the index of a collection."""
        return f"/{self.state}/_doc/record{self.alias(collection_id).removeprefix(self.prefix)}"

    def new(self, collection_id: str) -> str:
        """Return a name for an index, which no other has."""
        return f"{self.alias(collection_id)}.{secrets.token_hex(4)}"

    def collection_id(self, index: str) -> str:
        """Return the id of the collection that an index is of."""
        return index.removeprefix(f"{self.prefix}-").rpartition(".")[0]


def of_passages(analyzer: str) -> dict[str, Any]:
    """Return the settings and fields of an index whose terms the analyzer of this name made."""
    return {
        "settings": {
            "number_of_shards": 1,  # of several, each would have its own frequencies of words
            "auto_expand_replicas": "0-1",
            "similarity": {"default": {"type": "BM25", "k1": 1.2, "b": 0.75}},
        },
        "mappings": {
            "dynamic": "strict",
            "_source": {"enabled": False},
            "_meta": {"version": VERSION, "analyzer": analyzer},
            "properties": {
                "words": {"type": "text", "analyzer": "whitespace", "index_options": "freqs"},
                "digest": {"type": "long", "index": False},
                "id": {"type": "keyword", "index": False},
            },
        },
    }


def of_state() -> dict[str, Any]:
    """Return the settings and fields of the index of locks and records."""
    return {
        "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1"},
        "mappings": {"dynamic": False},
    }


def key(id: str) -> str:
    """Return what a passage is called there: its id, or a digest of one that is too long."""
    encoded = id.encode("utf-8", "surrogatepass")
    if len(encoded) <= _LONGEST_ID:
        return id
    return f"{digest_of(id):x}.{len(encoded)}"


def storing(index: str, id: str, terms: str, digest: int) -> bytes:
    """Return the lines of a bulk request that store a passage."""
    known = key(id)
    source = {"words": terms, "digest": digest} | ({} if known == id else {"id": id})
    action = {"index": {"_index": index, "_id": known}}
    return b"%b\n%b\n" % (orjson.dumps(action), orjson.dumps(source))


def removing(index: str, id: str) -> bytes:
    """Return the line of a bulk request that removes a passage."""
    return orjson.dumps({"delete": {"_index": index, "_id": key(id)}}) + b"\n"


def id_of(hit: dict[str, Any]) -> str:
    """Return the id of a passage that was found, with the field ``id`` asked for."""
    found: list[str] = hit.get("fields", {}).get("id") or [hit["_id"]]
    return found[0]


def described(name: str, body: dict[str, Any]) -> Index:
    """Return an index as Elasticsearch describes it."""
    meta = body.get("mappings", {}).get("_meta", {})
    version, analyzer = int(meta.get("version", 0)), str(meta.get("analyzer", ""))
    if body["settings"]["index"].get("verified_before_close"):
        version = 0  # somebody has closed it
    return Index(name, bool(body.get("aliases")), version, analyzer)
