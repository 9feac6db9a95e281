"""The shipper: what is in the files gets to Elasticsearch, once, whatever happens on the way."""

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orbit_server.errors import OrbitError
from orbit_server.observability import index_template
from orbit_server.observability.chatlog import ChatLog
from orbit_server.observability.shipper import Shipped, Shipper

from ..support.elasticsearch_standin import (
    BAD_GATEWAY,
    BUSY,
    ITEMS_BUSY,
    NO_MASTER,
    ElasticsearchStandIn,
    Fault,
    Garbage,
    Hang,
    Index,
    Items,
    Refuse,
    Reset,
)
from ..support.timing import until
from .test_ecs import EXCHANGE

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


ROOT = Path(__file__).parents[2]
DAY = "2026-03-01"


@pytest.fixture
async def elastic() -> AsyncIterator[ElasticsearchStandIn]:
    """A running stand-in."""
    async with ElasticsearchStandIn() as standin:
        yield standin


class Log:
    """The files of a chat log in a temporary folder, and shippers that follow them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "logs"
        self.folder.mkdir()
        self.state = folder / "data" / "shipper.json"
        self.expected: Counter[str] = Counter()

    def file(self, name: str = f"chat-{DAY}.log") -> Path:
        """Return the path of a file of the log."""
        return self.folder / name

    def write(self, count: int, name: str = f"chat-{DAY}.log", **fields: Any) -> list[str]:
        """Append ``count`` records to a file; their ids, which are expected from then on."""
        day = name[5:15]
        records = [
            {"timestamp": f"{day}T12:00:00.000Z", "id": uuid.uuid4().hex, "kind": "exchange"}
            | {"query": f"question {n}", "response": "an answer", **fields}
            for n in range(count)
        ]
        self.append("".join(f"{json.dumps(record)}\n" for record in records).encode(), name)
        identities = [record["id"] for record in records]
        self.expected.update(identities)
        return identities

    def append(self, data: bytes, name: str = f"chat-{DAY}.log") -> None:
        """Append bytes to a file."""
        with self.file(name).open("ab") as file:
            file.write(data)

    def rejected(self) -> list[dict[str, Any]]:
        """Return what was put aside."""
        path = self.folder / "rejected.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def shipper(self, elastic: ElasticsearchStandIn, **options: Any) -> Shipper:
        """Return a shipper that is in a hurry."""
        usual: dict[str, Any] = {
            "node": elastic.url,
            "index": "chatbot",
            "batch_size": 10,
            "flush_seconds": 0.01,
            "pauses": (0.005, 0.05),
        }
        return Shipper(self.folder, self.state, **usual | options)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """An empty log."""
    return Log(tmp_path)


def arrived(log: Log, elastic: ElasticsearchStandIn) -> Callable[[], bool]:
    """Return a question: is everything stored that is expected, once?"""
    return lambda: elastic.ids() == log.expected


class States(list[tuple[bool, str]]):
    """What the owner of a shipper is told."""

    def note(self, available: bool, cause: str) -> None:
        """Remember it."""
        self.append((available, cause))

    @property
    def seen(self) -> list[bool]:
        """Return the states without the causes."""
        return [available for available, _ in self]


# -- the usual way ---------------------------------------------------------------------


async def test_everything_arrives_once(log: Log, elastic: ElasticsearchStandIn) -> None:
    """All lines of all files are stored, in bulk requests of bounded size, and never again."""
    log.write(25)
    log.write(3, f"chat-{DAY}.1.log")
    log.write(4, "chat-2026-02-27.log")
    assert await log.shipper(elastic).ship_once() == Shipped(documents=32, rejected=0)
    assert elastic.ids() == log.expected
    operations = [request.body.count(b"\n") // 2 for request in elastic.bulks()]
    assert operations == [4, 10, 10, 5, 3]
    assert await log.shipper(elastic).ship_once() == Shipped(0, 0)
    assert len(elastic.bulks()) == 5
    assert elastic.conflicts == 0


async def test_it_follows_what_is_written(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Lines that come while it runs are sent, to whichever of the files they come."""
    files = [f"chat-{DAY}.log", f"chat-{DAY}.1.log", f"chat-{DAY}.2.log", f"chat-{DAY}.10.log"]
    async with log.shipper(elastic) as shipper:
        for _ in range(5):
            for name in files:
                log.write(3, name)
            await elastic.until(arrived(log, elastic))
    assert shipper.lag() == (0, 0)


async def test_leaving_sends_what_is_there(log: Log, elastic: ElasticsearchStandIn) -> None:
    """When the server stops, its last lines are sent before the shipper is gone."""
    async with log.shipper(elastic, flush_seconds=3600) as shipper:
        await until(lambda: shipper.checkpoint.held and bool(elastic.requests))
        log.write(5)
    assert elastic.ids() == log.expected


async def test_what_the_chat_log_writes(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Real lines arrive, also when a day goes on in further files; old files wait to be sent."""
    days = iter([datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(40)])
    shipper = log.shipper(elastic)

    def written() -> ChatLog:
        return ChatLog(
            log.folder,
            max_wait=30,
            max_bytes=2000,
            retention_days=3,
            keep=shipper.pending,
            now=lambda: now,
        )

    for _ in range(2):
        now = next(days)
        async with written() as chatlog:
            for n in range(20):
                await chatlog.write("exchange", query=f"q {n}", response="a" * 200)
            await chatlog.write("status", event="start", elasticsearch={"enabled": True})
    assert len(list(log.folder.iterdir())) > 4
    now = datetime(2026, 3, 20, tzinfo=UTC)
    async with written() as chatlog:
        await chatlog.write("error", error="model_failed", message="it broke")
    assert await shipper.ship_once() == Shipped(43, 0)
    assert len(elastic.ids()) == 43
    now = datetime(2026, 3, 21, tzinfo=UTC)
    async with written() as chatlog:
        await chatlog.write("status", event="stop")
    assert sorted(path.name for path in log.folder.iterdir()) == [
        "chat-2026-03-20.log",
        "chat-2026-03-21.log",
    ]


async def test_the_month_is_the_records_own(log: Log, elastic: ElasticsearchStandIn) -> None:
    """The index is that of the record's time in UTC, whatever the file and the time zone."""
    times = {
        "2026-03-31T23:59:59.999Z": "chatbot-2026.03",
        "2026-04-01T00:00:00.000Z": "chatbot-2026.04",
        "2026-04-01T01:30:00.000+02:00": "chatbot-2026.03",
        "2025-12-31T22:00:00.000-05:00": "chatbot-2026.01",
    }
    for moment, index in times.items():
        log.write(1, "chat-2026-03-31.log", timestamp=moment, query=index)
    await log.shipper(elastic).ship_once()
    stored = {
        name: {d["message"] for d in found.values()} for name, found in elastic.documents.items()
    }
    assert stored == {name: {name} for name in times.values()}
    moments = {document["@timestamp"] for document in elastic.sources().values()}
    assert "2026-03-31T23:30:00.000Z" in moments


async def test_requests_are_bounded(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Long texts make small bulk requests."""
    log.write(12, response="a" * 300_000)
    await log.shipper(elastic, batch_size=1000).ship_once()
    assert elastic.ids() == log.expected
    assert [request.body.count(b"\n") // 2 for request in elastic.bulks()] == [3] * 4


@pytest.mark.parametrize("version", ["8.19.0", "9.2.0"])
async def test_versions(log: Log, version: str) -> None:
    """Elasticsearch 8 and 9 both take it."""
    log.write(3)
    async with ElasticsearchStandIn(version=version) as elastic:
        assert await log.shipper(elastic).ship_once() == Shipped(3, 0)


# -- Elasticsearch fails ---------------------------------------------------------------


async def test_it_is_away_at_the_start(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Nothing is lost, the owner is told, and it catches up by itself when it is there."""
    await elastic.kill()
    states = States()
    log.write(25)
    async with log.shipper(elastic, on_status=states.note) as shipper:
        await until(lambda: bool(states))
        looking = log.shipper(elastic)  # as another program does
        assert shipper.status == looking.status == "unavailable"
        assert shipper.cause == looking.cause
        assert "cannot be reached" in shipper.cause
        assert shipper.pending(log.file())
        await elastic.start()
        await elastic.until(arrived(log, elastic))
        await until(lambda: shipper.cause == "")
        assert states.seen == [False, True]
    assert elastic.conflicts == 0


async def test_with_nothing_to_send_it_looks_all_the_same(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """Its owner knows what Elasticsearch is before the first line is written."""
    states = States()
    async with log.shipper(elastic, on_status=states.note):
        await until(lambda: states.seen == [True])
    elastic.users["somebody"] = "else"
    async with log.shipper(elastic, on_status=states.note) as shipper:
        await until(lambda: states.seen == [True, False])
        assert shipper.status == "unavailable"


async def test_it_looks_again_while_nothing_is_asked(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """It learns that Elasticsearch left and came back also when there is nothing to send."""
    elastic.denied |= {"info", "template"}  # a key that may only write
    states = States()
    async with log.shipper(elastic, on_status=states.note, probe_seconds=0):
        await elastic.until(lambda: [r.path for r in elastic.requests].count("/") > 2)
        assert states.seen == [True]
        await elastic.kill()
        await until(lambda: states.seen == [True, False])
        await elastic.start()
        await until(lambda: states.seen == [True, False, True])


async def test_it_comes_back_empty(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A new Elasticsearch at the old address is told our types before the first document."""
    log.write(3)
    async with log.shipper(elastic) as shipper:
        await elastic.until(arrived(log, elastic))
        await until(lambda: shipper.status == "enabled")
        await elastic.kill()
        log.write(3)
        await until(lambda: shipper.status == "unavailable")
        elastic.templates.clear()
        elastic.indices.clear()
        await elastic.start()
        await elastic.until(lambda: len(elastic.ids()) == 3)
    assert elastic.indices["chatbot-2026.03"].mappings == index_template.mappings()


async def test_replies_that_are_none(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Something between us that answers with nonsense is named as the cause."""
    elastic.fault = Garbage()
    log.write(3)
    with pytest.raises(OrbitError, match="its reply is not JSON"):
        await log.shipper(elastic).ship_once()
    assert log.shipper(elastic).lag()[0] == 3


@pytest.mark.parametrize(
    "faults",
    [
        [BUSY],
        [NO_MASTER, NO_MASTER, BUSY],
        [BAD_GATEWAY, Refuse(500, "null_pointer_exception")],
        [Reset(0)] * 4,
        [Reset(0.5)] * 4,
        [Reset(1)] * 4,
        [Garbage(), Garbage(), None, Garbage()],
        [ITEMS_BUSY, ITEMS_BUSY, ITEMS_BUSY, BUSY, ITEMS_BUSY],
        [Items(503, "unavailable_shards_exception", "primary shard is not active", every=1)] * 3,
        [Items(403, "cluster_block_exception", "index is read-only"), BUSY],
        [Items(400, "index_closed_exception", "closed", every=1)] * 2,
        [Refuse(401, "security_exception", "unable to authenticate"), Refuse(403, "x", "y")],
        [Refuse(400, "media_type_header_exception", "Invalid media-type value")],
    ],
    ids=lambda faults: type(faults[0]).__name__ + str(getattr(faults[0], "status", "")),
)
async def test_failures_lose_and_double_nothing(
    log: Log, elastic: ElasticsearchStandIn, faults: list[Fault | None]
) -> None:
    """Whatever a bulk request meets, its documents are stored once in the end."""
    elastic.fault = [*faults]
    log.write(35)
    states = States()
    async with log.shipper(elastic, on_status=states.note) as shipper:
        await elastic.until(arrived(log, elastic))
        await until(lambda: shipper.lag() == (0, 0))
        assert shipper.status == "enabled"
    assert log.rejected() == []
    # Each change is told once, and a failure that passes at once is none.
    # Each change is told once, and a refusal that passes at once is none.
    assert states.seen[-1]
    assert all(before != after for before, after in pairwise(states.seen))
    assert (False in states.seen) == (faults != [BUSY])


async def test_it_goes_away_in_the_middle_again_and_again(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """Killed with half of a bulk request stored and started anew, it misses and doubles nothing."""
    log.write(60)
    async with log.shipper(elastic) as shipper:
        await until(lambda: shipper.status == "enabled")
        for _ in range(5):
            elastic.fault = [Reset(0.5)]
            log.write(10)  # after the fault is set: what came before may be on its way already
            await elastic.until(lambda: elastic.fault == [])
            await elastic.kill()
            await until(lambda: shipper.status == "unavailable")
            await elastic.start()
            await until(lambda: shipper.status == "enabled")
        await elastic.until(arrived(log, elastic))
    assert elastic.ids() == log.expected


async def test_only_what_was_refused_is_sent_again(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Of a bulk request, the documents that there was no room for are sent alone."""
    log.write(8)
    elastic.fault = [ITEMS_BUSY, ITEMS_BUSY]
    states = States()
    await log.shipper(elastic, on_status=states.note).ship_once()
    assert elastic.ids() == log.expected
    assert [request.body.count(b"\n") // 2 for request in elastic.bulks()] == [8, 4, 2]
    assert (elastic.conflicts, states.seen) == (0, [True])


async def test_too_large_requests_are_split(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A request over the server's limit goes in halves; a document over it is put aside."""
    log.write(7)
    log.append(b'{"timestamp":"2026-03-01T12:00:00Z","id":"long","query":"%b"}\n' % (b"x" * 9000))
    log.write(7)
    elastic.limit = 5000
    assert await log.shipper(elastic, batch_size=100).ship_once() == Shipped(14, 1)
    assert elastic.ids() == log.expected
    [put_aside] = log.rejected()
    assert put_aside["reason"].startswith("too large")
    assert json.loads(put_aside["line"])["id"] == "long"
    assert elastic.conflicts == 0


async def test_content_that_is_refused(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A document refused for what it says is put aside with the reason; the others go on."""
    bad = log.write(3, query="bad")
    log.write(20)
    reason = "failed to parse field [message]"
    elastic.refuse = lambda identity, source: (
        Refuse(400, "document_parsing_exception", reason) if source["message"] == "bad" else None
    )
    elastic.fault = [Reset(0.5), ITEMS_BUSY, Garbage()]
    states = States()
    shipper = log.shipper(elastic, on_status=states.note)
    async with shipper:
        for identity in bad:
            del log.expected[identity]
        await until(lambda: elastic.ids() == log.expected and shipper.lag() == (0, 0))
    put_aside = log.rejected()
    assert {json.loads(line["line"])["id"] for line in put_aside} == set(bad)
    assert len(put_aside) == len(bad)
    assert {line["reason"] for line in put_aside} == {f"document_parsing_exception: {reason}"}
    assert {line["file"] for line in put_aside} == {log.file().name}
    assert (log.folder / "rejected.log").stat().st_mode & 0o007 == 0
    assert await shipper.ship_once() == Shipped(0, 0)


async def test_everything_is_rejected(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Where no record is taken, as under a foreign mapping, it is unavailable, with the reason."""
    foreign = Index(mappings={"properties": {"message": {"type": "long"}}})
    elastic.indices["chatbot-2026.03"] = foreign
    states = States()
    async with log.shipper(elastic, on_status=states.note, probe_seconds=0) as shipper:
        await until(lambda: states.seen == [True])
        log.write(20)
        await until(lambda: states.seen == [True, False])
        assert shipper.status == "unavailable"
        assert shipper.cause.startswith("it rejects every record: document_parsing_exception")
        await until(lambda: shipper.lag() == (0, 0))
        assert shipper.rejected() == log.shipper(elastic).rejected() == 20
        del elastic.indices["chatbot-2026.03"]
        log.write(1)
        await until(lambda: states.seen == [True, False, True])
    assert await log.shipper(elastic).resend_rejected() == Shipped(20, 0)
    assert (elastic.ids(), shipper.rejected()) == (log.expected, 0)


async def test_rejected_lines_are_sent_again_beside_a_running_shipper(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """What is rejected once more stays, and nothing is lost when Elasticsearch is away."""
    log.write(30)
    log.append(b"torn\n")
    elastic.refuse = lambda identity, source: Refuse(400, "mapper_parsing_exception", "no")
    async with log.shipper(elastic) as shipper:
        await until(lambda: shipper.rejected() == 31 and shipper.lag() == (0, 0))
        elastic.refuse = lambda identity, source: None
        elastic.fault = [*[None] * 2, *[BUSY] * 9]
        with pytest.raises(OrbitError, match="rejected execution"):
            await log.shipper(elastic).resend_rejected()
        assert shipper.rejected() >= 11
        elastic.fault = None
        await log.shipper(elastic).resend_rejected()
        assert (elastic.ids(), shipper.rejected()) == (log.expected, 1)


async def test_enabled_is_only_what_has_answered(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Neither the configuration nor what an earlier process knew counts as an answer."""
    shipper = log.shipper(elastic)
    assert (shipper.status, shipper.cause) == ("unavailable", "it has not been contacted yet")
    await shipper.ship_once()
    assert shipper.status == "enabled"
    await elastic.kill()
    async with log.shipper(elastic) as shipper:
        await until(lambda: shipper.checkpoint.held)
        assert shipper.status == log.shipper(elastic).status == "unavailable"


async def test_the_template_is_looked_after_while_all_goes_well(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """Somebody who removes it while records come in finds it again before the next ones."""
    async with log.shipper(elastic, prepare_seconds=0):
        log.write(1)
        await elastic.until(arrived(log, elastic))
        elastic.templates.clear()
        log.write(1, "chat-2026-04-01.log")
        await elastic.until(arrived(log, elastic))
    assert elastic.indices["chatbot-2026.04"].mappings == index_template.mappings()


async def test_a_wrong_password(
    log: Log, elastic: ElasticsearchStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """It is unavailable with a clear reason, loses nothing, and goes on once it is corrected."""
    caplog.set_level(logging.INFO)
    elastic.users["orbit"] = "right-horse"
    log.write(15)
    wrong = {"username": "orbit", "password": "wrong-horse"}
    states = States()
    with pytest.raises(OrbitError, match=r"unable to authenticate user \[orbit\].*401"):
        await log.shipper(elastic, **wrong).ship_once()
    async with log.shipper(elastic, on_status=states.note, **wrong) as shipper:
        await until(lambda: states.seen == [False])
        assert "unable to authenticate" in shipper.cause
        elastic.users["orbit"] = "wrong-horse"  # the administrator gives in
        await elastic.until(arrived(log, elastic))
    elastic.users["orbit"] = "right-horse"
    log.write(15)
    right = {"username": "orbit", "password": "right-horse"}
    async with log.shipper(elastic, **right):
        await elastic.until(arrived(log, elastic))
    assert "horse" not in caplog.text + log.state.read_text() + str(states)


@pytest.mark.parametrize("denied", ["bulk", "write"])
async def test_not_allowed_to_write(log: Log, elastic: ElasticsearchStandIn, denied: str) -> None:
    """Without the right to write it is unavailable, puts nothing aside, and waits for the right."""
    elastic.api_keys.add("a2V5")
    elastic.denied.add(denied)
    log.write(15)
    async with log.shipper(elastic, api_key="a2V5") as shipper:
        await until(lambda: "unauthorized" in shipper.cause)
        assert shipper.status == "unavailable"
        assert not elastic.ids()
        elastic.denied.clear()
        await elastic.until(arrived(log, elastic))
    assert log.rejected() == []


async def test_something_else_than_elasticsearch(log: Log, elastic: ElasticsearchStandIn) -> None:
    """What does not say that it is Elasticsearch is sent no documents."""
    log.write(1)
    elastic.product = False
    with pytest.raises(OrbitError, match="not Elasticsearch"):
        await log.shipper(elastic).ship_once()
    assert elastic.bulks() == []


async def test_a_server_that_does_not_answer_holds_up_nobody(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """Leaving does not wait for a reply that never comes; it is sent again next time."""
    elastic.fault = [Hang()]
    log.write(5)
    async with log.shipper(elastic, stop_seconds=0.05):
        await elastic.until(lambda: bool(elastic.ids()))
    assert log.shipper(elastic).lag()[0] == 5
    await log.shipper(elastic).ship_once()
    assert (elastic.ids(), elastic.conflicts) == (log.expected, 5)


async def test_settings_that_cannot_work(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A certificate file that is none makes it unavailable, with the reason."""
    with pytest.raises(OrbitError, match="ca_certs"):
        await log.shipper(
            elastic, node="https://127.0.0.1:1", ca_certs=str(log.folder / "none.pem")
        ).ship_once()


async def test_an_owner_that_fails(log: Log, elastic: ElasticsearchStandIn) -> None:
    """An error in the owner's ``on_status`` stops nothing."""

    def fail(available: bool, cause: str) -> None:
        raise RuntimeError("the owner is not well")

    log.write(5)
    async with log.shipper(elastic, on_status=fail):
        await elastic.until(arrived(log, elastic))


# -- lines and files -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"timestamp":"2026-03-01T12:00:00.000Z","id":"torn","query":"wh', "not JSON"),
        (b"\x00\x00\x00", "not JSON"),
        (b'{"id":"latin1","query":"\xe4"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'"a text"', "not a JSON object"),
        (b'{"timestamp":"2026-03-01T12:00:00.000Z"}', "its id"),
        (b'{"timestamp":"2026-03-01T12:00:00.000Z","id":7}', "its id"),
        (b'{"timestamp":"2026-03-01T12:00:00.000Z","id":""}', "its id"),
        (b'{"timestamp":"2026-03-01T12:00:00.000Z","id":"%b"}' % (b"i" * 513), "its id"),
        (b'{"timestamp":"yesterday","id":"a"}', "its timestamp"),
        (b'{"timestamp":12,"id":"a"}', "its timestamp"),
        (b'{"id":"a"}', "its timestamp"),
        (
            b'{"timestamp":"2026-03-01T12:00:00.000Z","id":"deep","a":%b1%b}'
            % (b"[" * 500, b"]" * 500),
            "it cannot be sent",
        ),
    ],
    ids=range(13),
)
async def test_lines_that_are_no_records(
    log: Log, elastic: ElasticsearchStandIn, line: bytes, reason: str
) -> None:
    """A torn line, or one that is no record, is put aside once, and all around it arrive."""
    log.write(3)
    log.append(line + b"\n")
    log.write(3)
    assert await log.shipper(elastic).ship_once() == Shipped(6, 1)
    assert elastic.ids() == log.expected
    [put_aside] = log.rejected()
    assert put_aside["reason"].startswith(reason)
    assert put_aside["line"].encode() == line or b"\\x" in put_aside["line"].encode()
    assert await log.shipper(elastic).ship_once() == Shipped(0, 0)


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        (b'"query":"half \\ud83d pair"', {"message": "half \ufffd pair"}),
        (b'"query":"\\ud83e\\uddea NaN","x":NaN', {"message": "\U0001f9ea NaN"}),
        (b'"query":"line\\u2028break \\u0000"', {"message": "line\u2028break \x00"}),
        (b'"query":"q","x":1e999', {"message": "q"}),
        (b'"query":"q","x":123456789012345678901234567890', {"message": "q"}),
        (b'"query":"q","ip":"unknown"', {"client": {"address": "unknown"}}),
        (b'"query":"q","ip":"1.2.3.4, 5.6.7.8"', {"client": {"address": "1.2.3.4, 5.6.7.8"}}),
        (b'"query":"q","ip":"fe80::1%eth0"', {"client": {"address": "fe80::1%eth0"}}),
        (b'"query":"q","ip":"::1"', {"client": {"address": "::1", "ip": "::1"}}),
        (b'"query":"q","ip":7', {"orbit": {"details": {"ip": 7}}}),
        (b'"query":{"a":1}', {"orbit": {"details": {"query": {"a": 1}}}}),
        (b'"_id":"x","_source":"y"', {"orbit": {"details": {"_id": "x", "_source": "y"}}}),
        (b'"version":3,"routing":"r"', {"orbit": {"details": {"version": 3, "routing": "r"}}}),
        (b'"tokens":{"prompt_tokens":"many"}', {"orbit": {"tokens": {"prompt_tokens": "many"}}}),
        (b'"block_reason":"%b"' % (b"x" * 40_000), {"event": {"reason": "x" * 40_000}}),
    ],
    ids=range(15),
)
async def test_odd_values_are_stored(
    log: Log, elastic: ElasticsearchStandIn, fields: bytes, stored: dict[str, Any]
) -> None:
    """Half characters, no numbers, no addresses: the record is stored all the same."""
    log.append(b'{"timestamp":"2026-03-01T12:00:00.000Z","id":"odd",%b}\n' % fields)
    assert await log.shipper(elastic).ship_once() == Shipped(1, 0)
    document = elastic.sources()["odd"]
    for name, value in stored.items():
        if name in ("orbit", "event"):
            assert value.items() <= document[name].items()
        else:
            assert document[name] == value


async def test_a_record_behind_a_torn_line(log: Log, elastic: ElasticsearchStandIn) -> None:
    """What another process wrote behind the half line of a killed one is a record all the same."""
    torn = b'{"timestamp":"2026-03-01T12:00:00.000Z","id":"torn","query":"{\\"timestamp\\"'
    log.append(torn)
    log.write(1, query='says {"timestamp": 1}', details={"timestamp": 1})
    log.append(torn + torn)
    log.write(1)
    log.append(b'{"timestamp":"2026-03-01T12:00:00.000Z","details":{"timestamp":{}\n')
    assert await log.shipper(elastic).ship_once() == Shipped(2, 3)
    assert elastic.ids() == log.expected
    assert [line["line"].encode() for line in log.rejected()[:2]] == [torn, torn + torn]


async def test_a_line_that_is_being_written(log: Log, elastic: ElasticsearchStandIn) -> None:
    """The end of a file without a newline is left until it has one."""
    log.write(2)
    log.append(b'{"timestamp":"2026-03-01T12:00:00.000Z","id":"slow",')
    shipper = log.shipper(elastic)
    assert await shipper.ship_once() == Shipped(2, 0)
    assert shipper.lag() == (0, 52)
    assert shipper.pending(log.file())
    log.append(b'"query":"q"}\n\n\n')
    assert await shipper.ship_once() == Shipped(1, 0)
    assert not shipper.pending(log.file())


async def test_a_torn_line_that_nobody_ends(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A file that a killed process left without an end is not kept for ever because of it."""
    log.write(2)
    log.append(b'{"torn":')
    hour_ago = time.time() - 3600
    os.utime(log.file(), (hour_ago, hour_ago))
    shipper = log.shipper(elastic)
    async with shipper:
        await until(lambda: not shipper.pending(log.file()))
    assert [line["line"] for line in log.rejected()] == ['{"torn":']
    assert elastic.ids() == log.expected


async def test_after_days(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A restart after days finds every file, those half sent and those never seen."""
    for day in range(1, 20):
        log.write(3, f"chat-2026-02-{day:02}.log")
        if day == 5:
            await log.shipper(elastic).ship_once()
            log.write(3, f"chat-2026-02-{day:02}.log")
    assert await log.shipper(elastic).ship_once() == Shipped(45, 0)
    assert (elastic.ids(), elastic.conflicts) == (log.expected, 0)


async def test_files_disappear(log: Log, elastic: ElasticsearchStandIn) -> None:
    """A file that is removed is forgotten, and stops nothing."""
    log.write(3, "chat-2026-02-01.log")
    log.write(3)
    async with log.shipper(elastic) as shipper:
        await elastic.until(arrived(log, elastic))
        log.file("chat-2026-02-01.log").unlink()
        log.write(3)
        await until(lambda: shipper.lag() == (0, 0))
        assert not shipper.pending(log.file("chat-2026-02-01.log"))
    assert list(json.loads(log.state.read_text())["files"]) == [f"chat-{DAY}.log"]


async def test_no_folder_yet(tmp_path: Path, elastic: ElasticsearchStandIn) -> None:
    """Before the first line there is no folder; it appears while the shipper runs."""
    folder = tmp_path / "later"
    async with Shipper(
        folder, tmp_path / "data" / "s.json", node=elastic.url, index="x", flush_seconds=0.01
    ):
        await until(lambda: bool(elastic.requests))
        async with ChatLog(folder) as chatlog:
            await chatlog.write("status", event="start")
        await elastic.until(lambda: len(elastic.ids()) == 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{torn",
        b"[]",
        b'{"files": 7}',
        b"\xff\xfe",
        b'{"files":{"chat-2026-03-01.log":{"offset":-1}}}',
    ],
)
async def test_a_checkpoint_that_cannot_be_read(
    log: Log, elastic: ElasticsearchStandIn, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is sent again, said in the log, and stored once because of the ids."""
    log.write(12)
    await log.shipper(elastic).ship_once()
    log.state.write_bytes(content)
    log.write(3)
    assert await log.shipper(elastic).ship_once() == Shipped(15, 0)
    assert (elastic.ids(), elastic.conflicts) == (log.expected, 12)
    assert "all files are sent again" in caplog.text


@pytest.mark.parametrize("change", ["truncated", "replaced", "longer", "edited", "rewritten"])
async def test_a_file_that_is_not_what_it_was(
    log: Log, elastic: ElasticsearchStandIn, change: str
) -> None:
    """A file that was cut, replaced or edited is sent from its start."""
    log.write(10, response="a" * 200)
    shipper = log.shipper(elastic)
    await shipper.ship_once()
    assert shipper.lag() == (0, 0)
    before = log.file().read_bytes().splitlines(keepends=True)
    if change == "truncated":
        os.truncate(log.file(), len(before[0]))
    else:
        kept = {"edited": before[1:], "rewritten": before[:1]}.get(change, [])
        log.file().write_bytes(b"".join(kept))
    log.write(20 if change in ("longer", "rewritten") else 3)
    lines = log.file().read_bytes().splitlines(keepends=True)
    assert shipper.lag() == (len(lines), sum(map(len, lines)))
    assert shipper.pending(log.file())
    await shipper.ship_once()
    assert elastic.ids() == log.expected
    assert shipper.lag() == (0, 0)


async def test_the_lag(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Lines and bytes still to be sent are counted, from wherever one looks."""
    log.write(4)
    looking, sending = log.shipper(elastic), log.shipper(elastic)
    size = log.file().stat().st_size
    assert looking.lag() == sending.lag() == (4, size)
    await sending.ship_once()
    assert looking.lag() == sending.lag() == (0, 0)
    log.write(2)
    log.write(3, f"chat-{DAY}.1.log")
    new = log.file().stat().st_size - size + log.file(f"chat-{DAY}.1.log").stat().st_size
    assert looking.lag() == sending.lag() == (5, new)
    assert not looking.pending(log.file("chat-2026-01-01.log"))


async def test_nowhere_to_put_a_line_aside(
    log: Log, elastic: ElasticsearchStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """While ``rejected.log`` cannot be written, what belongs there stays where it is."""
    obstacle = log.folder / "rejected.log"
    obstacle.mkdir()
    log.write(2)
    log.append(b"torn\n")
    states = States()
    async with log.shipper(elastic, on_status=states.note) as shipper:
        await until(lambda: "cannot be sent" in caplog.text)
        assert shipper.lag()[0] == 3
        obstacle.rmdir()
        await until(lambda: shipper.lag() == (0, 0))
    assert len(log.rejected()) == 1
    assert (elastic.ids(), states.seen) == (log.expected, [True])


# -- one shipper of a host -------------------------------------------------------------


async def test_two_shippers(log: Log, elastic: ElasticsearchStandIn) -> None:
    """One sends, the other knows how it goes, and takes over when the first is gone."""
    states, later = States(), States()
    sender, waiter = (log.shipper(elastic, on_status=each.note) for each in (states, later))
    log.write(5)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sender)
        await until(lambda: sender.checkpoint.held)
        async with waiter:
            await elastic.until(arrived(log, elastic))
            await until(lambda: sender.status == waiter.status == "enabled")
            await elastic.kill()
            log.write(5)
            await until(lambda: sender.status == waiter.status == "unavailable")
            assert waiter.cause == sender.cause
            await elastic.start()
            await until(lambda: sender.status == waiter.status == "enabled")
            assert (waiter.checkpoint.held, later) == (False, [])
            with pytest.raises(OrbitError, match="already"):
                await log.shipper(elastic).ship_once()
            await stack.aclose()
            await until(lambda: waiter.checkpoint.held)
            log.write(5)
            await elastic.until(arrived(log, elastic))
    assert (states.seen, later.seen) == ([True, False, True], [True])
    assert elastic.conflicts == 0


# -- what Elasticsearch is told --------------------------------------------------------


async def test_template_and_lifecycle(log: Log, elastic: ElasticsearchStandIn) -> None:
    """The monthly indices get our types, and live for a month longer than asked for."""
    log.write(1)
    await log.shipper(elastic, retention_days=90).ship_once()
    template = elastic.templates["orbit-chatbot"]
    assert template["index_patterns"] == ["chatbot-*.*"]
    assert template["template"]["settings"]["index.lifecycle.name"] == "orbit-chatbot"
    assert elastic.policies["orbit-chatbot"]["phases"]["delete"]["min_age"] == "121d"
    assert elastic.indices["chatbot-2026.03"].mappings == index_template.mappings()


async def test_kept_for_ever(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Without ``retention_days`` nothing is ever deleted."""
    await log.shipper(elastic).ship_once()
    assert elastic.policies == {}
    assert "index.lifecycle.name" not in elastic.templates["orbit-chatbot"]["template"]["settings"]


async def test_a_data_stream(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Documents go to the stream, which has its lifecycle in the template."""
    log.write(12)
    name = "logs-orbit.chat-default"
    await log.shipper(elastic, data_stream=name, retention_days=30).ship_once()
    assert elastic.ids() == log.expected
    assert list(elastic.streams) == [name]
    template = elastic.templates[f"orbit-{name}"]
    assert template["template"]["lifecycle"] == {"data_retention": "30d"}
    assert elastic.policies == {}


@pytest.mark.parametrize("denied", [{"template"}, {"lifecycle"}, {"template", "lifecycle", "info"}])
async def test_not_allowed_to_install(
    log: Log, elastic: ElasticsearchStandIn, denied: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the right to install them it warns once, and sends all the same."""
    elastic.denied |= denied
    elastic.fault = [BUSY, BUSY, BUSY]
    log.write(15)
    async with log.shipper(elastic, retention_days=1) as shipper:
        await elastic.until(arrived(log, elastic))
        await until(lambda: shipper.status == "enabled")
    warnings = [text for text in caplog.messages if "does not accept our" in text]
    assert len(warnings) == len(denied - {"info"})
    if denied == {"lifecycle"}:
        template = elastic.templates["orbit-chatbot"]["template"]
        assert "index.lifecycle.name" not in template["settings"]


async def test_any_record_fits_without_our_template(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """Records of every kind share an index that learns its types from them."""
    elastic.denied |= {"template", "lifecycle"}
    log.write(1, **EXCHANGE)
    log.write(1, **{**EXCHANGE, "error": None, "blocked": True, "block_reason": "unsafe: 7"})
    log.write(1, kind="error", error={"code": "x"}, message="it broke")
    log.write(1, kind="error", code="model_failed", cause="it broke", request_id="r-1")
    log.write(1, kind="status", event="elasticsearch", available=False, cause="it is gone")
    log.write(1, kind="status", event="started", version="1.0", chroma={"host": None})
    assert await log.shipper(elastic).ship_once() == Shipped(6, 0)
    told = [document.get("error") for document in elastic.sources().values()]
    assert told[3:5] == [{"code": "model_failed", "message": "it broke"}, {"message": "it is gone"}]


# -- killed ----------------------------------------------------------------------------

SHIP = """
import asyncio, sys
from pathlib import Path
from orbit_server.observability.shipper import Shipper

async def main():
    logs, state, node = sys.argv[1:]
    async with Shipper(
        Path(logs), Path(state), node=node, index="chatbot", batch_size=20, flush_seconds=0.01,
        pauses=(0.01, 0.1),
    ):
        await asyncio.Event().wait()

asyncio.run(main())
"""

# Writes as the chat log does, until its standard input ends; now and then it leaves a torn line.
WRITE = """
import itertools, json, os, random, select, sys
from pathlib import Path

logs, name, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance, part = random.Random(seed), 0

def opened():
    path = logs / (f"chat-2026-03-01.{part}.log" if part else "chat-2026-03-01.log")
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

file = opened()
for number in itertools.count():
    month = 3 + number % 2
    record = {"timestamp": f"2026-{month:02}-01T00:00:00.000Z", "id": f"{name}-{number}"}
    line = json.dumps({**record, "query": "x" * chance.randrange(400)}).encode() + b"\\n"
    if chance.random() < 0.02:
        os.write(file, line[: chance.randrange(1, len(line) - 2)])
        os.write(file, chance.choice([b"", b"\\n"]))
    os.write(file, line)
    if os.fstat(file).st_size > 60_000:
        os.close(file)
        part += 1
        file = opened()
    if select.select([sys.stdin], [], [], 0.001)[0]:
        break
print(number + 1)
"""


@asynccontextmanager
async def program(text: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python program of its own; it is killed in the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", text, *map(str, arguments)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def killer(
    process: asyncio.subprocess.Process, stage: str, count: int, delay: float
) -> Callable[[str], None]:
    """Return what kills ``process`` at the ``count``-th ``stage``, or ``delay`` seconds later."""
    left = count

    def watch(seen: str) -> None:
        nonlocal left
        left -= seen == stage
        if seen == stage and left == 0:
            if delay:
                loop = asyncio.get_running_loop()
                loop.call_later(delay, process.send_signal, signal.SIGKILL)
            else:
                process.send_signal(signal.SIGKILL)

    return watch


async def test_killed_at_any_point(log: Log, elastic: ElasticsearchStandIn) -> None:
    """Killed before, in and after storing, while others write: all is stored, and once."""
    chance = random.Random(20260301)
    stages = ["arrived", "half", "stored", "stored", "half", "stored"]
    delays = [0, 0, 0, chance.uniform(0, 0.02), 0, chance.uniform(0, 0.02)]
    async with (
        program(WRITE, log.folder, "a", 1) as one,
        program(WRITE, log.folder, "b", 2) as other,
    ):
        for stage, delay in zip(stages, delays, strict=True):
            async with program(SHIP, log.folder, log.state, elastic.url) as process:
                elastic.watch = killer(process, stage, chance.randrange(1, 6), delay)
                async with asyncio.timeout(30):
                    await process.wait()
        elastic.watch = lambda stage: None
        for name, writer in (("a", one), ("b", other)):
            written, _ = await writer.communicate(b"enough\n")
            log.expected.update(f"{name}-{number}" for number in range(int(written)))
    assert log.shipper(elastic).lag()[0] > 0
    await log.shipper(elastic, batch_size=500).ship_once()
    assert elastic.ids() == log.expected
    assert sorted(elastic.documents) == ["chatbot-2026.03", "chatbot-2026.04"]
    assert log.rejected()
    assert all(line["reason"].startswith("not JSON") for line in log.rejected())


async def test_the_lock_of_a_killed_shipper_is_free(
    log: Log, elastic: ElasticsearchStandIn
) -> None:
    """Another process sends nothing while the first lives, and takes over when it was killed."""
    log.write(5)
    async with program(SHIP, log.folder, log.state, elastic.url) as process:
        await elastic.until(arrived(log, elastic), timeout=30)
        with pytest.raises(OrbitError, match="already"):
            await log.shipper(elastic).ship_once()
        async with log.shipper(elastic) as shipper:
            process.kill()
            await until(lambda: shipper.checkpoint.held)
            log.write(5)
            await elastic.until(arrived(log, elastic))


# -- a real one ------------------------------------------------------------------------


@pytest.mark.live
@pytest.mark.skipif("ELASTICSEARCH_URL" not in os.environ, reason="needs ELASTICSEARCH_URL")
async def test_a_real_elasticsearch(log: Log) -> None:
    """A real Elasticsearch takes the template, the lifecycle and every kind of record, once."""
    from elasticsearch import AsyncElasticsearch

    index = f"orbit-test-{uuid.uuid4().hex[:8]}"
    user, password = (os.environ.get(f"ELASTICSEARCH_{name}") for name in ("USERNAME", "PASSWORD"))
    log.write(500, **EXCHANGE)
    log.write(5, kind="status", message="started", config={"a": {"b": [1, "x", None]}})
    log.write(5, ip="unknown", query="half \ud83d pair", tokens={"prompt_tokens": "many"})
    log.append(b'{"torn":\n')
    options: dict[str, Any] = {
        "node": os.environ["ELASTICSEARCH_URL"],
        "index": index,
        "username": user,
        "password": password,
        "retention_days": 1,
        "verify_certs": False,
    }
    login: dict[str, Any] = {"basic_auth": (user, password or "")} if user else {}
    if options["node"].startswith("https:"):
        login |= {"verify_certs": False, "ssl_show_warn": False}
    async with AsyncElasticsearch(options["node"], **login) as client:
        try:
            for expected in (Shipped(510, 1), Shipped(510, 1)):
                shipped = await Shipper(log.folder, log.state, **options).ship_once()
                assert shipped == expected, log.rejected()
                await client.indices.refresh(index=f"{index}-*")
                assert (await client.count(index=f"{index}-*"))["count"] == 510
                log.state.unlink()
        finally:
            await client.indices.delete(index=f"{index}-{DAY[:4]}.{DAY[5:7]}")
            await client.indices.delete_index_template(name=f"orbit-{index}")
            await client.ilm.delete_lifecycle(name=f"orbit-{index}")


@pytest.mark.live
@pytest.mark.skipif("ELASTICSEARCH_URL" not in os.environ, reason="needs ELASTICSEARCH_URL")
async def test_a_foreign_mapping_in_a_real_elasticsearch(log: Log) -> None:
    """Where it takes no record, that is seen; once the index is gone, they are sent again."""
    from elasticsearch import AsyncElasticsearch

    index = f"orbit-test-{uuid.uuid4().hex[:8]}"
    monthly = f"{index}-{DAY[:4]}.{DAY[5:7]}"
    user, password = (os.environ.get(f"ELASTICSEARCH_{name}") for name in ("USERNAME", "PASSWORD"))
    options: dict[str, Any] = {
        "node": os.environ["ELASTICSEARCH_URL"],
        "index": index,
        "username": user,
        "password": password,
        "verify_certs": False,
    }
    login: dict[str, Any] = {"basic_auth": (user, password or "")} if user else {}
    if options["node"].startswith("https:"):
        login |= {"verify_certs": False, "ssl_show_warn": False}
    log.write(50, **EXCHANGE)
    async with AsyncElasticsearch(options["node"], **login) as client:
        foreign = {"properties": {"message": {"type": "long"}, "event": {"type": "keyword"}}}
        await client.indices.create(index=monthly, mappings=foreign)
        try:
            shipper = Shipper(log.folder, log.state, **options)
            assert await shipper.ship_once() == Shipped(0, 50)
            assert (shipper.status, shipper.rejected()) == ("unavailable", 50)
            assert "it rejects every record: document_parsing_exception" in shipper.cause
            await client.indices.delete(index=monthly)
            assert await shipper.resend_rejected() == Shipped(50, 0)
            assert shipper.rejected() == 0
            await client.indices.refresh(index=monthly)
            found = await client.search(index=monthly, query={"exists": {"field": "host.name"}})
            assert found["hits"]["total"]["value"] == 50
            await shipper.ship_once()
        finally:
            await client.indices.delete(index=monthly, ignore_unavailable=True)
            await client.indices.delete_index_template(name=f"orbit-{index}")
