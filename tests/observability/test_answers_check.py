"""Whether the model answers, judged by the answers that were asked for."""

import pytest

from orbit_server.errors import ModelBusy, ModelError, OrbitError, SearchError
from orbit_server.observability.answers_check import AnswersCheck
from orbit_server.observability.health import works

pytestmark = pytest.mark.anyio

FAILS = {"status": "error", "error": "answers fail"}


async def test_failures_in_a_row() -> None:
    """Three of them are an error, until one is complete or nobody asks for a while."""
    time = 0.0
    answers = AnswersCheck(now=lambda: time)
    check = answers.after(works)
    for ending in ("complete", "forgotten"):
        for expected in ({}, {}, FAILS, FAILS):
            answers.note(ModelError("the runner died"))
            assert await check() == expected
        if ending == "complete":
            answers.note(None)
        else:
            time += 61
        assert await check() == {}


@pytest.mark.parametrize("error", [ModelBusy("its queue is full"), SearchError("a page is broken")])
async def test_what_is_not_the_models_fault(error: OrbitError) -> None:
    """Neither a full queue nor a failed search says that the model is broken."""
    answers = AnswersCheck()
    for _ in range(9):
        answers.note(error)
    assert await answers.after(works)() == {}


async def test_a_model_that_is_not_installed_is_told_first() -> None:
    """The cause that the operator can act on is kept."""

    async def missing() -> dict[str, str]:
        return {"status": "error", "error": "model not installed"}

    answers = AnswersCheck(most=0)
    answers.note(ModelError("no such model"))
    assert await answers.after(missing)() == await missing()
