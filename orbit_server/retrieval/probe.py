"""Test whether a collection can be searched, without a question and without embedding."""

from .bm25 import Bm25Index
from .chroma import Chroma

_WORDS = 5


async def probe(name: str, *, chroma: Chroma, lexical: Bm25Index) -> None:
    """Find the record nearest to an arbitrary vector, read it, and search for words of it.

    Whether the configured embedder fits is not tested: the collection may be another server's.
    Raises the ``SearchError`` family.
    """
    stored = await chroma.collection(name)
    if stored.dimension is None:  # nothing was ever written
        return
    vector = [1.0] + [0.0] * (stored.dimension - 1)
    nearest = await chroma.query(name, vector, n=1, bare=True)
    records = await chroma.get(name, ids=[record.id for record in nearest])
    text = next((record.document or "" for record in records), "")
    await lexical.search(stored.id, " ".join(text.split()[:_WORDS]), n=1)
