"""What tests do with a word index in one line."""

from collections.abc import Sequence

from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.retrieval.words.protocol import Words

ENGLISH = analyzer(["en"])


async def indexed_ids(index: Words, collection_id: str) -> list[str]:
    """Return the ids of all passages of an index, in order."""
    return sorted([id async for page in index.ids(collection_id) for id in page])


async def forget(index: Words, collection_id: str, ids: Sequence[str]) -> None:
    """Take passages out of an index, as if they had been lost."""
    async with index.writing(collection_id) as words:
        await words.remove(ids)


def local(words: Words) -> WordIndex:
    """Return the word indexes that are files."""
    assert isinstance(words, WordIndex)
    return words
