"""A collection whose index of vectors is damaged, brought back from the texts that are still there.

Chroma saves that index in several files, one after the other, so that a process which is killed in
between can leave it unusable. The texts lie in its database and survive. They are embedded again
into a second collection, which takes the name of the damaged one when it is complete. An
interrupted repair goes on where it stopped.
"""

from typing import NamedTuple

from ..errors import CollectionNotFound, SearchError
from ..retrieval.chroma.protocol import Chroma, Collection, Record
from ..retrieval.embedders import Embedder, check_embedder, embedder_of
from ..retrieval.words.mending import analyzer_of, without_entries, words_of
from ..retrieval.words.protocol import Words
from .model import Chunk, heading_path

_SUFFIX = ".repair"
_LONGEST_NAME = 500


class Repaired(NamedTuple):
    """How far a repair has come: ``next`` is where it goes on, ``None`` when it is done.

    ``total`` is 0 when there was nothing to repair.
    """

    done: int
    total: int
    next: int | None = None


async def damage(chroma: Chroma, name: str, *, page: int = 2000) -> str | None:
    """Return what is wrong with the vectors of a collection, ``None`` when all of them are found.

    Asks for every record once. Raises ``CollectionNotFound``, and ``SearchUnavailable`` and
    ``SearchTimeout`` when Chroma itself does not answer.
    """
    collection = await chroma.collection(name, fresh=True)
    if collection.dimension is None:
        return None
    anywhere = [1.0] + [0.0] * (collection.dimension - 1)
    try:
        await chroma.query(name, anywhere, n=1, bare=True)
        offset = 0
        while records := await chroma.get(name, limit=page, offset=offset, texts=False):
            ids = [record.id for record in records]
            await chroma.query(name, anywhere, n=1, ids=ids, bare=True)
            offset += len(records)
    except SearchError as error:
        if error.status != SearchError.status:
            raise
        return str(error)
    return None


async def repair(
    name: str,
    *,
    chroma: Chroma,
    lexical: Words,
    embedder: Embedder,
    after: int = 0,
    batch: int = 256,
) -> Repaired:
    """Repair the next ``batch`` records of a collection; call it again with ``after=next``.

    Raises ``EmbedderMismatch`` when another embedder made the collection, ``SearchUnavailable``
    with what to do instead when Chroma's folder is not this process's own, and what the embedder
    raises.
    """
    second = name[:_LONGEST_NAME] + _SUFFIX
    try:
        damaged = await chroma.collection(name, fresh=True)
    except CollectionNotFound:
        return await _renamed(chroma, second, name)  # it was interrupted at the very end
    if after == 0:
        check_embedder(damaged.metadata, embedder, name)
        if await damage(chroma, name) is None:
            return Repaired(0, 0)
    total = await chroma.stored_count(damaged.id)
    copy = await chroma.create(second, without_entries(damaged.metadata))
    rows = await chroma.stored_records(damaged.id, after=after, limit=batch)
    await _copy(copy, [record for _, record in rows], chroma, lexical, embedder)
    if rows:
        return Repaired(min(total, await chroma.count(second)), total, rows[-1][0])
    await chroma.drop(name)
    await lexical.drop(damaged.id)
    return await _renamed(chroma, second, name)


async def _copy(
    copy: Collection,
    records: list[Record],
    chroma: Chroma,
    lexical: Words,
    embedder: Embedder,
) -> None:
    ids = [each.id for each in records]
    there = await chroma.ids(copy.name, ids=ids)
    chunks = [chunk_of(record) for record in records if record.id not in there]
    if not chunks:
        return
    embedder = embedder_of(copy.metadata, embedder)
    vectors = await embedder.documents([chunk.embed for chunk in chunks])
    words = [(chunk.id, words_of(chunk.text, chunk.metadata)) for chunk in chunks]
    async with lexical.writing(copy.id) as index:
        await index.add(words, analyzer_of(copy))
        await chroma.upsert(
            copy.name,
            ids=[chunk.id for chunk in chunks],
            vectors=vectors,
            documents=[chunk.text for chunk in chunks],
            metadatas=[chunk.metadata for chunk in chunks],
        )


async def _renamed(chroma: Chroma, second: str, name: str) -> Repaired:
    collection = await chroma.collection(second, fresh=True)
    total = await chroma.count(second)
    await chroma.rename(collection, name)
    return Repaired(total, total)


def chunk_of(record: Record) -> Chunk:
    """Return the chunk that ``record`` was stored from.

    What was embedded is not stored, but follows from the text and its headings, and the id proves
    which of the possible ones it was. Of records that another program stored the likeliest is
    taken.
    """
    text, metadata = record.document or "", record.metadata
    question, title, heading = (
        str(metadata.get(key) or "") for key in ("question", "title", "heading")
    )
    contexts = [heading, heading_path([title, heading]), title]
    possible = [question, *(f"{context}\n{text}" for context in contexts if context), text]
    chunks = [Chunk.of(embed, text, metadata) for embed in possible if embed]
    proven = (chunk for chunk in chunks if chunk.id == record.id)
    likeliest = Chunk(record.id, next(filter(None, possible), " "), text, dict(metadata))
    return next(proven, likeliest)
