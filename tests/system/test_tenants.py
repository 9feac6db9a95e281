"""Nobody sees another one's documents, however many ask at once and however slow each step is."""

import asyncio
import random
import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from orbit_server.auth.key import Key
from orbit_server.auth.keys import Keys
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded

from ..support.ollama_standin import OllamaStandIn, quote_passage
from ..support.server import Running, configuration, events, running

pytestmark = pytest.mark.anyio

SUBJECTS = ("library", "pool", "market", "museum", "harbour", "cinema")
LONGEST_PAUSE = 0.03
NOTHING = "Nothing was found."


def pause() -> float:
    """Return a random time to wait, now and then none."""
    return max(0.0, random.uniform(-0.01, LONGEST_PAUSE))


class RestlessOllama(OllamaStandIn):
    """Every embedding, head and piece takes a time of its own."""

    @property
    def embed_delay(self) -> float:
        return pause()

    @embed_delay.setter
    def embed_delay(self, value: float) -> None: ...

    @property
    def head_delay(self) -> float:
        return pause()

    @head_delay.setter
    def head_delay(self, value: float) -> None: ...

    @property
    def piece_delay(self) -> float:
        return pause() / 4

    @piece_delay.setter
    def piece_delay(self, value: float) -> None: ...


class RestlessChroma(ChromaEmbedded):
    """Every call waits before and after its work."""

    async def _call(self, *arguments: Any, **more: Any) -> Any:
        await asyncio.sleep(pause())
        result = await super()._call(*arguments, **more)
        await asyncio.sleep(pause())
        return result


class RestlessKeys(Keys):
    """Every verification waits before and after its work."""

    def __init__(self, url: str, *, prefix: str) -> None:
        # Forgotten again and again, so that the database is asked in the middle of it all.
        super().__init__(url, prefix=prefix, remember_seconds=0.05)

    async def verify(self, secret: str) -> Key | None:
        await asyncio.sleep(pause())
        key = await super().verify(secret)
        await asyncio.sleep(pause())
        return key


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came back."""

    id: str
    tenant: str
    status: int
    text: str
    sources: Sequence[dict[str, Any]]


class ChatServer:
    """The server under test, with tenants whose questions are alike and whose answers are not."""

    def __init__(self, server: Running, ollama: OllamaStandIn, http: aiohttp.ClientSession) -> None:
        self.server, self.ollama, self.http = server, ollama, http
        self.asked = 0

    async def settle(self, tenant: str) -> dict[str, str]:
        """Store documents that say ``tenant`` in every answer, and return the header of its key."""
        await self.fill(tenant)
        key = await self.server.key(tenant)
        assert (await self.ask(tenant, key)).status == 200
        return key

    async def fill(self, tenant: str, edition: str = "") -> None:
        chunks = []
        for position, subject in enumerate(SUBJECTS):
            question = f"When does the {subject} open?"
            answer = f"The {subject} of {tenant} opens at {position + 6}.{edition}"
            metadata: dict[str, Any] = {"source": f"{tenant}.json", "position": position}
            metadata |= {"question": question, "answer": answer}
            chunks.append(Chunk.of(question, answer, metadata))
        await self.server.services.store.put(tenant, chunks, [])

    async def ask(self, tenant: str, key: dict[str, str]) -> Exchange:
        """Ask one question in a random form."""
        self.asked += 1
        id = f"request-{self.asked}"
        body: dict[str, Any] = {"message": f"When does the {random.choice(SUBJECTS)} open?"}
        body |= random.choice([{}, {"stream": False}, {"stream_format": "cumulative"}])
        headers = {**key, "X-Request-ID": id}
        async with self.http.post(
            f"{self.server.url}/chat", json=body, headers=headers
        ) as response:
            content = await response.read()
            if response.status != 200:
                return Exchange(id, tenant, response.status, content.decode(), [])
            if response.content_type == "application/json":
                reply = await response.json()
                return Exchange(id, tenant, 200, reply["response"], reply["sources"])
        *pieces, last = events(content)
        assert last["done"] is True
        texts = [event["text"] for event in pieces]
        if "error" in last:  # the stream has ended with its key
            assert last["error"] == "key_ended"
            return Exchange(id, tenant, 401, "".join(texts), [])
        text = texts[-1] if body.get("stream_format") else "".join(texts)
        return Exchange(id, tenant, 200, text, last["sources"])

    async def crowd(self, keys: dict[str, dict[str, str]], each: int) -> list[Exchange]:
        """Let every tenant ask ``each`` questions, all of them at the same time."""
        order = [tenant for tenant in keys for _ in range(each)]
        random.shuffle(order)
        return await asyncio.gather(*(self.ask(tenant, keys[tenant]) for tenant in order))

    async def logged(self, exchanges: Sequence[Exchange]) -> dict[str, dict[str, Any]]:
        """Return the chat log's records of ``exchanges`` by request id, when all are written."""
        async with asyncio.timeout(30):
            while True:
                records = {record["request_id"]: record for record in self.server.exchanges()}
                if all(exchange.id in records for exchange in exchanges):
                    return records
                await asyncio.sleep(0.02)

    async def leaks(self, exchanges: Sequence[Exchange]) -> list[str]:
        """Say wherever something of another tenant's came up.

        In the answer, the sources, the chat log and the prompt that Ollama was sent.
        """
        logged = await self.logged(exchanges)
        prompts = {
            request.headers["x-request-id"]: str(request.body)
            for request in self.ollama.requests
            if request.path == "/api/chat"
        }
        found = []
        for exchange in exchanges:
            record = logged[exchange.id]
            seen = {
                "answer": exchange.text,
                "sources": str(exchange.sources),
                "log": str(record),
                "prompt": prompts.get(exchange.id, exchange.tenant),
            }
            for place, text in seen.items():
                if tenants(text) - {exchange.tenant}:
                    found.append(f"{exchange.id} of {exchange.tenant}, {place}: {text}")
            ids = [source["id"] for source in exchange.sources]
            if [source["id"] for source in record["sources"]] != ids:
                found.append(f"{exchange.id}: the log has other sources than the answer")
        return found


def tenants(text: str) -> set[str]:
    """Return the names of all tenants in ``text``."""
    return set(re.findall(r"tenant-[\w-]*\d+", text))


@pytest.fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orbit_server.retrieval.chroma.ChromaEmbedded", RestlessChroma)
        patch.setattr("orbit_server.services.Keys", RestlessKeys)
        async with RestlessOllama() as ollama:
            ollama.reply = quote_passage
            ollama.dimension = 256
            config = configuration(
                tmp_path_factory.mktemp("town"),
                ollama__base_url=ollama.url,
                ollama__concurrency=0,
                answer__no_results_message=NOTHING,
                limits__wrong_keys_per_minute=0,
            )
            # Not kept alive: the server may end an idle connection just as a request goes into it.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            async with (
                running(config) as server,
                aiohttp.ClientSession(connector=connector) as http,
            ):
                yield ChatServer(server, ollama, http)


@pytest.mark.parametrize("count", [2, 10])
async def test_tenants_see_their_own_passages_only(town: ChatServer, count: int) -> None:
    """Hundreds of overlapping streams and replies, and everything belongs to the key's tenant."""
    keys = {f"tenant-{count}-{n}": await town.settle(f"tenant-{count}-{n}") for n in range(count)}
    exchanges = await town.crowd(keys, each=200 // count)
    assert {exchange.status for exchange in exchanges} == {200}
    assert await town.leaks(exchanges) == []
    for exchange in exchanges:
        assert exchange.tenant in exchange.text
        assert {source["source"] for source in exchange.sources} == {f"{exchange.tenant}.json"}
    assert town.ollama.max_active > 5, "the requests did not overlap"


async def test_a_collection_made_anew_under_load(town: ChatServer) -> None:
    """While one tenant's collection is deleted and loaded again, all still see their own."""
    keys = {f"tenant-anew-{n}": await town.settle(f"tenant-anew-{n}") for n in range(3)}
    changing = "tenant-anew-0"
    before = set(await town.server.services.store.ids(changing, f"{changing}.json"))
    load = asyncio.create_task(town.crowd(keys, each=50))
    for edition in range(3):
        await asyncio.sleep(2 * LONGEST_PAUSE)
        await town.server.services.store.drop(changing)
        await asyncio.sleep(LONGEST_PAUSE)
        await town.fill(changing, f" This is edition {edition}.")
    exchanges = await load
    assert await town.leaks(exchanges) == []
    for exchange in exchanges:
        if exchange.tenant != changing:
            assert (exchange.status, exchange.tenant in exchange.text) == (200, True)
        elif exchange.status == 200:
            assert exchange.tenant in exchange.text or exchange.text == NOTHING
        else:
            assert (exchange.status, "collection_not_found" in exchange.text) == (503, True)
    latest = await town.ask(changing, keys[changing])
    assert "edition 2" in latest.text
    assert not {source["id"] for source in latest.sources} & before


async def test_a_key_is_moved_under_load(town: ChatServer) -> None:
    """A key that is bound to another collection answers from one of the two, never from both."""
    old, new = "tenant-move-1", "tenant-move-2"
    key = await town.settle(old)
    await town.settle(new)
    keys = town.server.services.keys
    [moved] = [each for each in await keys.list() if each.collection == old]
    load = asyncio.gather(*(town.ask(old, key) for _ in range(60)))
    await asyncio.sleep(LONGEST_PAUSE)
    database = town.server.logs.parent / "orbit.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE api_keys SET collection = ? WHERE id = ?", (new, moved.id))
    keys.forget()
    during = await load
    after = await asyncio.gather(*(town.ask(new, key) for _ in range(10)))
    assert await town.leaks(after) == []
    logged = await town.logged([*during, *after])
    for exchange in during:
        assert exchange.status == 200
        told = tenants(exchange.text + str(exchange.sources))
        assert told == {logged[exchange.id]["collection"]}
    assert {logged[exchange.id]["collection"] for exchange in after} == {new}


async def test_an_ended_key_is_refused_under_load(town: ChatServer) -> None:
    """From the moment a key is deactivated it opens nothing, while others go on."""
    gone, staying = "tenant-end-1", "tenant-end-2"
    keys = {gone: await town.settle(gone), staying: await town.settle(staying)}
    load = asyncio.create_task(town.crowd(keys, each=30))
    await asyncio.sleep(LONGEST_PAUSE)
    assert await town.server.services.keys.deactivate(keys[gone]["X-API-Key"])
    after = [await town.ask(gone, keys[gone]) for _ in range(3)]
    assert [exchange.status for exchange in after] == [401] * 3
    for exchange in await load:
        refused = exchange.tenant == gone and exchange.status == 401
        assert exchange.status == 200 or refused
