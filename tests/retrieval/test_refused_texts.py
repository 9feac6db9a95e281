"""One text that the embedding model refuses costs itself alone."""

from collections.abc import Sequence

import pytest

from orbit_server.errors import ModelError, ModelUnreachable
from orbit_server.retrieval.refused_texts import Embedded, embedded

pytestmark = pytest.mark.anyio


class Model:
    """An embedding model that refuses batches with a word in it, and texts over a length."""

    def __init__(self, *, word: str = "zebra", longest: int = 100) -> None:
        self.word, self.longest = word, longest
        self.calls: list[list[str]] = []

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        for text in texts:
            if self.word in text:
                raise ModelError("NaN")
            if len(text) > self.longest:
                raise ModelError("too long")
        return [[float(len(text))] for text in texts]


async def test_what_is_taken_is_asked_for_once() -> None:
    """Without a refusal there is one call, for all texts together."""
    model = Model()
    assert await embedded(["a", "bb"], model) == [Embedded([1.0], 1), Embedded([2.0], 2)]
    assert model.calls == [["a", "bb"]]
    assert await embedded([], model) == []


async def test_the_refused_text_is_found_by_halving() -> None:
    """The others have their vectors, in order, after a number of calls that grows slowly."""
    texts = [f"text {number}" for number in range(64)]
    texts[37] = "a zebra"
    model = Model()
    found = await embedded(texts, model)
    assert [each.vector is None for each in found] == [number == 37 for number in range(64)]
    assert found[37] == Embedded(None, 0, "NaN")
    assert len(model.calls) <= 2 * 6 + 2


async def test_a_long_text_is_cut() -> None:
    """By halves, until the model takes it; what is said is what it said of the whole."""
    assert await embedded(["x" * 300, "y"], Model()) == [
        Embedded([75.0], 75, "too long"),
        Embedded([1.0], 1),
    ]


async def test_a_word_at_the_end_is_cut_off() -> None:
    """The beginning of a text for which there is no vector may have one."""
    [found] = await embedded(["x" * 60 + "zebra"], Model())
    assert (found.chars, found.reason) == (32, "NaN")


async def test_a_model_that_refuses_all_is_at_fault() -> None:
    """A text is not blamed for what happens to a harmless one too."""
    model = Model(word="")
    with pytest.raises(ModelError, match="NaN"):
        await embedded(["a", "b", "c"], model)
    assert model.calls[-1] == ["hello"]


async def test_a_model_that_is_gone_is_not_asked_again() -> None:
    """Nothing that is about the connection, the queue or the model's name is halved."""
    calls = 0

    async def gone(texts: Sequence[str]) -> list[list[float]]:
        nonlocal calls
        calls += 1
        raise ModelUnreachable("no route")

    with pytest.raises(ModelUnreachable):
        await embedded(["a", "b"], gone)
    assert calls == 1
