"""Metrics: what is counted, in the format of Prometheus.

Labels are words of our own: templates of routes, statuses, codes, names of steps. Never a path, a
key or what somebody wrote, so that nothing private is shown and the number of series is bounded.

Several worker processes count into the files of one directory (``shared_by_workers``), and the
one that is asked adds them up.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""The media type of ``Metrics.text``."""

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "orbit-metrics-"
# The library decides for good when it is imported where it counts.
_SHARED = os.environ.get(_DIRECTORY)

_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300)
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RATES = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 500, 1000)
_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class ModelHost(Protocol):
    """One of several hosts of the models: what it has done so far, what it does, if it is out."""

    @property
    def name(self) -> str: ...

    @property
    def succeeded(self) -> int: ...

    @property
    def failed(self) -> int: ...

    @property
    def running(self) -> int: ...

    @property
    def is_out(self) -> bool: ...


class Metrics:
    """The metrics of one application, in a registry of its own.

    ``waiting`` and ``lost`` return how many lines of the chat log are queued now and were lost so
    far; ``queued`` and ``refused`` how many answers wait for the model now and found no room in its
    queue so far; ``shipper_lag`` how many lines and bytes of the log are not yet in Elasticsearch,
    ``rejected`` how many lines it did not take. These two are called in a thread at each scrape,
    and without ``shipper_lag`` there is no metric of a shipper. ``hosts`` are those of the models,
    where there are several. In ``async with``, a task samples every ``watch_seconds``, and thereby
    measures how late the event loop is.
    """

    def __init__(
        self,
        *,
        waiting: Callable[[], int] = lambda: 0,
        lost: Callable[[], int] = lambda: 0,
        queued: Callable[[], int] = lambda: 0,
        refused: Callable[[], int] = lambda: 0,
        shipper_lag: Callable[[], tuple[int, int]] | None = None,
        rejected: Callable[[], int] = lambda: 0,
        hosts: Sequence[ModelHost] = (),
        watch_seconds: float = 0.5,
    ) -> None:
        self._rejected = rejected
        self._watch_seconds = watch_seconds
        self._waiting, self._lost, self._shipper_lag = waiting, lost, shipper_lag
        self._lost_before = 0
        self._queued, self._refused = queued, refused
        self._refused_before = 0
        self._hosts, self._hosts_before = hosts, {host.name: (0, 0) for host in hosts}
        self._watching: asyncio.Task[None] | None = None
        self._asked = asyncio.Lock()
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="orbit", registry=registry)

        def gauge(name: str, text: str, mode: Any = "livesum", labels: Sequence[str] = ()) -> Gauge:
            return Gauge(
                name, text, labels, namespace="orbit", registry=registry, multiprocess_mode=mode
            )

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                name, text, labels, namespace="orbit", registry=registry, buckets=buckets
            )

        # Finding the series of some labels takes the library longer than counting in it.
        self._requests = cache(
            counter("requests", "Requests, by how they ended.", "route", "status", "outcome").labels
        )
        self._failures = cache(
            counter("failures", "Failed requests, by the code of the error.", "code").labels
        )
        self._refusals = cache(
            counter(
                "refusals", "Requests that were refused unread, by the limit or rule.", "reason"
            ).labels
        )
        self._answer = cache(
            histogram(
                "answer_seconds", "From the checked question to the end.", _LONG, "outcome"
            ).labels
        )
        self._results = cache(
            counter(
                "answers", "Answers, by whether passages were found or needed.", "result"
            ).labels
        )
        self._first_token = histogram(
            "first_token_seconds", "From the checked question to the first text.", _LONG
        )
        self._step = cache(
            histogram("step_seconds", "Steps on the way to an answer.", _SHORT, "step").labels
        )
        self._tokens = cache(
            counter("tokens", "Tokens the answering model read and wrote.", "direction").labels
        )
        self._rate = histogram(
            "tokens_per_second", "How fast each answer was written, from its first text.", _RATES
        )
        self._streams = gauge("streams_open", "Streams now being sent.")
        self._queue_wait = histogram(
            "queue_seconds", "How long answers waited in the queue for the model.", _LONG
        )
        self._queue_waiting = gauge("queue_waiting", "Answers now waiting in the queue.")
        self._queue_refused = counter(
            "queue_refused", "Answers refused because the queue was full, or its wait too long."
        )
        if hosts:
            self._calls = counter("model_calls", "Calls that a host has answered.", "host")
            self._calls_failed = counter("model_calls_failed", "Calls that failed there.", "host")
            self._calls_running = gauge("model_calls_running", "Calls now.", labels=["host"])
            up = "1 while the host gets work, 0 while it is out."
            self._host_up = gauge("model_host_up", up, "livemin", ["host"])
        self._ratings = counter("ratings", "Ratings of answers by readers.", "rating")
        self._verdicts = counter("verdicts", "Safety verdicts.", "verdict", "reason")
        self._verdicts_cached = counter("verdicts_cached", "Safety checks answered from the cache.")
        self._loop_lag = histogram(
            "event_loop_lag_seconds", "How late the event loop runs what is due.", _LAGS
        )
        self._log_waiting = gauge("chatlog_waiting", "Lines of the chat log not yet written.")
        self._log_lost = counter("chatlog_lost", "Lines of the chat log that were lost.")
        if shipper_lag is not None:
            mode = "livemostrecent"  # one shipper a host: every worker sees the same files
            self._to_ship = (
                gauge("shipper_lag_lines", "Lines not yet in Elasticsearch.", mode),
                gauge("shipper_lag_bytes", "Bytes not yet in Elasticsearch.", mode),
                gauge("shipper_rejected_lines", "Lines that Elasticsearch rejected.", mode),
            )

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch(), name="metrics")
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self._watching = self._watching, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def request(self, record: Mapping[str, Any]) -> None:
        """Count one record of the request log."""
        status = record["status"] or "none"
        self._requests(record["route"], status, record["outcome"]).inc()
        if record["error"]:
            self._failures(record["error"]).inc()

    def refused(self, reason: str) -> None:
        """Count a request that was refused by a limit, or for the site that it came from."""
        self._refusals(reason).inc()

    def stream_begins(self) -> None:
        """Count a stream as open."""
        self._streams.inc()

    def stream_ends(self) -> None:
        """Count a stream as closed."""
        self._streams.dec()

    def verdict(self, *, safe: bool, reason: str, cached: bool, seconds: float) -> None:
        """Count a safety verdict. Of a ``reason``, its first word is used; there are few."""
        kind = reason.partition(" ")[0] or "safe"
        self._verdicts.labels("passed" if safe else "blocked", kind).inc()
        if cached:
            self._verdicts_cached.inc()
        self._step("moderation").observe(seconds)

    def rating(self, rating: int) -> None:
        """Count what a reader thinks of an answer: 1 or -1."""
        self._ratings.labels("up" if rating > 0 else "down").inc()

    def answer(
        self,
        outcome: str,
        *,
        result: str | None,
        timings_ms: Mapping[str, float],
        usage: Mapping[str, int],
    ) -> None:
        """Count an answer that has ended.

        ``result`` is what became of the question, if it came that far. ``timings_ms`` are
        milliseconds by step with the ``total``, and with ``first_token`` where any text came;
        ``usage`` counts ``prompt_tokens`` and ``completion_tokens``.
        """
        steps = dict(timings_ms)
        total = steps.pop("total") / 1000
        if "queue" in steps:
            self._queue_wait.observe(steps.pop("queue") / 1000)
        self._answer(outcome).observe(total)
        if result is not None:
            self._results(result).inc()
        written = usage["completion_tokens"]
        if "first_token" in steps:
            first = steps.pop("first_token") / 1000
            self._first_token.observe(first)
            if written > 1 and total > first:
                self._rate.observe((written - 1) / (total - first))
        for step, milliseconds in steps.items():
            self._step(step).observe(milliseconds / 1000)
        self._tokens("in").inc(usage["prompt_tokens"])
        self._tokens("out").inc(written)

    async def text(self) -> bytes:
        """Return all figures, those of the other workers included, as ``CONTENT_TYPE``."""
        async with self._asked:
            self._sample()
            return await asyncio.to_thread(self._text)

    def _text(self) -> bytes:
        if self._shipper_lag is not None:
            values = (*self._shipper_lag(), self._rejected())
            for gauge, value in zip(self._to_ship, values, strict=True):
                gauge.set(value)
        registry = self._registry
        if _SHARED:
            _forget_the_dead(Path(_SHARED))
            registry = CollectorRegistry()
            MultiProcessCollector(registry, _SHARED)  # type: ignore[no-untyped-call]
        return generate_latest(_WithoutCreated(registry))

    def _sample(self) -> None:
        self._log_waiting.set(self._waiting())
        lost, before = self._lost(), self._lost_before
        self._lost_before = lost
        self._log_lost.inc(lost - before)
        self._queue_waiting.set(self._queued())
        refused, before = self._refused(), self._refused_before
        self._refused_before = refused
        self._queue_refused.inc(refused - before)
        for host in self._hosts:
            succeeded, failed = self._hosts_before[host.name]
            self._hosts_before[host.name] = host.succeeded, host.failed
            self._calls.labels(host.name).inc(host.succeeded - succeeded)
            self._calls_failed.labels(host.name).inc(host.failed - failed)
            self._calls_running.labels(host.name).set(host.running)
            self._host_up.labels(host.name).set(not host.is_out)

    async def _watch(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due = now() + self._watch_seconds
            await asyncio.sleep(self._watch_seconds)
            self._loop_lag.observe(max(0.0, now() - due))
            self._sample()


class _WithoutCreated(Collector):
    """Drop ``_created`` samples; multi-process mode has none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [each for each in metric.samples if each.name[-8:] != "_created"]
            yield metric


@contextmanager
def shared_by_workers() -> Iterator[Path]:
    """Let the processes that are started inside add up their figures.

    It gives them a new directory to count in, for this user alone, and removes it at the end; also
    those of others that were killed before they could.
    """
    before = os.environ.get(_DIRECTORY)
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        process = left.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):  # another server may clean up at the same time
            ours = process.isdecimal() and left.lstat().st_uid == os.getuid()
            if ours and not _runs(int(process)):
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as directory:
        os.environ[_DIRECTORY] = directory
        try:
            yield Path(directory)
        finally:
            del os.environ[_DIRECTORY]
            if before is not None:
                os.environ[_DIRECTORY] = before


def _forget_the_dead(directory: Path) -> None:
    """Drop the gauges of workers that were killed; what they have counted stays."""
    for path in directory.glob("gauge_live*.db"):
        process = int(path.stem.rpartition("_")[2])
        if not _runs(process):
            mark_process_dead(process, str(directory))  # type: ignore[no-untyped-call]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
