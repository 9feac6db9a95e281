"""Replies and failures of Chroma, over REST and in process, as values and errors of ours."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import (
    CollectionNotFound,
    EmbedderMismatch,
    SearchError,
    SearchTimeout,
    SearchUnavailable,
)
from .protocol import Collection, Record

_BEING_DELETED = re.compile(r"Missing \w+ segment")  # its rows go one after the other
_DAMAGED = re.compile("hnsw|backfill", re.IGNORECASE)


class DamagedCollection(SearchError):
    """The index of one collection's vectors cannot be used; Chroma itself works."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text} To repair the collection: `orbit collections repair NAME`.")


@contextmanager
def expected_form() -> Iterator[None]:
    """Raise ``SearchError`` for a reply that is not formed as Chroma's are."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SearchError("A reply does not have the format of Chroma.") from error


def failure(status: int, text: str) -> SearchError:
    """Return the error that Chroma's ``status`` and ``text`` stand for."""
    if "expecting embedding with dimension" in text:
        return EmbedderMismatch(text)
    if (status == 404 and "Collection [" in text) or _BEING_DELETED.search(text):
        return CollectionNotFound(text)
    if _DAMAGED.search(text):
        return DamagedCollection(text)
    kinds = {429: SearchUnavailable, 502: SearchUnavailable, 503: SearchUnavailable}
    return (kinds | {504: SearchTimeout}).get(status, SearchError)(text)


def collection_of(found: dict[str, Any]) -> Collection:
    """Return the collection that Chroma describes like this."""
    configuration, metadata = found["configuration_json"] or {}, found["metadata"] or {}
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    space = index.get("space") or metadata.get("hnsw:space") or "l2"
    return Collection(str(found["id"]), found["name"], space, metadata, found["dimension"])


def records_of(
    ids: Sequence[str],
    documents: Sequence[str | None],
    metadatas: Sequence[dict[str, Any] | None],
    distances: Sequence[float | None],
) -> list[Record]:
    """Return the records whose columns Chroma has sent."""
    columns = zip(ids, documents, metadatas, distances, strict=True)
    return [Record(id, document, meta or {}, distance) for id, document, meta, distance in columns]
