"""What a word index was made of, in a small file beside it, replaced in one step."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

VERSION = 2
META = "meta.json"  # tantivy's: it replaces this file with every commit
_FILE = "orbit.json"


class Unfit(Exception):
    """The index cannot be used as it is: damaged, or written by another version."""


@dataclass(frozen=True, slots=True)
class Record:
    """The name of the analyzer, and the last write of each writer that the index has taken in."""

    analyzer: str
    seen: Mapping[str, int] = field(default_factory=dict)


def digest(text: str) -> int:
    """Return 64 bits that stand for a text."""
    hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(hashed.digest(), signed=True)


def read(folder: Path) -> Record | None:
    """Return the record of an index, ``None`` where there is no index; raise ``Unfit``."""
    if not (folder / META).exists():
        return None
    try:
        content = orjson.loads((folder / _FILE).read_bytes())
        version = content["version"]
        record = Record(
            str(content["analyzer"]),
            {str(writer): int(write) for writer, write in content["seen"].items()},
        )
    except FileNotFoundError:
        raise Unfit("its record is missing") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Unfit("its record is damaged") from None
    if version != VERSION:
        raise Unfit(f"it was written as version {version}, not {VERSION}")
    return record


def write(folder: Path, record: Record) -> None:
    """Replace the record of an index, whose folder is there."""
    content = {"version": VERSION, "analyzer": record.analyzer, "seen": dict(record.seen)}
    new = folder / f"{_FILE}.new"
    new.write_bytes(orjson.dumps(content))
    new.replace(folder / _FILE)
