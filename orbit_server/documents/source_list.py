"""The sources of a collection, from what stands in the metadata of their passages.

Chroma is the only place that all servers share. So every passage says when it was loaded, and one
of each load what there was to say of the file.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import CollectionNotFound
from ..retrieval.chroma.protocol import Chroma, Record

LOADED, LANGUAGES, WARNINGS = "orbit_loaded", "orbit_language", "orbit_warnings"
_MOST_WARNINGS = 20
_MOST_CHARACTERS = 300  # of one


@dataclass(slots=True)
class Source:
    """What is known of one source.

    ``pages`` is its highest page with text, ``loaded`` the last time that anything of it was
    stored, as ISO 8601 in UTC; both ``None`` where that is not known.
    """

    source: str
    passages: int = 0
    pages: int | None = None
    loaded: str | None = None
    languages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class First(NamedTuple):
    """The first passage of a source: its id, and its metadata, which say where it is from."""

    id: str
    metadata: dict[str, Any]


class SourcePage(NamedTuple):
    """Some sources by name, and the last of them where there are more."""

    files: list[Source]
    next: str | None


def bounded(warnings: Sequence[str]) -> list[str]:
    """Return the first ``warnings``, a line each, and how many more there are."""
    more = len(warnings) - _MOST_WARNINGS
    lines = [" ".join(each.split())[:_MOST_CHARACTERS] for each in warnings[:_MOST_WARNINGS]]
    return lines + ([f"And {more} more."] if more > 0 else [])


async def count_sources(chroma: Chroma, collection: str, *, page: int = 2000) -> dict[str, int]:
    """Return the number of passages of every source, by name; none without such a collection."""
    counts: Counter[str] = Counter()
    try:
        async for records in _pages(chroma, collection, page):
            counts.update(map(_name, records))
    except CollectionNotFound:
        return {}
    return dict(sorted(counts.items()))


async def first_passages(chroma: Chroma, collection: str, *, page: int = 2000) -> dict[str, First]:
    """Return the first passage of every source; none without such a collection."""
    found: dict[str, First] = {}
    try:
        async for records in _pages(chroma, collection, page, {"position": 0}):
            found |= {_name(each): First(each.id, dict(each.metadata)) for each in records}
    except CollectionNotFound:
        return {}
    return found


async def list_sources(
    chroma: Chroma, collection: str, *, after: str = "", limit: int = 1000, page: int = 2000
) -> SourcePage:
    """Return the first ``limit`` sources of ``collection`` behind ``after``.

    All metadata is read, ``page`` records at a time, and no more than twice ``limit`` sources are
    held. Raises what ``chroma`` does.
    """
    found: dict[str, Source] = {}
    last: str | None = None  # what is behind it is not among the first
    written: dict[str, str] = {}
    more = False
    async for records in _pages(chroma, collection, page):
        for record in records:
            name = _name(record)
            if name <= after and after:
                continue
            if last is not None and name > last:
                more = True
                continue
            _count(found.setdefault(name, Source(name)), record.metadata, written)
        if len(found) > 2 * limit:
            more = True
            found = {name: found[name] for name in sorted(found)[:limit]}
            written = {name: when for name, when in written.items() if name in found}
            last = max(found)
    names = sorted(found)
    more = more or len(names) > limit
    files = [found[name] for name in names[:limit]]
    return SourcePage(files, files[-1].source if more and files else None)


async def _pages(
    chroma: Chroma, collection: str, page: int, where: dict[str, Any] | None = None
) -> AsyncIterator[list[Record]]:
    """Yield all records, ``page`` at a time, without their texts: those take most of the time."""
    offset = 0
    while records := await chroma.get(
        collection, where=where, limit=page, offset=offset, texts=False
    ):
        yield records
        offset += len(records)


def _name(record: Record) -> str:
    return str(record.metadata.get("source", ""))


def _count(source: Source, metadata: Mapping[str, Any], written: dict[str, str]) -> None:
    source.passages += 1
    page, loaded = metadata.get("page"), str(metadata.get(LOADED) or "")
    if isinstance(page, int) and "question" not in metadata:  # there it is an author's own field
        source.pages = max(source.pages or 0, page)
    if loaded > (source.loaded or ""):
        source.loaded = loaded
    warnings = metadata.get(WARNINGS)
    if warnings is not None and loaded >= written.get(source.source, ""):
        written[source.source] = loaded
        source.warnings = str(warnings).splitlines()
        source.languages = [code for code in str(metadata.get(LANGUAGES) or "").split(",") if code]
