"""``FairQueue``: who is next, who is turned away, and that no place is ever lost."""

import asyncio
import random
from collections import Counter

import pytest

from orbit_server.config.schema import OllamaConfig
from orbit_server.errors import ModelBusy
from orbit_server.llm import build_queue
from orbit_server.llm.queue import FairQueue

pytestmark = pytest.mark.anyio


class Crowd:
    """Askers of one queue: each holds its place until it is told to leave it."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.holding: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, owner: str, *numbers: int) -> None:
        """Let ``owner`` ask once for each number, in order."""
        for number in numbers:
            name = f"{owner}{number}"
            self.tasks[name] = asyncio.create_task(self._hold(owner, name))
            await asyncio.sleep(0)

    async def _hold(self, owner: str, name: str) -> None:
        async with self.queue.place(owner):
            self.served.append(name)
            self.holding[name] = asyncio.Event()
            await self.holding[name].wait()

    async def finish(self, *names: str) -> None:
        """End what ``names`` hold, one by one, each leaving its place to the next."""
        for name in names:
            self.holding.pop(name).set()
            await self.tasks.pop(name)
            await asyncio.sleep(0)

    async def finish_all(self) -> list[str]:
        """End all in the order in which they are served; that order."""
        while self.holding:
            await self.finish(next(iter(self.holding)))
        return self.served


async def test_a_free_place_is_taken_at_once() -> None:
    """Without a crowd nobody waits, and a place is free again however it is left."""
    queue = FairQueue(1, length=0, timeout=60)
    for _ in range(3):
        async with queue.place("a"):
            assert (queue.taken, queue.waiting) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        async with queue.place("a"):
            raise ZeroDivisionError
    assert queue.taken == 0


async def test_owners_take_turns() -> None:
    """A hundred questions of one owner do not hold up the one of another; its own keep order."""
    crowd = Crowd(FairQueue(1, length=200, timeout=60))
    await crowd.ask("greedy", *range(100))
    await crowd.ask("b", 0, 1)
    await crowd.ask("c", 0)
    order = await crowd.finish_all()
    assert order[:5] == ["greedy0", "b0", "c0", "greedy1", "b1"]
    assert order[5:] == [f"greedy{number}" for number in range(2, 100)]


async def test_who_comes_back_waits_for_the_others() -> None:
    """Asking one by one brings no more turns than asking all at once."""
    crowd = Crowd(FairQueue(1, length=200, timeout=60))
    await crowd.ask("a", 0, 1, 2)
    await crowd.ask("b", 0)
    await crowd.finish("a0")
    await crowd.ask("b", 1)  # while b0 holds the place
    assert await crowd.finish_all() == ["a0", "b0", "a1", "b1", "a2"]


async def test_several_places() -> None:
    """As many as there are places are served at once, never more."""
    crowd = Crowd(FairQueue(3, length=200, timeout=60))
    await crowd.ask("a", *range(6))
    await crowd.ask("b", 0)
    assert crowd.served == ["a0", "a1", "a2"]
    await crowd.finish("a1")
    assert crowd.served[3:] == ["b0"]
    await crowd.finish_all()
    assert crowd.queue.taken == 0


async def test_no_limit() -> None:
    """0 lets everybody in."""
    crowd = Crowd(FairQueue(0, length=0, timeout=60))
    await crowd.ask("a", *range(50))
    assert len(crowd.served) == crowd.queue.taken == 50
    await crowd.finish_all()


async def test_a_full_queue_refuses_at_once() -> None:
    """The refusal comes before anything is done for the answer, and says when to try again."""
    crowd = Crowd(FairQueue(2, length=3, timeout=60))
    await crowd.ask("a", *range(5))
    with pytest.raises(ModelBusy, match="3 answers are already waiting") as refused:
        crowd.queue.place("b")
    # Two at once, 10 seconds each as a first guess, and three are waiting.
    assert refused.value.headers() == {"Retry-After": "20"}
    assert crowd.queue.refused == 1
    await crowd.finish("a0")
    await crowd.ask("b", 0)
    assert "b0" in await crowd.finish_all()


async def test_a_place_that_is_not_entered_takes_nothing() -> None:
    """Asking for one is only the check that there is room."""
    queue = FairQueue(1, length=1, timeout=60)
    places = [queue.place("a") for _ in range(9)]
    assert (queue.taken, queue.waiting) == (0, 0)
    async with places[0]:
        with pytest.raises(ModelBusy):
            await asyncio.gather(*(place.__aenter__() for place in places[1:]))


async def test_waiting_too_long() -> None:
    """It is the same refusal, and leaves the queue to the others."""
    queue = FairQueue(1, length=9, timeout=0.01)
    async with queue.place("a"):
        with pytest.raises(ModelBusy, match=r"free within 0\.01 s"):
            async with queue.place("b"):
                pass
        assert (queue.taken, queue.waiting, queue.refused) == (1, 0, 1)
    assert queue.taken == 0


async def test_retry_after_follows_how_long_answers_take() -> None:
    """Never under a second, never over the longest wait."""
    time = 0.0
    queue = FairQueue(1, length=0, timeout=120, clock=lambda: time)

    async def refused_after(seconds: float) -> int | None:
        nonlocal time
        for _ in range(50):
            async with queue.place("a"):
                time += seconds
        async with queue.place("a"):
            with pytest.raises(ModelBusy) as refused:
                queue.place("b")
        return refused.value.retry_after

    assert await refused_after(30) == 30
    assert await refused_after(0.01) == 1
    assert await refused_after(900) == 120


async def test_who_leaves_while_waiting() -> None:
    """The queue is shorter at once, and the turn goes to the next."""
    crowd = Crowd(FairQueue(1, length=9, timeout=60))
    await crowd.ask("a", 0)
    await crowd.ask("b", 0)
    await crowd.ask("c", 0)
    crowd.tasks["b0"].cancel()
    await asyncio.sleep(0)
    assert crowd.queue.waiting == 1
    assert await crowd.finish_all() == ["a0", "c0"]


@pytest.mark.parametrize("turn_first", [False, True])
async def test_who_leaves_in_the_moment_of_its_turn(turn_first: bool) -> None:
    """A place that is given to a client which is gone goes on to the next."""
    crowd = Crowd(FairQueue(1, length=9, timeout=60))
    async with crowd.queue.place("a"):
        await crowd.ask("b", 0)
        await crowd.ask("c", 0)
        if not turn_first:
            crowd.tasks["b0"].cancel()
    if turn_first:  # it was given the place just now, and has not noticed yet
        assert crowd.queue.taken == 1
        crowd.tasks["b0"].cancel()
    await asyncio.wait({crowd.tasks["b0"]})
    await asyncio.sleep(0)
    assert crowd.served == ["c0"]
    await crowd.finish("c0")
    assert (crowd.queue.taken, crowd.queue.waiting) == (0, 0)


@pytest.mark.parametrize("at_once", [1, 2, 5])
async def test_no_place_is_lost(at_once: int) -> None:
    """Whatever is asked, cancelled, refused or fails, in whatever order: at the end all is free."""
    queue = FairQueue(at_once, length=12, timeout=0.003)
    served: Counter[str] = Counter()
    most = 0

    async def ask(owner: str) -> None:
        nonlocal most
        async with queue.place(owner):
            most = max(most, queue.taken)
            served[owner] += 1
            for _ in range(random.randrange(4)):
                await asyncio.sleep(random.choice([0, 0, 0, 0.001]))
            if random.random() < 0.3:
                raise ZeroDivisionError

    tasks: list[asyncio.Task[None]] = []
    for _ in range(3000):
        step = random.random()
        if step < 0.5:
            tasks.append(asyncio.create_task(ask(random.choice("aaaaabc"))))
        elif step < 0.75 and tasks:
            random.choice(tasks[-20:]).cancel()
        else:
            await asyncio.sleep(random.choice([0, 0, 0, 0, 0.0005]))
        assert 0 <= queue.taken <= at_once
        assert 0 <= queue.waiting <= 12
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert (queue.taken, queue.waiting) == (0, 0)
    assert most == at_once
    assert set(served) == set("abc")
    kinds = {type(each) for each in ended}
    assert kinds <= {type(None), ModelBusy, ZeroDivisionError, asyncio.CancelledError}
    crowd = Crowd(queue)  # and it still works
    await crowd.ask("a", *range(at_once))
    assert len(crowd.served) == at_once
    await crowd.finish_all()


@pytest.mark.parametrize(("whole", "workers", "each"), [(4, 1, 4), (4, 3, 2), (1, 8, 1), (0, 2, 0)])
def test_workers_share(whole: int, workers: int, each: int) -> None:
    """Each gets a part, one at least, and 0 stays no limit."""
    config = OllamaConfig(concurrency=whole, queue=10 * whole)
    queue = build_queue(config, workers=workers)
    assert queue.at_once == each
    assert workers * queue.length >= config.queue
