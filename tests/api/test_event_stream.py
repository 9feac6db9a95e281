"""Answers as Server-Sent Events, driven by hand: what is sent when, and how a stream ends."""

import asyncio
import gc
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import pytest

from orbit_server.answering.answer import Answer
from orbit_server.api.event_stream import EventStream, server_stopping
from orbit_server.api.events import done_event, event
from orbit_server.api.shutdown import Shutdown
from orbit_server.errors import KeyEnded, ModelBusy, ModelInterrupted, OrbitError
from orbit_server.types import ExchangeResult, Passage, Question, Retrieved
from tests.support import asgi
from tests.support.server import events

pytestmark = pytest.mark.anyio

SLOWLY: dict[str, Any] = {"cumulative": True, "cumulative_seconds": 30.0}
PASSAGE = Passage(id="1", text="At nine.", title="Hours", source="hours.md", score=0.9)


@dataclass
class Ending:
    """A key that ends when told to."""

    over: Callable[[], object] = lambda: None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def __call__(self, over: Callable[[], object]) -> Iterator[None]:
        self.over = over
        self.begun.set()
        yield
        self.over = lambda: None


def half_a_minute() -> Shutdown:
    return Shutdown(30, stopping=server_stopping)


Step = Sequence[str] | float | Exception | asyncio.Event


class Scripted:
    """A text stream that follows a script of pieces, pauses in seconds, events, and errors."""

    def __init__(self, *steps: Step) -> None:
        self.usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        self.finish_reason = "stop"
        self.entered = self.exited = self.stepping = False
        self._steps = iter(steps)

    async def __aenter__(self) -> Self:
        self.entered = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert not self.stepping, "closed in the middle of a step"
        await asyncio.sleep(0)  # clean-up that is cancelled would not get past this
        self.exited = True

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    async def __anext__(self) -> list[str]:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                await self._pause(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            else:
                return list(step)
        raise StopAsyncIteration

    async def _pause(self, seconds: float) -> None:
        self.stepping = True
        try:
            await asyncio.sleep(seconds)
        finally:
            try:
                await asyncio.sleep(0.02)  # as a step that is cancelled may take its time
            finally:
                self.stepping = False


class Exchange:
    """A stream under test, and how it ended."""

    def __init__(self, *steps: Step, **options: Any) -> None:
        self.script = Scripted(*steps)
        self.endings: list[ExchangeResult] = []
        self.sent_at_end: list[int] = []
        self.client = asgi.Client(asgi.scope("POST", "/chat"), [])
        self.stream = EventStream(
            self.answer(),
            finish=self._finish,
            **{"shutdown": half_a_minute(), **options},
        )

    def answer(self) -> Answer:
        async def retrieve(question: Question, collection: str) -> Retrieved:
            return Retrieved([PASSAGE])

        return Answer(
            Question(message="When?"),
            "town",
            retrieve=retrieve,
            generate=lambda question, passages: self.script,
            nothing_found="Nothing.",
        )

    async def _finish(self, ending: ExchangeResult) -> None:
        await asyncio.sleep(0)
        self.endings.append(ending)
        self.sent_at_end.append(len(self.client.result.messages))

    async def run(self) -> asgi.Result:
        await asyncio.wait_for(self.client.run(self.stream), 60)
        return self.client.result

    @property
    def ending(self) -> ExchangeResult:
        (ending,) = self.endings
        return ending

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.client.result.messages[1:]]


def sent(exchange: Exchange) -> list[str]:
    """Return the texts of all events but the last."""
    return [event["text"] for event in events(b"".join(exchange.bodies))[:-1]]


# -- events ----------------------------------------------------------------------------


def test_events_are_written_as_documented() -> None:
    """Byte for byte, with the spaces that hand-written readers look for."""
    assert event("Hi") == b'data: {"text": "Hi", "done": false}\n\n'
    assert event("Oh", error="x") == b'data: {"text": "Oh", "done": false, "error":"x"}\n\n'
    assert done_event() == b'data: {"text": "", "done": true}\n\n'
    assert done_event(a=1) == b'data: {"text": "", "done": true, "a":1}\n\n'


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\r\nc\rd\n\n",
        "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e",
        "\x00\x1f\x7f",
        'quote " backslash \\ slash /',
        "data: [DONE]\n\n",
        "😀👩‍👩‍👧 Grüße 你好 e\u0301",
        "\ud83d",
        "\ude00 and \ud800 alone",
        "",
        " ",
    ],
)
def test_any_text_survives_in_one_line(text: str) -> None:
    """No reader may find a line end inside an event, and JSON gives the very text back."""
    for data in (event(text), done_event(text=text)):
        assert data.endswith(b"\n\n")
        line = data.decode().removesuffix("\n\n")
        assert len(line.splitlines()) == 1
        assert line.startswith("data: ")
        assert json.loads(line.removeprefix("data: "))["text"] == text


# -- the head --------------------------------------------------------------------------


async def test_pieces_of_one_read_go_out_in_one_write() -> None:
    """A piece is an event, a read of the model's stream is a ``send``."""
    exchange = Exchange(["a", "b", "c"], ["d"])
    await exchange.run()
    assert exchange.bodies[0] == event("a") + event("b") + event("c")
    assert exchange.bodies[1] == event("d")
    assert len(exchange.bodies) == 3


async def test_head_waits_for_the_first_text() -> None:
    """Nothing is sent before there is something to say, so that a failure can be a status."""
    exchange = Exchange(0.05, [], 0.05, ["a"], head_timeout=30)
    result = await exchange.run()
    assert result.times[0] >= 0.1
    assert exchange.bodies[0] == event("a")


async def test_failure_before_the_head_is_raised() -> None:
    """It becomes a status above; nothing was sent, and the exchange has ended as failed."""
    failure = ModelBusy("the queue is full")
    exchange = Exchange(0.01, failure)
    with pytest.raises(ModelBusy):
        await exchange.run()
    assert exchange.client.result.messages == []
    assert (exchange.ending.outcome, exchange.ending.error) == ("failed", failure)
    assert exchange.script.exited


@pytest.mark.parametrize("cumulative", [False, True])
async def test_overdue_head_goes_out_with_a_comment(cumulative: bool) -> None:
    """After ``head_timeout`` the client learns that it is being served; then the text follows."""
    greeted = asyncio.Event()
    exchange = Exchange(greeted, ["a"], head_timeout=0.02, cumulative=cumulative)
    exchange.client.calls[2] = greeted.set
    await exchange.run()
    assert exchange.bodies[0] == b": ping\n\n"
    assert exchange.bodies[1] == event("a")


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("turns", range(6))
async def test_failure_just_when_the_head_is_due(turns: int, cumulative: bool) -> None:
    """It is a status with nothing sent, or a whole stream that says it; never something between."""
    for _ in range(10):
        steps: list[float | Exception] = [0.01, *[0.0] * turns, ModelBusy("the queue is full")]
        exchange = Exchange(*steps, head_timeout=0.01, cumulative=cumulative)
        exchange.script._pause = asyncio.sleep  # type: ignore[assignment]
        try:
            result = await exchange.run()
        except ModelBusy:
            assert exchange.client.result.messages == []
        else:
            assert result.complete
            assert events(result.body)[-1]["error"] == "model_busy"
        assert exchange.ending.outcome == "failed"


@pytest.mark.parametrize("cumulative", [False, True])
async def test_failure_after_an_overdue_head_is_said_in_band(cumulative: bool) -> None:
    """With nothing said before, the sentence stands alone; then the done event, with the code."""
    failure = ModelBusy("the queue is full")
    exchange = Exchange(0.1, failure, head_timeout=0.01, cumulative=cumulative)
    result = await exchange.run()
    assert result.complete
    said = events(result.body)
    assert said[0] == {"text": failure.detail, "done": False, "error": "model_busy"}
    assert said[1]["error"] == "model_busy"
    assert (said[1]["done"], said[1]["text"]) == (True, "")
    assert exchange.ending == ExchangeResult(failure.detail, "failed", failure)


async def test_pings_go_on_while_the_model_is_silent() -> None:
    """They come before the first text and later, at their interval, and are comments."""
    begin, go_on = asyncio.Event(), asyncio.Event()
    exchange = Exchange(begin, ["a"], go_on, ["b"], head_timeout=0.02, ping=0.05)
    exchange.client.calls |= {4: begin.set, 8: go_on.set}
    await exchange.run()
    kinds = [body if body == b": ping\n\n" else b"text" for body in exchange.bodies]
    first, second = (place for place, kind in enumerate(kinds[:-1]) if kind == b"text")
    assert first >= 2
    assert second - first >= 2
    assert sent(exchange) == ["a", "b"]


# -- ends ------------------------------------------------------------------------------


async def test_exchange_is_finished_before_the_last_event() -> None:
    """Whoever has read the done event finds the exchange in the log."""
    exchange = Exchange(["a"], ["b"])
    await exchange.run()
    assert exchange.ending == ExchangeResult("ab", "completed")
    assert exchange.sent_at_end == [3]
    assert len(exchange.client.result.messages) == 4


@pytest.mark.parametrize("cumulative", [False, True])
async def test_broken_stream_says_so_in_both_formats(cumulative: bool) -> None:
    """A blank line, a sentence for the reader, the code, the done event."""
    failure = ModelInterrupted("llama.cpp at 10.0.0.7 crashed")
    exchange = Exchange(["It opens"], [" at"], failure, cumulative=cumulative)
    result = await exchange.run()
    said = events(result.body)
    whole = f"It opens at\n\n{failure.detail}"
    read = said[-2]["text"] if cumulative else "".join(part["text"] for part in said)
    assert read == whole
    assert [part.get("error") for part in said[-2:]] == ["model_interrupted"] * 2
    assert all("error" not in part for part in said[:-2])
    assert b"10.0.0.7" not in result.body
    assert exchange.ending == ExchangeResult(whole, "failed", failure)


@pytest.mark.parametrize("cumulative", [False, True])
async def test_unexpected_failure_is_no_secret_and_no_cut(
    cumulative: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours ends the stream properly, is logged with its traceback, and says nothing."""
    exchange = Exchange(["a"], ValueError("secret"), cumulative=cumulative)
    result = await exchange.run()
    assert result.complete
    assert b"secret" not in result.body and b"ValueError" not in result.body
    assert events(result.body)[-1]["error"] == "internal_error"
    assert "secret" in caplog.text
    error = exchange.ending.error
    assert error is not None and error.code == "internal_error"


async def test_unexpected_failure_before_the_head_is_ours() -> None:
    """It is raised as the one error that has a body."""
    exchange = Exchange(ValueError("secret"))
    with pytest.raises(OrbitError) as raised:
        await exchange.run()
    assert raised.value.code == "internal_error"


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("after", [1, 2], ids=["head", "text"])
async def test_client_that_leaves_ends_the_upstream(after: int, cumulative: bool) -> None:
    """The upstream's clean-up runs to its end, and the exchange keeps the text so far."""
    exchange = Exchange(["a"], 30.0, ["b"], cumulative=cumulative)
    exchange.client._disconnect_after = after
    before = asyncio.all_tasks()
    await exchange.run()
    assert exchange.script.exited
    assert exchange.ending == ExchangeResult("a", "disconnected")
    assert left_over(before) == set()


@pytest.mark.parametrize("cumulative", [False, True])
async def test_client_that_leaves_before_the_head(cumulative: bool) -> None:
    """Nothing was sent, and nothing goes on."""
    exchange = Exchange(30.0, cumulative=cumulative)
    before = asyncio.all_tasks()
    asyncio.get_running_loop().call_later(0.02, exchange.client.leave)
    await exchange.run()
    assert exchange.script.exited
    assert exchange.ending == ExchangeResult("", "disconnected")
    assert left_over(before) == set()


@pytest.mark.parametrize("cumulative", [False, True])
async def test_client_that_leaves_while_it_is_searched(cumulative: bool) -> None:
    """The search itself is cancelled."""
    exchange = Exchange(["a"])
    searching = asyncio.Event()
    stopped = asyncio.Event()

    async def retrieve(question: Question, collection: str) -> Retrieved:
        searching.set()
        try:
            await asyncio.sleep(30)
        finally:
            stopped.set()
        return Retrieved([PASSAGE])

    answer = exchange.answer()
    answer._retrieve = retrieve
    exchange.stream = EventStream(
        answer,
        finish=exchange._finish,
        shutdown=half_a_minute(),
        cumulative=cumulative,
    )
    before = asyncio.all_tasks()
    run = asyncio.create_task(exchange.run())
    await searching.wait()
    exchange.client.leave()
    await run
    assert stopped.is_set()
    assert not exchange.script.entered
    assert exchange.ending == ExchangeResult("", "disconnected")
    assert left_over(before | {run}) == set()


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("taken", [0, 1, 2], ids=["nothing", "head", "text"])
async def test_client_that_stops_reading_is_let_go(taken: int, cumulative: bool) -> None:
    """It holds a model for ``stalled`` seconds and no longer."""
    pieces = [["word "]] * 50
    exchange = Exchange(
        *(step for piece in pieces for step in (piece, 0.01)),
        30.0,
        head_timeout=0.05,
        ping=0.05,
        stalled=0.1,
        cumulative=cumulative,
    )
    exchange.client._slow_after = taken
    before = asyncio.all_tasks()
    result = await exchange.run()
    assert not result.complete
    assert exchange.script.exited
    assert exchange.ending.outcome == "disconnected"
    assert left_over(before) == set()


async def test_client_that_does_not_take_the_last_event_is_let_go() -> None:
    """The text was complete, and so the log says; the connection is not held for it."""
    exchange = Exchange(["a"], head_timeout=1, ping=0.05, stalled=0.1)
    exchange.client._slow_after = 2
    result = await exchange.run()
    assert not result.complete
    assert exchange.script.exited
    assert exchange.ending == ExchangeResult("a", "completed")


async def test_client_that_pauses_and_goes_on_misses_nothing() -> None:
    """Being slow for less than ``stalled`` costs nothing."""
    words = [[f"{number} "] for number in range(100)]
    exchange = Exchange(*words, head_timeout=0.05, ping=0.05, stalled=30)
    exchange.client._slow_after = 5
    asyncio.get_running_loop().call_later(0.2, exchange.client.go_on)
    result = await exchange.run()
    assert result.complete
    assert "".join(sent(exchange)) == "".join(word for (word,) in words)


async def test_failing_step_of_a_client_that_left_is_nobodys_surprise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Leaving and failing at the same moment leaves no unretrieved exception behind."""
    for _ in range(20):
        exchange = Exchange(["a"], 0.002, ModelBusy("late"), cumulative=True)
        asyncio.get_running_loop().call_later(0.002, exchange.client.leave)
        await exchange.run()
        assert exchange.script.exited
    gc.collect()
    assert "never retrieved" not in caplog.text


# -- the cumulative format -------------------------------------------------------------


async def test_cumulative_sends_the_first_text_at_once() -> None:
    """Even a single letter, so that the reader sees that it begins."""
    seen = asyncio.Event()
    exchange = Exchange(["a"], seen, ["b" * 30], cumulative=True)
    exchange.client.calls[2] = seen.set
    await exchange.run()
    assert sent(exchange) == ["a", "a" + "b" * 30]


async def test_cumulative_waits_for_24_characters() -> None:
    """Small pieces are gathered while they come fast."""
    exchange = Exchange(
        ["a"], *([letter] for letter in "b" * 60), cumulative=True, cumulative_seconds=30
    )
    await exchange.run()
    assert [len(text) for text in sent(exchange)] == [1, 25, 49, 61]


async def test_cumulative_waits_for_two_percent_of_a_long_text() -> None:
    """What has been sent already is sent again less and less often."""
    exchange = Exchange(
        ["a" * 5000], *(["b"] for _ in range(250)), cumulative=True, cumulative_seconds=30
    )
    await exchange.run()
    assert [len(text) for text in sent(exchange)] == [5000, 5100, 5202, 5250]


async def test_cumulative_waits_no_longer_than_a_quarter_of_a_second() -> None:
    """A slow model's words appear although they are few; they do not wait for each other."""
    seen = asyncio.Event()
    exchange = Exchange(["a"], ["b"], seen, ["c"], cumulative=True)
    exchange.client.calls[3] = seen.set
    result = await exchange.run()
    assert sent(exchange) == ["a", "ab", "abc"]
    first, second = result.times[1:3]
    assert second - first > 0.2


async def test_cumulative_quarter_second_counts_from_the_first_piece_that_waits() -> None:
    """Pieces that keep dripping in do not push it back."""
    drip: list[Step] = []
    for _ in range(20):
        drip += [0.05, ["b"]]
    exchange = Exchange(["a"], *drip, cumulative=True)
    await exchange.run()
    assert len(sent(exchange)) >= 4


async def test_cumulative_costs_a_few_times_the_bytes_not_dozens() -> None:
    """Two thousand words arrive one by one; every event repeats all that came before."""
    words = [[f"{random.Random(n).choice(['tea', 'library', 'council'])} "] for n in range(2000)]
    plain, repeated = Exchange(*words), Exchange(*words, **SLOWLY)
    await plain.run()
    await repeated.run()
    text = "".join(sent(plain))
    assert sent(repeated)[-1] == text
    assert all(later.startswith(earlier) for earlier, later in pairwise(sent(repeated)))
    once = sum(map(len, plain.bodies))
    assert sum(map(len, repeated.bodies)) < 8 * once
    after_every_word = sum(len(event(" " * length)) for length in range(0, len(text), 8))
    assert after_every_word > 60 * once


def left_over(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks that are new, but for sse-starlette's one watcher of the loop."""
    return {task for task in asyncio.all_tasks() - before if "_shutdown_watcher" not in repr(task)}


# -- a key that ends -------------------------------------------------------------------


@pytest.mark.parametrize("cumulative", [False, True])
async def test_a_stream_ends_with_its_key(cumulative: bool) -> None:
    """With a sentence and a code, whatever the model would still have said."""
    key = Ending()
    exchange = Exchange(["a"], 3600.0, ["b"], key_ending=key, cumulative=cumulative)
    running = asyncio.create_task(exchange.run())
    async with asyncio.timeout(30):
        while not exchange.client.result.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    key.over()
    received = events((await running).body)
    assert received[-1]["done"] is True
    assert [each.get("error") for each in received[-2:]] == ["key_ended"] * 2
    assert received[-2]["text"].endswith(KeyEnded.sentence)
    assert (exchange.ending.outcome, str(exchange.ending.error)) == ("failed", KeyEnded.sentence)
    assert exchange.script.exited


async def test_a_key_that_ends_before_the_head_is_a_status() -> None:
    """Nothing was sent."""
    key = Ending()
    exchange = Exchange(3600.0, key_ending=key, head_timeout=3600)
    running = asyncio.create_task(exchange.run())
    await key.begun.wait()
    key.over()
    with pytest.raises(KeyEnded):
        await running
    assert exchange.client.result.messages == []
    assert exchange.script.exited


async def test_a_key_that_has_ended_already_is_a_status() -> None:
    """It ends between the layer that knows it and the stream: nothing is searched for it."""

    @contextmanager
    def ended(over: Callable[[], object]) -> Iterator[None]:
        over()
        yield

    exchange = Exchange(["a"], key_ending=ended)
    with pytest.raises(KeyEnded):
        await exchange.run()
    assert exchange.client.result.messages == []
    assert not exchange.script.entered
    assert exchange.ending.outcome == "failed"


async def test_a_second_interruption_does_not_cut_the_end_of_a_step() -> None:
    """The client leaves while the step that the key's end cancelled takes its time."""
    key = Ending()
    exchange = Exchange(["a"], 3600.0, key_ending=key, cumulative=True)
    running = asyncio.create_task(exchange.run())
    async with asyncio.timeout(30):
        while not exchange.client.result.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    key.over()
    await asyncio.sleep(0.005)
    exchange.client.leave()
    await running
    assert exchange.script.exited
