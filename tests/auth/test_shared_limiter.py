"""One limiter for several processes: here, for several of its clients.

What it does like all limiters is in ``test_limiters``.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbit_server.auth.limiter import MemoryLimiter
from orbit_server.auth.limits import Use, Verdict
from orbit_server.auth.shared_limiter import SharedLimiter, limiter_at
from orbit_server.errors import OrbitError

from ..support.limits import use
from ..support.timing import until

pytestmark = pytest.mark.anyio


class Slow(MemoryLimiter):
    """Waits before it answers, until it may go on; counts who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.go_on.set()

    async def take(self, use: Use) -> Verdict:
        verdict = await super().take(use)
        while not self.go_on.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return verdict


@pytest.fixture
def counting() -> Slow:
    return Slow()


@pytest.fixture
def path(tmp_path: Path, counting: Slow) -> Iterator[Path]:
    with limiter_at(tmp_path / "limits", lambda: counting):
        yield tmp_path / "limits"


async def until_taken(limiter: MemoryLimiter, number: int) -> None:
    await until(lambda: limiter.taken.total() == number)


async def test_all_together_have_one_limit(path: Path) -> None:
    """However unevenly their requests come, and to the last one."""
    async with SharedLimiter(path, seconds=60) as one, SharedLimiter(path, seconds=60) as two:
        many = use(requests_per_minute=40, requests_per_day=1000, visitor_per_minute=0)
        asked = [one.take(many) for _ in range(70)] + [two.take(many) for _ in range(10)]
        verdicts = await asyncio.gather(*asked)
        assert sum(verdict.refused is None for verdict in verdicts) == 40
        last = await two.take(many)
        assert (last.refused, last.limit, last.remaining) == ("requests_per_minute", 40, 0)
        assert 50 < last.reset <= 60
        guesses = [await limiter.guess("a", 3, wrong=True) for limiter in (one, two, one)]
        assert [guess.refused for guess in guesses] == [None, None, "wrong_keys"]


async def test_slots_of_a_process_that_is_gone_are_free(path: Path, counting: Slow) -> None:
    """Its connection ends when it does; others keep theirs."""
    async with SharedLimiter(path, seconds=60) as stays:
        async with SharedLimiter(path, seconds=60) as goes:
            for limiter in (stays, goes, goes):
                assert (await limiter.take(use(streams=3))).refused is None
            assert (await stays.take(use(streams=3))).refused == "streams"
        await until_taken(counting, 1)
        stays.give_back("key_1")
        await until_taken(counting, 0)


async def test_without_an_answer_a_request_goes_on(
    path: Path, counting: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once, and when it is over; a late slot is given back."""
    async with SharedLimiter(path, seconds=0.05) as limiter:
        counting.go_on.clear()
        for _ in range(3):
            assert await limiter.take(use(streams=1)) == Verdict(None)
        counting.go_on.set()
        for _ in range(3):
            limiter.give_back("key_1")
        await until_taken(counting, 0)
        limiter._seconds = 20
        assert (await limiter.take(use(streams=1))).refused is None
        limiter.give_back("key_1")
        await until_taken(counting, 0)
    lines = [record.message for record in caplog.records if "limits" in record.message]
    assert lines == ["limits are not counted: no answer in time", "limits are counted again"]


async def test_nobody_there(tmp_path: Path) -> None:
    """The same."""
    async with SharedLimiter(tmp_path / "limits") as limiter:
        assert await limiter.take(use(streams=1)) == Verdict(None)
        limiter.give_back("key_1")
        assert await limiter.guess("a", 1, wrong=True) == Verdict(None)


def test_the_end_is_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also while processes are connected, which see the end and let requests go on."""
    caplog.set_level("DEBUG", logger="asyncio")

    async def outlive() -> Verdict:
        async with SharedLimiter(tmp_path / "limits") as limiter:
            with limiter_at(tmp_path / "limits", MemoryLimiter):
                assert (await limiter.guess("a", 5, wrong=True)).remaining == 4
            return await limiter.guess("a", 5, wrong=True)

    assert asyncio.run(outlive()) == Verdict(None)
    assert "limits are not counted" in caplog.text
    assert "Exception in callback" not in caplog.text


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """A sentence, and no thread is left."""
    before = threading.active_count()
    with (
        pytest.raises(OrbitError, match="TMPDIR"),
        limiter_at(tmp_path / ("x" * 200), MemoryLimiter),
    ):
        pass
    assert threading.active_count() == before
