"""``responses``: whole answers, made until the client leaves or the server stops."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from starlette.requests import Request

from orbit_server.answering import Answer
from orbit_server.answering.extractive import FixedText
from orbit_server.api.responses import CompleteStream, WholeAnswer, wants_stream
from orbit_server.api.shutdown import Shutdown
from orbit_server.errors import KeyEnded, ModelBusy, OrbitError, ShuttingDown
from orbit_server.types import ExchangeResult, Passage, Question, Retrieved
from tests.support import asgi

pytestmark = pytest.mark.anyio

PASSAGE = Passage(id="1", text="At nine.", title="Hours", source="hours.md", score=0.9)


async def never() -> None:
    await asyncio.Event().wait()


async def now() -> None:
    pass


class Exchange:
    """A whole answer under test, and how it ended; the search fails, or hangs for ``None``."""

    def __init__(self, failure: Exception | bool = False, *, stops: bool = False) -> None:
        self.results: list[ExchangeResult] = []
        self.searching = asyncio.Event()
        self.cancelled = False
        self.client = asgi.Client(asgi.scope("POST", "/chat"), [])
        self._failure = failure
        answer = Answer(
            Question(message="When?"),
            "town",
            retrieve=self._retrieve,
            generate=self._generate,
            nothing_found="Nothing.",
        )
        shutdown = Shutdown(0, stopping=now if stops else never)
        self.end_key: Callable[[], object] = lambda: None
        self.response = WholeAnswer(
            answer, finish=self._finish, shutdown=shutdown, key_ending=self._key_ending
        )

    @contextmanager
    def _key_ending(self, over: Callable[[], object]) -> Iterator[None]:
        self.end_key = over
        yield

    async def _retrieve(self, question: Question, collection: str) -> Retrieved:
        self.searching.set()
        if isinstance(self._failure, Exception):
            raise self._failure
        try:
            await (never() if self._failure else now())
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return Retrieved([PASSAGE])

    def _generate(self, question: Question, retrieved: Retrieved) -> FixedText:
        return FixedText(["At", " nine."])

    async def _finish(self, result: ExchangeResult) -> None:
        self.results.append(result)

    async def run(self) -> asgi.Result:
        await asyncio.wait_for(self.client.run(self.response), 60)
        return self.client.result


async def test_a_whole_answer() -> None:
    """Text, sources and counts in one object; logged before it goes out."""
    exchange = Exchange()
    reply = (await exchange.run()).json()
    assert reply["response"] == "At nine."
    assert [source["id"] for source in reply["sources"]] == ["1"]
    assert exchange.results == [ExchangeResult("At nine.", "completed")]


async def test_a_client_that_leaves() -> None:
    """Its work stops, and nothing is sent."""
    exchange = Exchange(True)
    run = asyncio.create_task(exchange.run())
    await exchange.searching.wait()
    exchange.client.leave()
    assert (await run).messages == []
    assert exchange.cancelled
    assert exchange.results == [ExchangeResult("", "disconnected")]


async def test_a_failure_is_raised_to_become_a_status() -> None:
    """After it is written down."""
    failure = ModelBusy("full")
    exchange = Exchange(failure)
    with pytest.raises(ModelBusy):
        await exchange.run()
    assert exchange.results == [ExchangeResult("", "failed", failure)]


async def test_a_bug_of_ours_is_an_error_without_details() -> None:
    """The log has the traceback."""
    exchange = Exchange(ZeroDivisionError("secret"))
    with pytest.raises(OrbitError) as raised:
        await exchange.run()
    assert "secret" not in str(raised.value)
    assert exchange.results[0].outcome == "failed"


async def test_a_server_that_stops() -> None:
    """An answer that is not ready by then is 503."""
    exchange = Exchange(True, stops=True)
    with pytest.raises(ShuttingDown):
        await exchange.run()
    assert exchange.cancelled
    assert exchange.results[0].outcome == "failed"


async def test_a_key_that_ends() -> None:
    """Its answer is 401."""
    exchange = Exchange(True)
    running = asyncio.create_task(exchange.run())
    await exchange.searching.wait()
    exchange.end_key()
    with pytest.raises(KeyEnded):
        await running
    assert exchange.cancelled
    assert exchange.results[0].outcome == "failed"


async def test_a_complete_stream_is_a_stream() -> None:
    """Its head says the same as that of a stream that is still being made."""
    result = await asgi.call(CompleteStream(b"data: {}\n\n"), "GET", "/")
    assert result.headers["Content-Type"].startswith("text/event-stream")
    assert result.headers["X-Accel-Buffering"] == "no"
    assert "no-transform" in result.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("stream", "accept", "streams"),
    [
        (True, "*/*", True),
        (True, "application/json", True),
        (False, "text/event-stream", True),
        (False, "*/*", False),
    ],
)
def test_who_wants_a_stream(stream: bool, accept: str, streams: bool) -> None:
    """The body or the Accept header may ask for it."""
    request = Request(asgi.scope("POST", "/chat", [("Accept", accept)]))
    assert wants_stream(request, Question(message="When?", stream=stream)) is streams
