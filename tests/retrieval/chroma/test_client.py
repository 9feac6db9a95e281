"""Chroma over REST and in process: one contract for both, and what is peculiar to each."""

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import chromadb
import chromadb.errors
import httptools
import orjson
import pytest
from aiohttp import web

from orbit_server.errors import (
    CollectionNotFound,
    EmbedderMismatch,
    NotStarted,
    SearchError,
    SearchTimeout,
    SearchUnavailable,
    Unprocessable,
)
from orbit_server.retrieval.chroma import embedded as chroma_embedded
from orbit_server.retrieval.chroma import rest as chroma_server
from orbit_server.retrieval.chroma.bindings import OpenFolder
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.chroma.lock import ChromaLocked, holder
from orbit_server.retrieval.chroma.protocol import Chroma, Record
from orbit_server.retrieval.chroma.rest import ChromaServer
from orbit_server.retrieval.chroma.validation import MAX_BATCH_RECORDS

from ...support.chroma_run import RunningChroma, chroma_run

pytestmark = [pytest.mark.anyio, pytest.mark.process]


pytest_plugins = ["tests.support.chroma_fixtures"]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def name() -> str:
    return f"docs-{uuid4().hex}"


async def fill(chroma: Chroma, name: str) -> None:
    await chroma.create(name, {"orbit_model": "m"})
    await chroma.upsert(
        name,
        ids=["east", "north", "north-east"],
        vectors=[[1, 0], [0, 1], [1, 1]],
        documents=["the east", "the north", None],
        metadatas=[{"source": "a.md", "position": 1}, {"source": "b.md", "ok": True}, None],
    )


async def test_stored_records_come_back(chroma: Chroma, name: str) -> None:
    """What is upserted is got, by ids, by filter, by page and as a whole."""
    await fill(chroma, name)
    east = Record("east", "the east", {"source": "a.md", "position": 1})
    assert await chroma.get(name, ids=["east", "unknown"]) == [east]
    assert await chroma.get(name, where={"source": "a.md"}) == [east]
    assert await chroma.get(name, ids=[]) == []
    assert await chroma.ids(name) == {"east", "north", "north-east"}
    assert await chroma.ids(name, where={"source": "a.md"}) == {"east"}
    assert await chroma.ids(name, ids=["north", "unknown"]) == {"north"}
    assert await chroma.ids(name, ids=[]) == set()
    assert {record.id for record in await chroma.get(name)} == {"east", "north", "north-east"}
    pages = [await chroma.get(name, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [len(page) for page in pages] == [2, 1, 0]
    assert await chroma.count(name) == 3


async def test_a_query_returns_the_nearest_first(chroma: Chroma, name: str) -> None:
    """Results come by ascending cosine distance, never more than asked for or stored."""
    await fill(chroma, name)
    found = await chroma.query(name, [2, 0.1], n=10, request_id="r-1")
    assert [record.id for record in found] == ["east", "north-east", "north"]
    distances = [record.distance for record in found]
    assert distances == pytest.approx([0.0012, 0.2585, 0.9501], abs=1e-3)
    assert len(await chroma.query(name, [2, 0.1], n=1)) == 1


async def test_a_search_reads_what_is_chosen(chroma: Chroma, name: str) -> None:
    """The choice is made from the nearest; what it names is whole, with its own distance."""
    await fill(chroma, name)
    seen: list[dict[str, float]] = []

    def choose(nearest: Mapping[str, float]) -> list[str]:
        seen.append(dict(nearest))
        return ["north", "unknown", *nearest]

    found = await chroma.search(name, [2, 0.1], n=1, choose=choose, request_id="r-1")
    assert [list(nearest) for nearest in seen] == [["east"]]
    read = {record.id: record for record in found}
    assert read.keys() == {"north", "east"}
    assert (read["east"].document, read["east"].metadata["source"]) == ("the east", "a.md")
    assert read["east"].distance == seen[0]["east"]
    assert read["north"].document == "the north"
    assert read["north"].distance == pytest.approx(0.9501, abs=1e-4)


async def test_a_search_that_chooses_nothing(chroma: Chroma, name: str) -> None:
    """Nothing is read then; an empty collection offers none; a vector must be numbers."""
    await fill(chroma, name)
    seen: list[str] = []

    def choose(nearest: Mapping[str, float]) -> list[str]:
        seen.extend(nearest)
        return []

    assert await chroma.search(name, [2, 0.1], n=2, choose=choose) == []
    assert seen == ["east", "north-east"]
    await chroma.create(f"{name}-empty", {})
    empty = await chroma.search(f"{name}-empty", [1, 0], n=3, choose=lambda nearest: ["east"])
    assert empty == []
    for call in (partial(chroma.search, choose=lambda nearest: []), chroma.query):
        with pytest.raises(SearchError, match="not made of numbers"):
            await call(name, [1, float("nan")], n=1)


async def test_missing_documents_and_metadata(chroma: Chroma, name: str) -> None:
    """A record without document or metadata has None and an empty dict, in get and query."""
    await fill(chroma, name)
    assert await chroma.get(name, ids=["north-east"]) == [Record("north-east", None, {})]
    [record] = await chroma.query(name, [1, 1], n=1)
    assert (record.id, record.document, record.metadata) == ("north-east", None, {})


async def test_an_upsert_replaces(chroma: Chroma, name: str) -> None:
    """A second upsert of an id replaces its vector, document and the keys it gives."""
    await fill(chroma, name)
    await chroma.upsert(
        name,
        ids=["east"],
        vectors=[[0, 1]],
        documents=["west"],
        metadatas=[{"source": "c.md", "position": 1}],
    )
    [record] = await chroma.get(name, ids=["east"])
    assert record == Record("east", "west", {"source": "c.md", "position": 1})
    assert await chroma.count(name) == 3


async def test_deleted_records_are_gone(chroma: Chroma, name: str) -> None:
    """Delete removes what is there, ignores what is not, and no ids mean nothing."""
    await fill(chroma, name)
    await chroma.delete(name, ids=["east", "unknown"])
    await chroma.delete(name, ids=[])
    assert {record.id for record in await chroma.get(name)} == {"north", "north-east"}


async def test_an_empty_collection(chroma: Chroma, name: str) -> None:
    """An empty collection answers everything with nothing, and has no dimension yet."""
    created = await chroma.create(name, {})
    assert (created.dimension, created.metadata, created.space) == (None, {}, "cosine")
    assert await chroma.query(name, [1, 0], n=3) == []
    assert await chroma.get(name) == []
    assert await chroma.count(name) == 0
    await chroma.upsert(name, ids=[], vectors=[], documents=[], metadatas=[])


async def test_the_dimension_shows_after_the_first_write(chroma: Chroma, name: str) -> None:
    """What is remembered of a collection does not hide the dimension of the first write."""
    await fill(chroma, name)
    assert (await chroma.collection(name)).dimension == 2


@pytest.mark.parametrize("operation", ["query", "upsert"])
async def test_another_dimension_is_a_mismatch(chroma: Chroma, name: str, operation: str) -> None:
    """Vectors of another length than the collection's are told apart from other errors."""
    await fill(chroma, name)
    with pytest.raises(EmbedderMismatch, match="dimension of 2, got 3"):
        if operation == "query":
            await chroma.query(name, [1, 0, 0], n=1)
        else:
            await chroma.upsert(
                name, ids=["x"], vectors=[[1, 0, 0]], documents=["x"], metadatas=[None]
            )


async def test_vectors_of_no_numbers_are_refused(chroma: Chroma, name: str) -> None:
    """NaN and infinity are errors, not distances."""
    await fill(chroma, name)
    for value in (float("nan"), float("inf")):
        with pytest.raises(SearchError):
            await chroma.query(name, [1, value], n=1)
        with pytest.raises(SearchError):
            await chroma.upsert(
                name, ids=["x"], vectors=[[1, value]], documents=["x"], metadatas=[None]
            )


async def test_create_returns_what_is_stored(chroma: Chroma, elsewhere: Any, name: str) -> None:
    """Creating a collection that exists changes nothing and shows its real space and metadata."""
    elsewhere.create_collection(name, metadata={"owner": "somebody"}, embedding_function=None)
    stored = await chroma.create(name, {"owner": "us"})
    assert (stored.metadata, stored.space) == ({"owner": "somebody"}, "l2")
    assert stored.id == (await chroma.collection(name)).id


@pytest.mark.parametrize(
    ("how", "space", "distance"),
    [
        ({"configuration": {"hnsw": {"space": "l2"}}}, "l2", 5.0),
        ({"configuration": {"hnsw": {"space": "ip"}}}, "ip", -1.0),
        ({"configuration": {"hnsw": {"space": "cosine"}}}, "cosine", 1 - 2 / 20**0.5),
        ({"metadata": {"hnsw:space": "ip"}}, "ip", -1.0),
        ({}, "l2", 5.0),
    ],
)
async def test_collections_made_by_others(
    chroma: Chroma, elsewhere: Any, name: str, how: dict[str, Any], space: str, distance: float
) -> None:
    """The space of a collection is read as stored, and its distances are of that space."""
    theirs = elsewhere.create_collection(name, embedding_function=None, **how)
    theirs.upsert(ids=["a"], embeddings=[[1.0, 2.0]])
    assert (await chroma.collection(name)).space == space
    [record] = await chroma.query(name, [2, 0], n=1)
    assert record.distance == pytest.approx(distance if space != "cosine" else 1 - 1 / 5**0.5)
    theirs.upsert(ids=["b", "zeros"], embeddings=[[2.0, 0.1], [0.0, 0.0]])
    every = {each.id: each.distance for each in await chroma.query(name, [2, 0], n=3)}
    assert {each.id: each.distance for each in await chroma.get(name, vector=[2, 0])} == (
        pytest.approx(every, abs=1e-6)
    )
    read = await chroma.search(name, [2, 0], n=1, choose=lambda nearest: list(every))
    assert {each.id: each.distance for each in read} == pytest.approx(every, abs=1e-6)


async def test_list_and_drop(chroma: Chroma, name: str) -> None:
    """Collections are listed by name, and dropped ones are gone for every call."""
    await chroma.create(f"{name}-b", {"n": 1})
    await chroma.create(f"{name}-a", {"n": 2})
    await fill(chroma, f"{name}-a")
    ours = [each for each in await chroma.collections() if each.name.startswith(name)]
    assert [(each.name, each.metadata) for each in ours] == [
        (f"{name}-a", {"n": 2}),
        (f"{name}-b", {"n": 1}),
    ]
    await chroma.drop(f"{name}-a")
    for call in (chroma.collection, chroma.count, chroma.get, chroma.drop):
        with pytest.raises(CollectionNotFound):
            await call(f"{name}-a")


async def test_recreated_elsewhere(chroma: Chroma, elsewhere: Any, name: str) -> None:
    """A collection deleted and made anew by others is found again under its new UUID."""
    await fill(chroma, name)
    before = await chroma.collection(name)
    elsewhere.delete_collection(name)
    theirs = elsewhere.create_collection(name, embedding_function=None)
    theirs.upsert(ids=["new"], embeddings=[[1.0, 0.0, 0.0]], documents=["new text"])
    found = await asyncio.gather(*(chroma.query(name, [1, 0, 0], n=5) for _ in range(20)))
    assert all([record.document for record in records] == ["new text"] for records in found)
    after = await chroma.collection(name)
    assert after.id != before.id
    assert (after.space, after.dimension) == ("l2", 3)


async def test_deleted_elsewhere(chroma: Chroma, elsewhere: Any, name: str) -> None:
    """A collection deleted by others is not found, whatever was remembered of it."""
    await fill(chroma, name)
    assert await chroma.count(name) == 3
    elsewhere.delete_collection(name)
    with pytest.raises(CollectionNotFound):
        await chroma.search(name, [1, 0], n=1, choose=lambda nearest: ["east"])
    with pytest.raises(CollectionNotFound):
        await chroma.collection(name)


async def test_modify_replaces_metadata(chroma: Chroma, elsewhere: Any, name: str) -> None:
    """Modify replaces all metadata, also where it named the space, and shows at once."""
    elsewhere.create_collection(
        name, metadata={"hnsw:space": "ip", "old": 1}, embedding_function=None
    )
    await chroma.modify(await chroma.collection(name), {"new": 2})
    changed = await chroma.collection(name)
    assert (changed.metadata, changed.space) == ({"new": 2}, "ip")
    await chroma.modify(changed, {"hnsw:space": "ip", "new": 3})
    assert (await chroma.collection(name)).metadata == {"hnsw:space": "ip", "new": 3}
    with pytest.raises(ValueError, match="empty"):
        await chroma.modify(changed, {})


async def test_modify_means_exactly_one_collection(
    chroma: Chroma, elsewhere: Any, name: str
) -> None:
    """Metadata for a collection that has been replaced does not land in its successor."""
    old = await chroma.create(name, {"n": 1})
    elsewhere.delete_collection(name)
    elsewhere.create_collection(name, metadata={"n": 2}, embedding_function=None)
    with pytest.raises(CollectionNotFound):
        await chroma.modify(old, {"n": 3})
    assert (await chroma.collection(name)).metadata == {"n": 2}


@pytest.mark.parametrize(
    "bad",
    ["", "a", "ab", "-abc", "abc.", "a..b", "192.168.0.1", "a/b", "../../x", "a b c", "münchen",
     "abc\n", "a" * 513],
)  # fmt: skip
async def test_names_that_cannot_be(bad: str) -> None:
    """A name that Chroma would refuse is refused in words, before anything is sent."""
    for chroma in (ChromaServer("127.0.0.1", 1), ChromaEmbedded("/nowhere")):
        for call in (chroma.collection, chroma.drop, chroma.count, chroma.get):
            with pytest.raises(Unprocessable) as caught:
                await call(bad)
            assert "3 to 512 letters" in caught.value.detail


async def test_names_that_can_be(chroma: Chroma, name: str) -> None:
    """Every name within the rule is taken by Chroma as well."""
    for good in (f"{name}.A_b-9", f"{name}1.2.3.4", f"0{'x' * 471}{name}", f"{name}.0"):
        assert (await chroma.create(good, {"a": 1})).name == good
        await chroma.drop(good)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, None, float("nan"), b"a"])
async def test_metadata_is_scalar(chroma: Chroma, name: str, value: Any) -> None:
    """Other metadata than texts, numbers and truth values is refused before anything is written."""
    with pytest.raises(ValueError, match="'key'"):
        await chroma.create(name, {"key": value})
    created = await chroma.create(name, {"a": 1})
    with pytest.raises(ValueError, match="'key'"):
        await chroma.modify(created, {"key": value})
    with pytest.raises(ValueError, match="'key'"):
        await chroma.upsert(
            name,
            ids=["good", "bad"],
            vectors=[[1, 0], [0, 1]],
            documents=["", ""],
            metadatas=[{"a": 1}, {"key": value}],
        )
    assert await chroma.count(name) == 0


async def test_records_that_are_not_records(chroma: Chroma, name: str) -> None:
    """Lists of unequal length and texts that are not Unicode are the caller's mistake."""
    await chroma.create(name, {})
    with pytest.raises(ValueError, match="shorter"):
        await chroma.upsert(name, ids=["a", "b"], vectors=[[1]], documents=[""], metadatas=[None])
    with pytest.raises(ValueError, match="surrogates"):
        await chroma.upsert(name, ids=["a"], vectors=[[1]], documents=["\ud800"], metadatas=[None])


async def test_more_records_than_a_batch(chroma: Chroma, name: str) -> None:
    """Writing and deleting go on where Chroma's limit for one call ends."""
    await chroma.create(name, {})
    count = MAX_BATCH_RECORDS + 2
    ids = [f"id-{number}" for number in range(count)]
    await chroma.upsert(
        name,
        ids=ids,
        vectors=[[number, 1.0] for number in range(count)],
        documents=ids,
        metadatas=[{"n": number} for number in range(count)],
    )
    assert await chroma.count(name) == count
    assert len(await chroma.get(name, ids=ids)) == count
    await chroma.delete(name, ids=ids)
    assert await chroma.count(name) == 0


async def test_a_big_write_lets_others_run(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chromadb stops every thread while it takes over vectors, so it is given few at a time.

    Where there are no others, it is given many, which takes a third less of the processor.
    """
    turns: list[int] = []
    writes: list[int] = []

    upsert = OpenFolder.upsert

    def counted(folder: OpenFolder, id: str, body: dict[str, Any]) -> None:
        writes.append(len(body["ids"]))
        upsert(folder, id, body)

    monkeypatch.setattr(OpenFolder, "upsert", counted)

    async def others() -> None:
        while True:
            turns.append(len(writes))
            await asyncio.sleep(0)

    async with ChromaEmbedded(tmp_path) as chroma:
        await chroma.create(name, {})
        running = asyncio.create_task(others())
        await chroma.upsert(
            name,
            ids=[f"id-{number}" for number in range(100)],
            vectors=[[number, 1.0] for number in range(100)],
            documents=["text"] * 100,
            metadatas=[{"n": number} for number in range(100)],
        )
        running.cancel()
        assert await chroma.count(name) == 100
    assert sum(writes) == 100
    assert max(writes) <= 32
    # Between any write and the next one the loop has gone round.
    assert set(range(1, len(writes))) <= set(turns)

    writes.clear()
    async with ChromaEmbedded(tmp_path) as chroma:
        chroma.answers_meanwhile = False
        ids = [f"id-{number}" for number in range(300)]
        nothing: list[None] = [None] * 300
        await chroma.upsert(
            name, ids=ids, vectors=[[1, 1]] * 300, documents=nothing, metadatas=nothing
        )
        assert await chroma.count(name) == 300
    assert writes == [256, 44]


async def test_collections_do_not_mix(chroma: Chroma, name: str) -> None:
    """Hundreds of interleaved queries each see the records of the collection they name."""
    names = [f"{name}-{number}" for number in range(5)]
    for each in names:
        await chroma.create(each, {})
        await chroma.upsert(each, ids=["a"], vectors=[[1, 0]], documents=[each], metadatas=[None])

    async def ask(each: str) -> bool:
        return [record.document for record in await chroma.query(each, [1, 0], n=3)] == [each]

    assert all(await asyncio.gather(*(ask(each) for each in names * 60)))


async def test_bad_filters_are_search_errors(chroma: Chroma, name: str) -> None:
    """What Chroma refuses arrives as a SearchError with its reason."""
    await fill(chroma, name)
    with pytest.raises(SearchError, match="Invalid where clause"):
        await chroma.get(name, where={"n": {"$bad": 1}})


async def test_outside_of_its_block(tmp_path: Path, server: RunningChroma) -> None:
    """A client that is not open yet, or not any more, says so; it can be opened again."""
    for chroma in (ChromaServer(server.host, server.port), ChromaEmbedded(tmp_path)):
        with pytest.raises(NotStarted):
            await chroma.heartbeat()
        for _ in range(2):
            async with chroma:
                await chroma.heartbeat()
        with pytest.raises(NotStarted):
            await chroma.collections()


# Over REST


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def standing_in(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve ``answer`` for every request on a free port, which is yielded."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def described(name: str, **other: Any) -> dict[str, Any]:
    space = {"hnsw": {"space": "cosine"}}
    stored = {"name": name, "configuration_json": space, "metadata": None, "dimension": 2}
    return {"id": str(uuid4())} | stored | other


def refusing(status: int, text: str, content_type: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=content_type)

    return answer


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id"')
    assert request.transport is not None
    request.transport.close()
    return response


async def talk_gibberish(request: web.Request) -> web.Response:
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    request.transport.close()
    return web.Response()


def objecting(status: int, error: str, message: str) -> Answer:
    body = orjson.dumps({"error": error, "message": message}).decode()
    return refusing(status, body, "application/json")


HTML = "<html><h1>502 Bad Gateway</h1></html>"
NO_COLLECTION = "Collection [docs] does not exist"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (hang_up, SearchUnavailable, "cannot be reached"),
        (cut_short, SearchUnavailable, "cannot be reached"),
        (talk_gibberish, SearchError, "failed"),
        (refusing(429, "You have been rate limited.", "text/plain"), SearchUnavailable, "rate"),
        (refusing(503, "", "text/plain"), SearchUnavailable, "no reason given"),
        (refusing(502, HTML, "text/html"), SearchUnavailable, "Bad Gateway"),
        (refusing(504, HTML, "text/html"), SearchTimeout, "504"),
        (refusing(413, "Payload too large", "text/plain"), SearchError, "413.*too large"),
        (refusing(200, HTML, "text/html"), SearchError, "the format of Chroma"),
        (refusing(200, '{"a": 1}', "application/json"), SearchError, "the format of Chroma"),
        (refusing(200, "[]", "application/json"), SearchError, "the format of Chroma"),
        (refusing(302, "", "text/plain"), SearchError, "302"),
        (refusing(404, "", "text/plain"), SearchError, "404"),
        (refusing(422, "{}", "application/json"), SearchError, "422"),
        (objecting(410, "Unimplemented", "use /v2"), SearchError, "use /v2"),
        (objecting(500, "InternalError", "disk"), SearchError, "disk"),
        (objecting(404, "NotFoundError", "Database [d] not found."), SearchError, "Database"),
        (objecting(404, "NotFoundError", NO_COLLECTION), CollectionNotFound, "docs"),
    ],
)  # fmt: skip
async def test_answers_of_a_sick_server(
    answer: Answer, error: type[SearchError], words: str
) -> None:
    """Whatever comes back instead of a reply is an error of its own kind, with the reason in it."""
    async with standing_in(answer) as port, ChromaServer("127.0.0.1", port) as chroma:
        with pytest.raises(SearchError, match=words) as caught:
            await chroma.collection("docs")
    assert type(caught.value) is error


async def test_nobody_listens(unused_port: int) -> None:
    """A refused connection means that Chroma is unavailable."""
    async with ChromaServer("127.0.0.1", unused_port) as chroma:
        with pytest.raises(SearchUnavailable, match=f"127.0.0.1:{unused_port}"):
            await chroma.query("docs", [1, 0], n=1)


@pytest.fixture
async def unused_port() -> int:
    async with standing_in(hang_up) as port:
        return port


async def test_a_slow_server() -> None:
    """A server that does not answer within the timeout is a timeout."""

    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with standing_in(never) as port, ChromaServer("127.0.0.1", port, timeout=0.2) as chroma:
        with pytest.raises(SearchTimeout):
            await chroma.heartbeat()


async def test_a_server_that_restarts(tmp_path: Path, name: str) -> None:
    """While Chroma is down calls fail as unavailable, and afterwards they work again."""
    async with chroma_run(tmp_path) as running:
        port = running.port
        client = ChromaServer(running.host, port, timeout=60)
        await client.__aenter__()
        await fill(client, name)
    with pytest.raises(SearchUnavailable):
        await client.query(name, [1, 0], n=1)
    async with chroma_run(tmp_path, port=port):
        [record] = await client.query(name, [1, 0], n=1)
    await client.__aexit__()
    assert record.id == "east"


async def test_cancelling_hangs_up() -> None:
    """A cancelled call closes its connection, so that the server can stop working."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with standing_in(wait) as port, ChromaServer("127.0.0.1", port) as chroma:
        call = asyncio.create_task(chroma.count("docs"))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(30):
            await left.wait()


async def test_more_calls_at_once_than_a_pool() -> None:
    """No call waits for another one's connection."""
    everybody = asyncio.Barrier(150)

    async def meet(request: web.Request) -> web.Response:
        await everybody.wait()
        return web.json_response({"nanosecond heartbeat": 1})

    async with standing_in(meet) as port, ChromaServer("127.0.0.1", port, timeout=60) as chroma:
        await asyncio.gather(*(chroma.heartbeat() for _ in range(150)))


async def test_what_is_sent() -> None:
    """Every request carries the headers, tenant and database; searches carry the request id."""
    seen: list[tuple[str, str | None, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        token, request_id = (request.headers.get(key) for key in ("X-Token", "X-Request-ID"))
        seen.append((request.raw_path, token, request_id))
        if request.method == "GET":
            return web.json_response(described("docs", id="an-id"))
        return web.json_response(
            {"ids": [[]], "documents": [[]], "metadatas": [[]], "distances": [[]]}
        )

    async with (
        standing_in(answer) as port,
        ChromaServer(
            "127.0.0.1", port, headers={"X-Token": "t"}, tenant="a/b", database="db"
        ) as chroma,
    ):
        for _ in range(2):
            await chroma.query("docs", [1, 0], n=1, request_id="r-7")
    collections = "/api/v2/tenants/a%2Fb/databases/db/collections"
    query = (f"{collections}/an-id/query", "t", "r-7")
    assert seen == [(f"{collections}/docs", "t", None), query, query]


FOREIGN_FIRST = ["documents", "ids", "embeddings", "metadatas"]


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("order", [["ids", "embeddings", "documents", "metadatas"], FOREIGN_FIRST])
async def test_vectors_of_a_reply(order: list[str], spaces: bool) -> None:
    """They are read wherever they stand, and no text of a record is taken for them."""
    trap = ']] "embeddings":[[9,9]] \\"embeddings\\":[[9,9]] \\'
    columns: dict[str, Any] = {"ids": ["a", "b"], "embeddings": [[1.0, 0.0], [0.0, 2.5e-3]]}
    columns |= {"documents": [trap, None], "metadatas": [{"source": trap}, None]}
    reply = {key: columns[key] for key in order}

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(described("docs"))
        text = json.dumps(reply) if spaces else compact(reply)
        return web.Response(text=text, content_type="application/json")

    async with standing_in(answer) as port, ChromaServer("127.0.0.1", port) as chroma:
        near, far = await chroma.get("docs", vector=[2, 0])
    assert (near.document, near.metadata, near.distance) == (trap, {"source": trap}, 0.0)
    assert (far.document, far.metadata) == (None, {})
    assert far.distance == pytest.approx(1.0)


async def test_a_reply_without_a_vector() -> None:
    """It is an error, not a distance."""

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(described("docs"))
        columns = {"embeddings": [[1.0, 0.0], None], "documents": None, "metadatas": [None, None]}
        return web.json_response({"ids": ["a", "b"], **columns}, dumps=compact)

    async with standing_in(answer) as port, ChromaServer("127.0.0.1", port) as chroma:
        with pytest.raises(SearchError, match="does not have the format of Chroma"):
            await chroma.get("docs", vector=[2, 0])


def compact(value: object) -> str:
    return orjson.dumps(value).decode()


async def test_secrets_stay_out_of_errors() -> None:
    """A credential that comes back in a refusal is not repeated."""

    async def echo(request: web.Request) -> web.Response:
        message = f"no access with {request.headers['Authorization']}"
        return web.json_response({"error": "ChromaError", "message": message}, status=403)

    headers = {"Authorization": "Bearer s3cret"}
    async with (
        standing_in(echo) as port,
        ChromaServer("127.0.0.1", port, headers=headers) as chroma,
    ):
        with pytest.raises(SearchError, match="no access") as caught:
            await chroma.collections()
    assert "s3cret" not in str(caught.value)


async def test_writes_are_cut_by_size() -> None:
    """Bodies stay below the limit, and vectors travel as little-endian float32 in base64."""
    limit = 100_000
    sizes: list[int] = []
    ids: list[str] = []
    vectors: list[tuple[float, ...]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(described("docs"))
        content = await request.read()
        body = orjson.loads(content)
        sizes.append(len(content))
        ids.extend(body["ids"])
        for text in body["embeddings"]:
            vectors.append(struct.unpack("<300f", base64.b64decode(text)))
        return web.json_response({})

    async with (
        standing_in(answer) as port,
        ChromaServer("127.0.0.1", port, batch_bytes=limit) as chroma,
    ):
        await chroma.upsert(
            "docs",
            ids=[f"id-{number}" for number in range(200)],
            vectors=[[number / 4] * 300 for number in range(200)],
            documents=["ü" * (60_000 if number == 100 else 500) for number in range(200)],
            metadatas=[{"n": number} for number in range(200)],
        )
    assert ids == [f"id-{number}" for number in range(200)]
    assert vectors == [(number / 4,) * 300 for number in range(200)]
    assert len(sizes) > 5
    assert sorted(sizes)[-2] < limit * 1.1 < sorted(sizes)[-1]


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's certificate that nobody vouches for."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs openssl to make a certificate")
    key, file = tmp_path / "key.pem", tmp_path / "cert.pem"
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command: list[str | Path] = [openssl, *new, "-keyout", key, "-out", file]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key)
    return context


async def test_certificates_are_verified(certificate: ssl.SSLContext) -> None:
    """A server with a certificate that nobody vouches for is not talked to."""
    async with (
        standing_in(refusing(200, "{}", "application/json"), tls=certificate) as port,
        ChromaServer("localhost", port, ssl=True) as chroma,
    ):
        with pytest.raises(SearchUnavailable, match="certificate verify failed"):
            await chroma.heartbeat()


# In process


async def test_writes_leave_time_to_those_who_search(tmp_path: Path, name: str) -> None:
    """Chroma stops every thread while it writes, so it rests after it when somebody searches.

    Not where nobody searches, nor where nobody else is served.
    """
    record: dict[str, Any] = {"ids": ["a"], "vectors": [[1.0, 0.0]]}
    record |= {"documents": ["text"], "metadatas": [None]}

    async with ChromaEmbedded(tmp_path, lately=3600, rest=1e9) as chroma:
        await chroma.create(name, {})
        await chroma.upsert(name, **record)
        await chroma.upsert(name, **record)
        await chroma.search(name, [1, 0], n=1, choose=list)
        writes = chroma.upsert(name, **record), chroma.delete(name, ids=["a"])
        waiting = [asyncio.create_task(write) for write in writes]
        for _ in range(5):
            assert len(await chroma.search(name, [1, 0], n=1, choose=list)) == 1
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        chroma.answers_meanwhile = False
        await chroma.delete(name, ids=["a"])

    async with ChromaEmbedded(tmp_path, lately=3600, rest=0.1) as chroma:
        await chroma.upsert(name, **record)
        await chroma.search(name, [1, 0], n=1, choose=list)
        await chroma.delete(name, ids=["a"])
        assert await chroma.count(name) == 0


def test_every_library_error_is_translated() -> None:
    """No exception of httptools, asyncio or chromadb escapes, however it is made."""
    modules = (httptools, asyncio, ssl, socket)
    for error in exceptions_of(*modules) | {ValueError, RuntimeError, TypeError, OSError}:
        with pytest.raises(SearchError), chroma_server._translated_http("here"):
            raise unmade(error)
    panic = type("PanicException", (BaseException,), {})
    for error in exceptions_of(chromadb.errors) | {SystemError, ImportError, panic}:
        with pytest.raises(SearchError), chroma_embedded._translated_chromadb(Path("here")):
            raise unmade(error)
    with pytest.raises(asyncio.CancelledError), chroma_server._translated_http("here"):
        raise asyncio.CancelledError


def exceptions_of(*modules: Any) -> set[type[BaseException]]:
    members = (member for module in modules for member in vars(module).values())
    kinds = {each for each in members if isinstance(each, type) and issubclass(each, Exception)}
    return {kind for kind in kinds if not getattr(kind, "__abstractmethods__", None)}


def unmade(error: type[BaseException]) -> BaseException:
    """An exception without any of the attributes that its constructor would set."""
    made: BaseException = BaseException.__new__(error)
    return made


async def test_a_panic_of_chroma(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A panic in Chroma's Rust, which no ``except Exception`` catches, is a SearchError."""
    async with ChromaEmbedded(tmp_path) as chroma:
        with pytest.raises(SearchError, match="PanicException"):
            body: dict[str, Any] = {"name": "docs", "metadata": {"list": [1, 2]}}
            await chroma._call("create", body=body | {"configuration": {}, "get_or_create": False})
        await chroma.heartbeat()


async def test_folders_persist_and_do_not_mix(tmp_path: Path, name: str) -> None:
    """A folder is made, keeps its records when closed and opened, and two can be open at once."""
    one, two = ChromaEmbedded(tmp_path / "new" / "one"), ChromaEmbedded(tmp_path / "two")
    async with one, two:
        await fill(one, name)
        with pytest.raises(CollectionNotFound):
            await two.collection(name)
    async with ChromaEmbedded(tmp_path / "new" / "one") as again:
        assert await again.count(name) == 3


async def test_from_a_server_to_this_process(tmp_path: Path, name: str) -> None:
    """What a server wrote is used in process, also where it names an embedding function.

    chromadb's own collections would try to build that function, and warn or fail.
    """
    function = {"type": "known", "name": "openai", "config": {"api_key_env_var": "NOT_SET"}}
    body = {"name": name, "configuration": {"embedding_function": function}}
    async with chroma_run(tmp_path) as running:
        base = f"http://{running.host}:{running.port}/api/v2/tenants/default_tenant"
        url = f"{base}/databases/default_database/collections"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            assert response.status == 200
        async with ChromaServer(running.host, running.port, timeout=60) as server:
            await fill(server, name)
    async with ChromaEmbedded(tmp_path / "data") as embedded:
        assert [each.name for each in await embedded.collections()] == [name]
        await fill(embedded, name)
        assert len(await embedded.query(name, [1, 0], n=5)) == 3


async def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A path that cannot be a folder, or whose database is broken, is a SearchError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match="Not a directory"):
        await ChromaEmbedded(tmp_path / "file" / "chroma").__aenter__()
    (tmp_path / "chroma.sqlite3").write_text("this is no database" * 100)
    with pytest.raises(SearchError):
        await ChromaEmbedded(tmp_path).__aenter__()
    assert holder(tmp_path) is None


async def test_cancelling_returns_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled call returns while its thread is still busy, and the others go on."""
    begun, finish = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        begun.set()
        assert finish.wait(60)

    async with ChromaEmbedded(tmp_path) as chroma:
        monkeypatch.setattr(OpenFolder, "heartbeat", hang)
        call = asyncio.create_task(chroma.heartbeat())
        assert await asyncio.to_thread(begun.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await chroma.collections() == []
        assert not finish.is_set()
        finish.set()


async def test_cancelled_while_opening(tmp_path: Path) -> None:
    """An opening that is cancelled leaves nothing open and nothing locked."""
    chroma = ChromaEmbedded(tmp_path)
    opening = asyncio.create_task(chroma.__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert holder(tmp_path) is None
    async with chroma:
        await chroma.heartbeat()


async def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """The message says what is there, which setting names it, and not that it exists."""
    path = tmp_path / "chroma"
    path.write_text("")
    with pytest.raises(SearchError) as caught:
        await ChromaEmbedded(path).__aenter__()
    assert str(caught.value) == (
        f"The Chroma folder {path} cannot be used: it is not a folder."
        " Fix that, or name another folder in chroma.path."
    )


async def test_the_folder_is_locked(tmp_path: Path) -> None:
    """Whoever comes second is told who was first and where; looking takes nothing."""
    assert holder(tmp_path) is None
    assert holder(tmp_path / "missing") is None
    async with ChromaEmbedded(tmp_path, address="http://127.0.0.1:3000") as chroma:
        expected = {"pid": os.getpid(), "address": "http://127.0.0.1:3000"}
        assert holder(tmp_path) == holder(str(tmp_path)) == expected
        with pytest.raises(ChromaLocked) as caught:
            await ChromaEmbedded(tmp_path).__aenter__()
        assert (caught.value.path, caught.value.pid) == (tmp_path, os.getpid())
        assert str(caught.value) == (
            f"The Chroma folder {tmp_path} is in use by process {os.getpid()},"
            " which answers at http://127.0.0.1:3000. One process at a time can open it;"
            " several, such as workers of a host, need a Chroma server (chroma.host)."
        )
        await chroma.heartbeat()
    assert holder(tmp_path) is None


async def test_looking_does_not_get_in_the_way(tmp_path: Path) -> None:
    """Somebody who keeps asking who holds the folder does not keep others from opening it."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            holder(tmp_path)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(5):
            async with ChromaEmbedded(tmp_path) as chroma:
                await chroma.heartbeat()
    finally:
        stop.set()
        looking.join()


HOLD = """
import asyncio, sys
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded

async def main(path):
    async with ChromaEmbedded(path, address="http://child") as chroma:
        await chroma.create("from-child", {})
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def holding(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has opened ``path``, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


async def test_a_killed_holder_frees_the_folder(tmp_path: Path) -> None:
    """After SIGKILL of the process that held it, the folder can be opened with all it holds."""
    with holding(tmp_path) as process:
        assert holder(tmp_path) == {"pid": process.pid, "address": "http://child"}
        with pytest.raises(ChromaLocked, match=f"process {process.pid}, which answers at"):
            await ChromaEmbedded(tmp_path).__aenter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder(tmp_path) is None
        async with ChromaEmbedded(tmp_path) as chroma:
            assert (await chroma.collection("from-child")).name == "from-child"


async def test_a_child_that_does_not_ask_inherits_nothing(tmp_path: Path) -> None:
    """A process started while the folder is open does not hold it afterwards."""
    async with ChromaEmbedded(tmp_path):
        child = await asyncio.to_thread(subprocess.Popen, ["sleep", "60"], close_fds=False)
    try:
        assert holder(tmp_path) is None
    finally:
        child.kill()
        child.wait()


RESET = """
def can_reset(chroma):
    try:
        return chroma._open_folder._rust.reset()
    except Exception as error:
        return "disabled" not in str(error)
"""
ENVIRONMENT = {
    "ALLOW_RESET": "true",
    "ANONYMIZED_TELEMETRY": "true",
    "CHROMA_API_IMPL": "chromadb.api.fastapi.FastAPI",
    "CHROMA_OTEL_COLLECTION_ENDPOINT": "http://127.0.0.1:1",
    "CHROMA_OTEL_GRANULARITY": "all",
    "CHROMA_SERVER_HOST": "127.0.0.1",
    "CHROMA_SERVER_HTTP_PORT": "1",
    "IS_PERSISTENT": "false",
    "MIGRATIONS": "none",
    "PERSIST_DIRECTORY": "elsewhere",
}


@pytest.mark.parametrize("where", [".env", "environment"])
def test_settings_of_others_change_nothing(tmp_path: Path, where: str) -> None:
    """Neither the environment nor a ``.env`` in the current folder changes how Chroma is opened."""
    script = f"{RESET}\n{HOLD.replace('print(', 'print(can_reset(chroma), ')}"
    settings = dict(ENVIRONMENT)
    if where == ".env":
        lines = "\n".join(f"{key}={value}" for key, value in settings.items())
        (tmp_path / ".env").write_text(lines)
        settings = {}
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "chroma"],
        cwd=tmp_path,
        env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.returncode) == ("False open\n", 0), result.stderr
    assert (tmp_path / "chroma" / "chroma.sqlite3").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_chromadb_is_imported_when_opened() -> None:
    """Importing the module, and making both clients, loads neither Chroma nor numpy."""
    script = (
        "import sys; from orbit_server.retrieval.chroma.embedded import ChromaEmbedded;"
        "from orbit_server.retrieval.chroma.rest import ChromaServer;"
        "ChromaEmbedded('x'); ChromaServer('localhost', 8000);"
        "print({'chromadb', 'chromadb_rust_bindings', 'numpy'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout == "set()\n", result.stderr


USE = """
import asyncio, sys
from orbit_server.errors import CollectionNotFound
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded

async def main():
    async with ChromaEmbedded(sys.argv[1]) as chroma:
        try:
            await chroma.collection("docs")
        except CollectionNotFound:
            await chroma.create("docs", {"a": 1})
        record = {"documents": ["text"], "metadatas": [{"source": "a"}]}
        await chroma.upsert("docs", ids=["a"], vectors=[[1.0, 0.0]], **record)
        assert await chroma.search("docs", [1.0, 0.0], n=1, choose=list)
        await chroma.delete("docs", ids=["a"])
    print({"chromadb", "numpy", "opentelemetry"} & set(sys.modules))

asyncio.run(main())
"""


def test_chroma_is_used_without_the_package_around_it(tmp_path: Path) -> None:
    """Nothing of it is imported, not even for a collection that is missing."""
    result = subprocess.run(
        [sys.executable, "-c", USE, tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout == "set()\n", result.stderr
