"""What is counted: right after known traffic, nothing private, one sum of several workers."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orbit_server.app import create_app
from orbit_server.observability.metrics import Metrics, shared_by_workers
from tests.support import asgi
from tests.support.chat_server import PAIRS, ChatServer, Socket, town
from tests.support.moderator import HARMLESS, HOSTILE, Moderator
from tests.support.ollama_standin import BUSY, EndWithoutDone, Hang, NotPulled
from tests.support.server import ADMIN_TOKEN, lexical, running

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
GUARD = "gemma3:12b"


class Lenient(Moderator):
    """Takes what it does not know for harmless."""

    def judge(self, text: str) -> bool | None:
        return super().judge(text) is not False


class Figures(dict[str, float]):
    """The samples of a scrape by name and labels, as they are written; absent ones are 0."""

    def __init__(self, text: str) -> None:
        super().__init__()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{name}={sample.labels[name]}" for name in sorted(sample.labels))
                self[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value

    def __missing__(self, name: str) -> float:
        return 0.0

    def of(self, name: str) -> dict[str, float]:
        """Return all samples of one name, by their labels."""
        begin = name + "{"
        return {each[len(begin) : -1]: value for each, value in self.items() if begin in each}


async def scrape(there: ChatServer) -> Figures:
    """Ask for the figures, as a monitoring system does."""
    async with there.http.get(there.server.url + "/metrics", headers=ADMIN) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Figures(await response.text())


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[ChatServer]:
    """A server that has counted nothing yet, with a guard."""
    guarded = {"safety__mode": "fuzzy", "safety__model": GUARD, "safety__max_retries": 0}
    async with town(tmp_path, pairs=PAIRS, **guarded) as there:
        there.ollama.models[GUARD] = ["completion"]
        moderator = Lenient()

        def reply(body: dict[str, Any]) -> list[str]:
            if body["model"] == GUARD:
                return moderator.reply(body)
            return ["The library", " opens", " at nine."]

        there.ollama.reply = reply
        yield there


async def test_known_traffic_is_counted(there: ChatServer) -> None:
    """Streams, a whole answer, a refusal, wrong keys and unknown routes; each in its place."""
    await there.ask()
    await there.ask(stream_format="cumulative")
    await there.ask(stream=False)
    assert (await there.ask(HOSTILE[0])).last["blocked"]
    await there.ask(headers={"X-API-Key": "api_wrong"})
    await there.ask("")
    for path in ("/nowhere", "/admin/api-keys", "/health/live"):
        async with there.http.get(there.server.url + path):
            pass
    figures = await scrape(there)
    assert figures.of("orbit_requests_total") == {
        "outcome=completed,route=/chat,status=200": 4,
        "outcome=completed,route=/chat,status=401": 1,
        "outcome=completed,route=/chat,status=422": 1,
        "outcome=completed,route=(no route),status=404": 1,
        "outcome=completed,route=/admin/api-keys,status=401": 1,
        "outcome=completed,route=/health/live,status=200": 1,
    }
    assert figures.of("orbit_verdicts_total") == {
        "reason=safe,verdict=passed": 3,
        "reason=moderator,verdict=blocked": 1,
    }
    assert figures["orbit_verdicts_cached_total"] == 2
    assert figures.of("orbit_answer_seconds_count") == {"outcome=completed": 3}
    assert figures["orbit_first_token_seconds_count"] == 3
    assert figures.of("orbit_step_seconds_count") == {
        "step=moderation": 4,
        "step=embedding": 3,
        "step=search": 3,
    }
    tokens = [record["tokens"] for record in await there.exchanged(4)]
    assert figures["orbit_tokens_total{direction=in}"] == sum(
        each["prompt_tokens"] for each in tokens
    )
    assert figures["orbit_tokens_total{direction=out}"] == 9
    assert figures["orbit_streams_open"] == figures["orbit_chatlog_waiting"] == 0
    assert figures.of("orbit_failures_total") == {}
    assert not [name for name in figures if "shipper" in name or "_created" in name]


async def test_times_are_those_of_the_chat_log(there: ChatServer) -> None:
    """The histograms hold the seconds that an exchange's line names in milliseconds."""
    await there.ask()
    [record] = await there.exchanged(1)
    timings = record["timings_ms"]
    figures = await scrape(there)
    assert figures["orbit_first_token_seconds_sum"] == pytest.approx(timings["first_token"] / 1000)
    for step in ("embedding", "search"):
        seconds = figures[f"orbit_step_seconds_sum{{step={step}}}"]
        assert seconds == pytest.approx(timings[step] / 1000)
    total = figures["orbit_answer_seconds_sum{outcome=completed}"]
    assert timings["first_token"] / 1000 <= total <= timings["total"] / 1000 + 0.001


async def test_failures_are_counted_by_code(there: ChatServer) -> None:
    """Once each: before the head, in a stream, on an admin route, and of the guard."""
    there.ollama.fault = [None, NotPulled()]
    assert (await there.ask()).status == 502
    there.ollama.fault = EndWithoutDone(after=1)
    assert (await there.ask()).last["error"] == "model_interrupted"
    there.ollama.fault = None
    there.ollama.embed_fault = [BUSY, BUSY, BUSY]
    async with there.http.post(
        there.server.url + "/admin/collections/town/search",
        json={"question": "Something new?"},
        headers=ADMIN,
    ) as response:
        assert response.status == 503
    there.ollama.fault = NotPulled()
    assert (await there.ask(HARMLESS[0])).last["blocked"]
    figures = await scrape(there)
    assert figures.of("orbit_failures_total") == {
        "code=model_not_found": 1,
        "code=model_interrupted": 1,
        "code=model_busy": 1,
    }
    assert figures.of("orbit_answer_seconds_count") == {"outcome=failed": 2}
    assert figures["orbit_verdicts_total{reason=service,verdict=blocked}"] == 1
    requests = figures.of("orbit_requests_total")
    assert requests["outcome=failed,route=/chat,status=502"] == 1
    assert requests["outcome=failed,route=/chat,status=200"] == 1
    assert requests["outcome=failed,route=/admin/collections/{name}/search,status=503"] == 1


async def test_a_stream_is_open_until_its_client_leaves(there: ChatServer) -> None:
    """And then it is counted as disconnected, with the time it took and without tokens."""
    there.ollama.fault = [None, Hang(after=1)]
    client = await Socket.asking(there)
    await client.read_until(b"The library")
    figures = await scrape(there)
    assert figures["orbit_streams_open"] == 1
    assert figures.of("orbit_answer_seconds_count") == {}
    client.leave()
    await there.exchanged(1)
    await there.settled()
    figures = await scrape(there)
    assert figures["orbit_streams_open"] == 0
    assert figures.of("orbit_answer_seconds_count") == {"outcome=disconnected": 1}
    assert figures["orbit_requests_total{outcome=disconnected,route=/chat,status=200}"] == 1
    assert figures["orbit_tokens_total{direction=out}"] == 0


async def test_scraping_under_load(there: ChatServer) -> None:
    """Figures can be read at any moment, never go back, and are complete in the end."""
    there.ollama.piece_delay = 0.005
    answers = asyncio.gather(*(there.ask() for _ in range(40)))
    before = 0.0
    scrapes = 0
    while not answers.done():
        counted = (await scrape(there)).of("orbit_requests_total")
        now = counted.get("outcome=completed,route=/chat,status=200", 0.0)
        assert now >= before
        before, scrapes = now, scrapes + 1
    assert {reply.status for reply in await answers} == {200} and scrapes
    await there.settled()
    figures = await scrape(there)
    assert figures["orbit_requests_total{outcome=completed,route=/chat,status=200}"] == 40
    assert figures["orbit_requests_total{outcome=completed,route=/metrics,status=200}"] == scrapes
    assert figures["orbit_streams_open"] == 0


async def test_nothing_private_is_shown(there: ChatServer) -> None:
    """No key, no token, no question, no answer, no path and no address, whatever was asked."""
    key = there.headers["X-API-Key"]
    await there.ask("A secret question?")
    await there.ask(HOSTILE[0])
    await there.ask(headers={"X-API-Key": "api_guessed", "X-Request-ID": "my-own-id"})
    for path in (f"/admin/api-keys/{key}/status", "/secret/path?secret=query", f"/health?{key}"):
        async with there.http.get(there.server.url + path, headers=ADMIN):
            pass
    async with there.http.request("BREW", there.server.url + "/chat"):
        pass
    async with there.http.get(there.server.url + "/metrics", headers=ADMIN) as response:
        text = await response.text()
    assert "/admin/api-keys/{key}/status" in text
    private = (key, key[:8], ADMIN_TOKEN, "api_guessed", "my-own-id", HOSTILE[0], "secret", "BREW")
    for each in (*private, "library", "127.0.0.1", "town"):
        assert each not in text


async def test_who_may_read(tmp_path: Path) -> None:
    """The holder of the admin token; nobody where there is none; everybody where it is public."""
    config = lexical(tmp_path)
    without = config.model_copy(update={"admin_token": None})
    public = lexical(tmp_path, metrics__public=True)
    bearer = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
    async with running(config) as server:
        app = create_app(services=server.services)
        assert (await asgi.call(app, "GET", "/metrics", bearer)).status == 200
        for wrong in ([], [("Authorization", "Bearer wrong")], [("X-API-Key", ADMIN_TOKEN)]):
            refused = await asgi.call(app, "GET", "/metrics", wrong)
            assert (refused.status, refused.json()["code"]) == (401, "invalid_admin_token")
    refused = await asgi.call(create_app(without), "GET", "/metrics", bearer)
    assert (refused.status, refused.json()["code"]) == (403, "forbidden")
    shown = await asgi.call(create_app(public), "GET", "/metrics")
    assert shown.status == 200 and Figures(shown.body.decode())


async def test_applications_count_for_themselves(tmp_path: Path) -> None:
    """Two in one process share no figure."""
    one, other = (create_app(lexical(tmp_path, metrics__public=True)) for _ in range(2))
    await asgi.call(one, "GET", "/health/live")
    route = "orbit_requests_total{outcome=completed,route=/health/live,status=200}"
    counted = [await asgi.call(app, "GET", "/metrics") for app in (one, other)]
    assert [Figures(each.body.decode())[route] for each in counted] == [1, 0]


# -- the object ------------------------------------------------------------------------


async def figures_of(metrics: Metrics) -> Figures:
    """Return what ``metrics`` shows."""
    return Figures((await metrics.text()).decode())


async def test_the_event_loop_is_watched() -> None:
    """Whoever holds it up is seen, and what is looked at is up to date without a scrape."""
    looked = asyncio.Event()

    def waiting() -> int:
        looked.set()
        return 7

    async with Metrics(waiting=waiting, watch_seconds=0.01) as metrics:
        await looked.wait()
        before = (await figures_of(metrics))["orbit_event_loop_lag_seconds_sum"]
        time.sleep(0.1)  # noqa: ASYNC251
        looked.clear()
        await looked.wait()
        figures = await figures_of(metrics)
    assert figures["orbit_event_loop_lag_seconds_sum"] - before >= 0.08
    assert figures["orbit_chatlog_waiting"] == 7


async def test_losses_are_counted_once() -> None:
    """The chat log tells all it has lost; a counter takes what is new."""
    lost = 0
    metrics = Metrics(lost=lambda: lost)
    for lost in (0, 3, 3, 5):
        assert (await figures_of(metrics))["orbit_chatlog_lost_total"] == lost


async def test_the_shipper_is_asked_when_there_is_one() -> None:
    """Its lag in lines and bytes; scrapes at the same time ask one after the other."""
    asking = 0

    def lag() -> tuple[int, int]:
        nonlocal asking
        asking += 1
        assert asking == 1
        time.sleep(0.01)
        asking -= 1
        return 12, 3456

    metrics = Metrics(shipper_lag=lag, rejected=lambda: 7)
    for figures in await asyncio.gather(*(figures_of(metrics) for _ in range(5))):
        assert figures["orbit_shipper_lag_lines"] == 12
        assert figures["orbit_shipper_lag_bytes"] == 3456
        assert figures["orbit_shipper_rejected_lines"] == 7


async def test_each_host_of_the_models_is_counted() -> None:
    """What it has answered and failed is new each time; without several there are none."""
    host = ModelHost("gpu1:11434", succeeded=2, failed=1, running=1, is_out=False)
    metrics = Metrics(hosts=[host, ModelHost("gpu2:11434")])
    await figures_of(metrics)
    host.succeeded, host.failed, host.running, host.is_out = 5, 1, 0, True
    figures = await figures_of(metrics)
    assert figures.of("orbit_model_calls_total") == {"host=gpu1:11434": 5, "host=gpu2:11434": 0}
    assert figures.of("orbit_model_calls_failed_total")["host=gpu1:11434"] == 1
    assert figures.of("orbit_model_calls_running")["host=gpu1:11434"] == 0
    assert figures.of("orbit_model_host_up") == {"host=gpu1:11434": 0, "host=gpu2:11434": 1}
    assert "orbit_model" not in (await Metrics().text()).decode()


async def test_reasons_are_bounded() -> None:
    """A guard model may name any set of categories; they are one label."""
    metrics = Metrics()
    for reason in ("category S1", "category S1,S9", "category S4"):
        metrics.verdict(safe=False, reason=reason, cached=False, seconds=0.1)
    figures = await figures_of(metrics)
    assert figures.of("orbit_verdicts_total") == {"reason=category,verdict=blocked": 3}


async def test_tokens_per_second() -> None:
    """From the first text to the end; an answer of one token has no speed."""
    metrics = Metrics()
    timings = {"first_token": 500.0, "total": 2500.0}
    for tokens in (41, 1):
        usage = {"prompt_tokens": 9, "completion_tokens": tokens}
        metrics.answer("completed", result="found", timings_ms=timings, usage=usage)
    figures = await figures_of(metrics)
    assert figures["orbit_tokens_per_second_count"] == 1
    assert figures["orbit_tokens_per_second_sum"] == 20


async def test_results() -> None:
    """Answers from passages, without any and without need of them; none for one that broke off."""
    metrics = Metrics()
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    for result in ("found", "not_found", "small_talk", "found", None):
        metrics.answer("completed", result=result, timings_ms={"total": 1.0}, usage=usage)
    figures = await figures_of(metrics)
    assert figures.of("orbit_answers_total") == {
        "result=found": 2,
        "result=not_found": 1,
        "result=small_talk": 1,
    }


@dataclass
class ModelHost:
    """One of several hosts, as far as metrics look at it."""

    name: str
    succeeded: int = 0
    failed: int = 0
    running: int = 0
    is_out: bool = False


# -- several processes -----------------------------------------------------------------

WORKER = """
import asyncio, sys
from orbit_server.observability.metrics import Metrics

from types import SimpleNamespace

host = SimpleNamespace(name="gpu", succeeded=2, failed=1, running=3, is_out="out" in sys.argv)
metrics = Metrics(shipper_lag=lambda: (5, 500), hosts=[host])
for line in sys.stdin:
    if line == "text\\n":
        print(asyncio.run(metrics.text()).decode() + "# end", flush=True)
        continue
    metrics.request({"route": "/chat", "status": 200, "outcome": "completed", "error": None})
    metrics.stream_begins()
    print("counted", flush=True)
"""


class Worker:
    """A process that counts a request and an open stream when told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def count(self) -> None:
        """Let it count once."""
        assert self._tell("count") == "counted\n"

    def figures(self) -> Figures:
        """Let it say what all have counted."""
        text = line = self._tell("text")
        while line != "# end\n":
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            assert line, "the worker ended"
            text += line
        return Figures(text)

    def _tell(self, order: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def worker(*arguments: str) -> Iterator[Worker]:
    """Run a worker in this environment."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


def test_workers_add_up() -> None:
    """What a killed one has counted stays; its open streams are gone."""
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    with shared_by_workers():
        directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        assert list(directory.iterdir()) == []
        with worker() as one, worker("out") as other:
            one.count()
            other.count()
            other.count()
            for figures in (one.figures(), other.figures()):
                assert list(figures.of("orbit_requests_total").values()) == [3]
                assert figures["orbit_streams_open"] == 3
                assert figures["orbit_shipper_lag_lines"] == 5
            assert other.figures().of("orbit_model_calls_total") == {"host=gpu": 4}
            assert other.figures().of("orbit_model_calls_running") == {"host=gpu": 6}
            assert other.figures().of("orbit_model_host_up") == {"host=gpu": 0}
            other.process.send_signal(signal.SIGKILL)
            other.process.wait()
            figures = one.figures()
            assert list(figures.of("orbit_requests_total").values()) == [3]
            assert figures["orbit_streams_open"] == 1
    assert not directory.exists()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


# -- the name of a request -------------------------------------------------------------


async def test_the_guard_names_the_request(
    there: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    """``X-Request-ID`` goes to the moderating model, and into the log lines about it."""
    there.ollama.fault = [NotPulled()]
    with caplog.at_level(logging.WARNING, "orbit_server.safety.guard"):
        await there.ask(headers={"X-Request-ID": "of-mine"}, request_id="of-the-body")
    moderation = [each for each in there.ollama.requests if each.path == "/api/chat"]
    assert [each.headers["x-request-id"] for each in moderation] == ["of-mine"]
    assert [each.getMessage()[:17] for each in caplog.records] == ["request of-mine: "]
