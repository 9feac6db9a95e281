"""Test whether a collection can be searched, without a question and without embedding."""

from .protocol import Chroma


async def probe(name: str, *, chroma: Chroma) -> None:
    """Find the record nearest to an arbitrary vector, and read it.

    Raises the ``SearchError`` family. Neither the embedder is tested, since the collection may be
    another server's, nor the word index, without which questions are answered too
    (``IndexMender.incomplete``).
    """
    stored = await chroma.collection(name)
    if stored.dimension is None:  # nothing was ever written
        return
    vector = [1.0] + [0.0] * (stored.dimension - 1)
    nearest = await chroma.query(name, vector, n=1, bare=True)
    await chroma.get(name, ids=[record.id for record in nearest])
