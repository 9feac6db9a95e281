"""Answers without a language model: the best passages, quoted and said to be quotations."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Self

from ..types import NO_TOKENS, Question, Retrieved

_QUOTED = 2


class FixedText:
    """A text stream of words that exist already; no model is asked.

    ``quoted`` are the ids of the passages that the words come from.
    """

    def __init__(self, pieces: Sequence[str], quoted: Sequence[str] = ()) -> None:
        self.quoted = list(quoted)
        self.usage = NO_TOKENS
        self.finish_reason = "stop"
        self._pieces = iter(pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    async def __anext__(self) -> list[str]:
        for piece in self._pieces:
            return [piece]
        raise StopAsyncIteration


def extractive_answer(question: Question, retrieved: Retrieved) -> FixedText:
    """Answer without a language model: quote the stored answer, or the best passages, and say so.

    Of several questions in one, the best passage of each is quoted. The quotation is the passage's
    own text, streamed word by word; ``question`` is not needed for it.
    """
    passages = retrieved.passages
    quoted = passages[: retrieved.questions]
    if retrieved.questions == 1 and quoted[0].answer is None:
        # The same text may stand in two files, and is not worth reading twice.
        different = {passage.text: passage for passage in reversed(passages)}
        quoted = [each for each in passages if different[each.text] is each][:_QUOTED]
        quoted = [each for each in quoted if each.answer is None]
    text = "\n\n".join(
        f"Quoted from “{passage.title}”: {passage.answer or passage.text}" for passage in quoted
    )
    pieces = re.findall(r"\s*\S+\s*$|\s*\S+", text)
    return FixedText(pieces, [passage.id for passage in quoted])
