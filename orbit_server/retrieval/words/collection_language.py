"""The languages of a collection, which stand in its metadata: what the operator said, or detected.

How its words become terms depends on them, for its passages and for what is asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..chroma.protocol import Chroma, Collection
from .languages import LANGUAGES, detected

LANGUAGE = "orbit_language"
GIVEN = "orbit_language_given"  # by the operator: nothing is detected

_PAGES = 8
_PAGE = 32


def languages_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the languages of a collection by its metadata; none if nobody knows them."""
    codes = str(metadata.get(LANGUAGE) or "").split(",")
    return tuple(sorted({code for code in codes if code in LANGUAGES}))


def language_metadata(given: Sequence[str], texts: Iterable[str] = ()) -> dict[str, Any]:
    """Return what the metadata of a collection says: the ``given`` languages, or those of texts."""
    if given:
        return {LANGUAGE: ",".join(sorted(set(given))), GIVEN: True}
    found = detected(texts)
    return {LANGUAGE: ",".join(found)} if found else {}


async def update_language(
    chroma: Chroma, name: str, given: Sequence[str] = (), *, again: bool = False
) -> Collection:
    """Write the languages into the metadata of a collection, where they are missing or others.

    Those that were ``given`` once stay until others are. Without any they are detected, from a
    sample of the passages; ``again`` also where they have been before, for a collection that has
    grown. Returns the collection as it is then; raises what ``chroma`` does.
    """
    stored = await chroma.collection(name, fresh=True)
    known = stored.metadata
    if not given and (known.get(GIVEN) or (languages_of(known) and not again)):
        return stored
    found = language_metadata(given, () if given else await _sample(chroma, name))
    if not found or found.items() <= known.items():
        return stored
    await chroma.annotate(stored, found)
    return await chroma.collection(name, fresh=True)


async def _sample(chroma: Chroma, name: str) -> list[str]:
    total = await chroma.count(name)
    step = max(_PAGE, total // _PAGES)
    records = [
        record
        for offset in range(0, min(total, step * _PAGES), step)
        for record in await chroma.get(name, limit=_PAGE, offset=offset)
    ]
    return [
        f"{record.metadata.get('question') or ''} {record.document or ''}" for record in records
    ]
