"""Vectors of many texts, though the embedding model refuses some of them.

One text has a whole batch refused: it is longer than the model reads, or the model computes numbers
for it that are none (bge-m3 does so with certain texts, always the same).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from ..errors import ModelError

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]

_SHORTEST_CUT = 32
_HARMLESS = "hello"


class Embedded(NamedTuple):
    """The vector of the first ``chars`` characters of a text; of a refused one None and why."""

    vector: list[float] | None
    chars: int
    reason: str = ""


async def embedded(texts: Sequence[str], embed: Embed) -> list[Embedded]:
    """Return the vectors of ``texts`` in order, a refused text cut until the model takes it.

    ``embed`` is asked for all at once; what it refuses is halved until the texts at fault are
    found. Raises what it raises when the model is at fault: then it refuses a harmless text too.
    """
    try:
        vectors = await embed(texts)
    except ModelError as error:
        if not refused(error):
            raise
        if len(texts) == 1:
            return [await _cut(texts[0], embed, error)]
        half = len(texts) // 2
        return await embedded(texts[:half], embed) + await embedded(texts[half:], embed)
    return [Embedded(vector, len(text)) for vector, text in zip(vectors, texts, strict=True)]


def refused(error: ModelError) -> bool:
    """Return whether another text might fare better: the model answered, and was not busy."""
    return type(error) is ModelError


async def _cut(text: str, embed: Embed, error: ModelError) -> Embedded:
    chars = len(text) // 2
    while chars >= _SHORTEST_CUT:
        try:
            [vector] = await embed([text[:chars]])
        except ModelError as failure:
            if not refused(failure):
                raise
        else:
            return Embedded(vector, chars, str(error))
        chars //= 2
    await embed([_HARMLESS])
    return Embedded(None, 0, str(error))
