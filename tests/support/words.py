"""What tests do with a word index in one line."""

from collections.abc import Mapping, Sequence

from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.retrieval.words.protocol import Hit, Words

ENGLISH = analyzer(["en"])


async def indexed_ids(index: Words, collection_id: str) -> list[str]:
    """Return the ids of all passages of an index, in order."""
    return sorted([id async for page in index.ids(collection_id) for id in page])


def hits(
    index: WordIndex, collection_id: str, weights: Mapping[str, float], *, n: int
) -> list[Hit]:
    """Return the ``n`` best passages of a collection that have some of these terms."""
    with index.reading(collection_id) as snapshot:
        return snapshot.search(weights, n) if snapshot else []


async def forget(index: Words, collection_id: str, ids: Sequence[str]) -> None:
    """Take passages out of an index, as if they had been lost."""
    async with index.writing(collection_id) as words:
        await words.remove(ids)


def local(words: Words) -> WordIndex:
    """Return the word indexes that are files."""
    assert isinstance(words, WordIndex)
    return words
