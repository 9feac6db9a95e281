"""What Chroma would not store, or not as it was given, refused before anything is sent."""

import math
import re
from collections.abc import Sequence

import orjson

from ...errors import Unprocessable
from .protocol import Metadata, Vector

MAX_BATCH_RECORDS = 5461  # what Chroma announces, and what it enforces in process
MAX_BATCH_BYTES = 8 * 1024 * 1024  # a fifth of what a server takes by default

_NAME = re.compile(r"(?!.*\.\.)(?!(\d+\.){3}\d+$)[a-zA-Z0-9][\w.-]{1,510}[a-zA-Z0-9]", re.ASCII)
_NAME_RULE = (
    "has 3 to 512 letters, digits, dots, hyphens and underscores, begins and ends with a letter or"
    " digit, has no two dots in a row and is not an IP address"
)


def checked_name(name: str) -> str:
    """Return ``name`` if a collection can have it; raise ``Unprocessable`` with the rule if not."""
    if not _NAME.fullmatch(name):
        raise Unprocessable(f"{name[:80]!r} cannot be a collection: its name {_NAME_RULE}.")
    return name


def check_metadata(metadata: Metadata, where: str) -> None:
    """Raise ``ValueError`` for metadata that Chroma does not keep; ``where`` names its owner."""
    for key, value in metadata.items():
        # A list in a collection's metadata makes Chroma panic; NaN would arrive as null.
        scalar = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
        if not (isinstance(key, str) and scalar):
            raise ValueError(f"{where}: metadata {key!r} must be a text, number or truth value.")


def batches(
    ids: Sequence[str],
    vectors: Sequence[Vector],
    documents: Sequence[str | None],
    metadatas: Sequence[Metadata | None],
    *,
    most: int,
    most_bytes: int,
) -> list[slice]:
    """Cut into runs below both limits (a single record may exceed one), checking every record."""
    cuts, size = [0], 0
    records = zip(ids, vectors, documents, metadatas, strict=True)
    for position, (id, vector, document, metadata) in enumerate(records):
        check_metadata(metadata or {}, f"record {id}")
        try:
            length = len(orjson.dumps((id, document, metadata))) + len(vector) * 16 // 3
        except orjson.JSONEncodeError as error:
            raise ValueError(f"record {id!r}: {error}") from error
        size += length
        taken = position - cuts[-1]
        if taken == most or (taken and size > most_bytes):
            cuts.append(position)
            size = length
    return [slice(*run) for run in zip(cuts, [*cuts[1:], len(ids)], strict=True)] if ids else []
