"""What Elasticsearch has no room for is sent again; what it refuses is an error."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orbit_server.errors import SearchError
from orbit_server.retrieval.words.elasticsearch import build
from orbit_server.retrieval.words.elasticsearch.client import Answer
from orbit_server.retrieval.words.elasticsearch.indexes import ElasticsearchWords
from orbit_server.retrieval.words.errors import WordsUnavailable

from ....support.elasticsearch_standin import NO_MASTER, ElasticsearchStandIn
from ....support.shared_words import settings
from ....support.words import ENGLISH, indexed_ids

pytestmark = pytest.mark.anyio

ROWS = [(f"p{n}", f"passage number{n}") for n in range(6)]


class Server(ElasticsearchStandIn):
    """An Elasticsearch that refuses every second action of the next bulk requests."""

    refusals: list[int]

    def _refused(self, body: dict[str, Any], status: int) -> None:
        for item in body["items"][::2]:
            [result] = item.values()
            name, id = result["_index"], result["_id"]
            self.words.indices[name].documents.pop(id)
            result |= {"status": status, "error": {"type": "refused", "reason": "no room"}}

    async def start(self) -> None:
        """Listen, with refusals between the words and the client."""
        answer = self.words.answer

        def refusing(method: str, path: str, query: Any, raw: bytes) -> tuple[int, Any]:
            status, body = answer(method, path, query, raw)
            if path == "/_bulk" and self.refusals:
                self._refused(body, self.refusals.pop())
            return status, body

        self.words.answer = refusing  # type: ignore[method-assign]
        await super().start()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that refuses nothing yet."""
    standin = Server()
    standin.refusals = []
    async with standin:
        yield standin


@pytest.fixture
async def index(server: Server) -> AsyncIterator[ElasticsearchWords]:
    """The word indexes in it."""
    async with build(settings(server.url)) as words:
        yield words


async def test_no_room(server: Server, index: ElasticsearchWords) -> None:
    """Only what was refused is sent again, until all is there."""
    server.refusals = [429, 429]
    async with index.writing("town") as words:
        await words.add(ROWS, ENGLISH)
    assert await indexed_ids(index, "town") == [id for id, _ in ROWS]
    sent = [each.body.count(b'"index"') for each in server.bulks()]
    assert sent == [6, 3, 2]


async def test_a_refusal(server: Server, index: ElasticsearchWords) -> None:
    """Nothing is announced of what was not stored: the index is mended, or it is tried again."""
    server.refusals = [400]
    async with index.writing("town") as words:
        with pytest.raises(SearchError, match="no room"):
            await words.add(ROWS, ENGLISH)
    async with index.writing("town") as words:
        await words.add(ROWS, ENGLISH)
    assert (await index.state("town")).passages == 6


async def test_away(server: Server, index: ElasticsearchWords) -> None:
    """Whoever loads is told, and can do so again."""
    async with index.writing("town") as words:
        server.outage = NO_MASTER
        with pytest.raises(WordsUnavailable, match="master_not_discovered"):
            await words.add(ROWS, ENGLISH)
        server.outage = None
        await words.add(ROWS, ENGLISH)
    assert (await index.state("town")).passages == 6


async def test_large_loads_are_parted(server: Server, index: ElasticsearchWords) -> None:
    """No request is larger than what proxies take."""
    text = " ".join(f"word{n}" for n in range(2500))
    rows = [(f"p{n}", f"{n} {text}") for n in range(400)]
    async with index.writing("town") as words:
        await words.add(rows, ENGLISH)
    assert len(server.bulks()) > 1
    assert max(len(each.body) for each in server.bulks()) < 6 * 1024 * 1024


async def test_a_reply_for_other_actions(index: ElasticsearchWords) -> None:
    """It is damaged."""
    call = index.client.call

    async def short(method: str, path: str, *values: Any, **named: Any) -> Answer:
        found = await call(method, path, *values, **named)
        if path == "/_bulk":
            found.body["items"].pop()
        return found

    async with index.writing("town") as words:
        index.client.call = short  # type: ignore[method-assign]
        with pytest.raises(WordsUnavailable):
            await words.add(ROWS, ENGLISH)
