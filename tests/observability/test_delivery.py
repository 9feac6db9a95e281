"""Documents are sent until each is stored or rejected; what it says of Elasticsearch meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from orbit_server.observability.checkpoint import Line
from orbit_server.observability.delivery import Delivery
from orbit_server.observability.elasticsearch import ElasticsearchClient, Failure

from ..support.elasticsearch_standin import BUSY, ElasticsearchStandIn, Items, Refuse

pytestmark = pytest.mark.anyio


@pytest.fixture
async def elastic() -> AsyncIterator[ElasticsearchStandIn]:
    """A running stand-in."""
    async with ElasticsearchStandIn() as standin:
        yield standin


class Sender:
    """A delivery to a stand-in, and what it said of it."""

    def __init__(self, elastic: ElasticsearchStandIn, **options: Any) -> None:
        self.contacts: list[tuple[bool, str]] = []
        self.prepared = 0
        self.client = ElasticsearchClient(elastic.url)
        self.stopping = asyncio.Event()
        self.delivery = Delivery(
            self.client,
            prepare=self.prepare,
            on_contact=self.note,
            stopping=self.stopping,
            pauses=(0.001, 0.01),
            **options,
        )

    async def prepare(self) -> None:
        """Count how often templates would be installed."""
        self.prepared += 1

    async def note(self, available: bool, cause: str) -> None:
        """Keep each change."""
        if self.contacts[-1:] != [(available, cause)]:
            self.contacts.append((available, cause))

    async def send(self, *names: str) -> list[bytes]:
        """Send documents; return those that were rejected."""
        return [each.line for each in await self.delivery.send([line(name) for name in names])]


def line(name: str) -> Line:
    """Return a line of the log and the operation that creates its document."""
    action = {"create": {"_index": "chatbot-2026.03", "_id": name}}
    document = {"@timestamp": "2026-03-01T12:00:00.000Z"}
    return Line(name.encode(), b"%b\n%b\n" % (orjson.dumps(action), orjson.dumps(document)))


async def test_rejected_documents_are_returned(elastic: ElasticsearchStandIn) -> None:
    """The others are stored; what is refused for lack of room is sent again."""
    elastic.fault = [BUSY, Items(429, "es_rejected_execution_exception", "busy")]
    elastic.refuse = lambda identity, source: (
        Refuse(400, "document_parsing_exception", "no") if identity == "bad" else None
    )
    sender = Sender(elastic)
    assert await sender.send("a", "bad", "b") == [b"bad"]
    assert set(elastic.ids()) == {"a", "b"}
    assert sender.contacts == [(True, "")]
    await sender.client.close()


async def test_nothing_but_rejections(elastic: ElasticsearchStandIn) -> None:
    """After some in a row it counts as unavailable, until one is stored; a ping changes nothing."""
    elastic.refuse = lambda identity, source: (
        None if identity == "good" else Refuse(400, "mapper_parsing_exception", "no")
    )
    sender = Sender(elastic, rejected_in_a_row=3)
    assert await sender.send("a", "b") == [b"a", b"b"]
    assert sender.contacts == [(True, "")]
    await sender.send("c")
    await sender.delivery.probe()
    refused = (False, "it rejects every record: mapper_parsing_exception: no")
    assert sender.contacts == [(True, ""), refused]
    await sender.send("good")
    assert sender.contacts == [(True, ""), refused, (True, "")]
    await sender.client.close()


async def test_it_prepares_again_after_a_while(elastic: ElasticsearchStandIn) -> None:
    """Before the first document, and then only when its time has come."""
    often, seldom = Sender(elastic, prepare_seconds=0), Sender(elastic)
    for name in "abc":
        await often.send(name)
        await seldom.send(name)
        await seldom.delivery.probe()
    assert (often.prepared, seldom.prepared) == (3, 1)
    for sender in (often, seldom):
        await sender.client.close()


async def test_it_gives_up(elastic: ElasticsearchStandIn) -> None:
    """After as many tries as asked for, or at once when the server stops."""
    elastic.fault = [BUSY] * 9
    sender = Sender(elastic, tries=3)
    with pytest.raises(Failure, match="rejected execution"):
        await sender.send("a")
    assert len(elastic.bulks()) == 3
    await sender.client.close()
    sender = Sender(elastic)
    sender.stopping.set()
    with pytest.raises(Failure):
        await sender.send("a")
    assert len(elastic.bulks()) == 4
    assert sender.delivery.silent_for() == float("inf")
    await sender.client.close()
