"""Collections through this process and through a running server: the same store twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from aiohttp import web

from orbit_server.documents.collection_store import CollectionStore, Store, Stored
from orbit_server.documents.model import Chunk
from orbit_server.documents.remote_store import RemoteStore
from orbit_server.errors import (
    CollectionNotFound,
    EmbedderMismatch,
    Forbidden,
    ModelError,
    NotStarted,
    SearchError,
    SearchUnavailable,
)
from orbit_server.retrieval.embedders import embedder_metadata
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.retrieval.words.mending import without_entries
from orbit_server.retrieval.words.writing import Writing

from ..support.ports import free_port
from ..support.server import ADMIN_TOKEN, Running, lexical, running
from ..support.words import indexed_ids, local

pytestmark = pytest.mark.anyio

NUMBERS = count()
SUMMARY = ("name", "id", "chunks", "embedder", "model", "dimension", "space", "languages")


def chunk(text: str, source: str = "a.md", **metadata: Any) -> Chunk:
    """Return a chunk of ``source`` that is found by its own words."""
    return Chunk.of(text, text, {"source": source, "position": 0, **metadata})


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(lexical(tmp_path_factory.mktemp("store"))) as server:
        yield server


@pytest.fixture(params=["local", "remote"])
async def store(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[Store]:
    if request.param == "local":
        yield server.services.store
    else:
        async with RemoteStore(server.url + "/", ADMIN_TOKEN) as remote:
            yield remote


@pytest.fixture
def name() -> str:
    """A collection that is not there yet."""
    return f"town-{next(NUMBERS)}"


@pytest.fixture
async def elsewhere(server: Running, name: str) -> str:
    """A collection that another embedder made."""
    metadata = {"orbit_embedder": "ollama", "orbit_model": "bge-m3", "orbit_dimension": 2}
    await server.services.chroma.create(name, metadata)
    await server.services.chroma.upsert(
        name, ids=["x"], vectors=[[0.6, 0.8]], documents=["x"], metadatas=[{"source": "x.md"}]
    )
    return name


async def test_chunks_are_put_listed_and_found(store: Store, name: str) -> None:
    """The collection is made by the first chunk, is cosine, and says how it was embedded."""
    library = chunk("library hours", heading="Über uns", open=True, rate=1.5)
    pool = chunk("pool prices", "b.md", question="What does the pool cost?", answer="Two euros.")
    await store.put(name, [library, pool], [])
    assert await store.sources(name) == {"a.md": 1, "b.md": 1}
    assert await store.ids(name, "a.md") == {library.id}
    shown = await store.show(name)
    assert (shown["name"], shown["chunks"], shown["space"]) == (name, 2, "cosine")
    assert (shown["embedder"], shown["model"]) == ("lexical", LexicalEmbedder.model)
    assert (shown["dimension"], shown["sources"]) == (1024, {"a.md": 1, "b.md": 1})
    summary = {key: shown[key] for key in SUMMARY}
    assert summary in await store.collections()
    [passage] = await store.search(name, "price of the pool")
    assert (passage.id, passage.source, passage.answer) == (pool.id, "b.md", "Two euros.")
    [passage] = await store.search(name, "hours of the library")
    assert (passage.text, passage.title) == ("library hours", "Über uns")
    assert passage.score > 0.5


async def test_the_languages_of_a_collection(store: Store, name: str) -> None:
    """They are detected from what is loaded first, and from all of it at the end, until given."""

    async def languages() -> list[str]:
        found: list[str] = (await store.show(name))["languages"]
        return found

    german = "Das Bad ist am {} geschlossen, und die Bücherei ist offen."
    await store.put(name, [chunk("The pool is closed on Mondays, and the library is open.")], [])
    assert await languages() == ["en"]
    await store.put(name, [chunk(german.format(day)) for day in ("Montag", "Dienstag")], [])
    assert await languages() == ["en"]
    await store.put(name, [], [])
    assert await languages() == ["de"]
    await store.put(name, [chunk(german.format("Mittwoch"))], [], languages=["sv", "da"])
    assert await languages() == ["da", "sv"]
    await store.put(name, [chunk(german.format("Freitag"))], [])
    await store.put(name, [], [])
    assert await languages() == ["da", "sv"]


async def test_the_language_of_a_collection_of_another_program(
    store: Store, elsewhere: str
) -> None:
    """What does not say a language has none, and is not an error."""
    shown = await store.show(elsewhere)
    assert shown["languages"] == []


async def test_new_chunks_come_before_old_ones_go(store: Store, name: str) -> None:
    """One call stores the new version of a source and then removes the old one."""
    old, new = chunk("library opens at nine"), chunk("library opens at ten")
    await store.put(name, [old], [])
    await store.put(name, [new], [old.id])
    assert await store.ids(name, "a.md") == {new.id}
    [passage] = await store.search(name, "library opens")
    assert passage.text == "library opens at ten"
    await store.put(name, [], [new.id])
    assert (await store.show(name))["chunks"] == 0
    assert await store.search(name, "library opens") == []


async def test_what_is_stored_twice_is_there_once(store: Store, name: str) -> None:
    """The id decides: the same chunk again changes nothing."""
    for _ in range(2):
        await store.put(name, [chunk("library hours")], [])
    assert (await store.show(name))["chunks"] == 1


async def test_the_end_of_a_load_puts_its_words_together(
    server: Running, store: Store, name: str
) -> None:
    """Each call leaves a part of the word index, and a question looks into all."""
    for number in range(6):
        await store.put(name, [chunk(f"library rule {number}", position=number)], [])
    index = local(server.services.lexical)
    with index.reading((await store.show(name))["id"]) as snapshot:
        assert snapshot is not None
        assert snapshot.searcher.num_segments == 6
    await store.put(name, [], [])
    with index.reading((await store.show(name))["id"]) as snapshot:
        assert snapshot is not None
        assert (snapshot.count, snapshot.searcher.num_segments) == (6, 1)
    assert (await store.search(name, "library rule 3"))[0].text == "library rule 3"


async def test_what_is_not_there_has_nothing(store: Store, name: str) -> None:
    """An unknown collection has no sources and no ids; to show or delete it is an error."""
    assert await store.sources(name) == {}
    assert await store.ids(name, "a.md") == set()
    await store.put(name, [], [])
    for call in (store.show(name), store.drop(name), store.search(name, "library")):
        with pytest.raises(CollectionNotFound):
            await call


async def test_a_dropped_collection_may_be_made_anew(store: Store, name: str) -> None:
    """What was in it before does not come back."""
    await store.put(name, [chunk("library hours")], [])
    await store.drop(name)
    await store.put(name, [chunk("pool prices")], [])
    assert [passage.text for passage in await store.search(name, "library hours")] == []
    assert [passage.text for passage in await store.search(name, "pool prices")] == ["pool prices"]


async def test_another_embedder_is_refused_with_both_names(store: Store, elsewhere: str) -> None:
    """Neither loading nor searching mixes vectors of two models, and nothing is changed."""
    for call in (
        store.put(elsewhere, [chunk("library hours")], []),
        store.put(elsewhere, [], ["x"]),
        store.put(elsewhere, [], []),
        store.search(elsewhere, "library"),
    ):
        with pytest.raises(SearchError, match=r"ollama/bge-m3.* lexical/hashed-words"):
            await call
    assert await store.ids(elsewhere, "x.md") == {"x"}


async def test_a_big_batch_goes_through(store: Store, name: str) -> None:
    """Hundreds of chunks and more than a megabyte are one call."""
    chunks = [chunk(f"number {n} " + "many words " * 270) for n in range(400)]
    assert sum(len(each.text) for each in chunks) > 1_000_000
    await store.put(name, chunks, [])
    assert await store.sources(name) == {"a.md": 400}
    await store.put(name, [], [each.id for each in chunks[1:]])
    assert await store.ids(name, "a.md") == {chunks[0].id}


@pytest.mark.parametrize("source", ["a b&c=d#e%2F/ü.md", "[bold]x[/bold].md", "?", "../up.md"])
async def test_sources_may_be_called_anything(store: Store, name: str, source: str) -> None:
    """No character of a file name means anything on the way."""
    stored = chunk("library hours", source)
    await store.put(name, [stored], [])
    assert await store.ids(name, source) == {stored.id}
    assert await store.sources(name) == {source: 1}


async def test_collections_are_listed_by_name(store: Store, name: str) -> None:
    """The list is sorted, and a collection of somebody else's is in it with gaps."""
    for suffix in ("-b", "-c", "-a"):
        await store.put(name + suffix, [chunk("library")], [])
    names = [found["name"] for found in await store.collections()]
    assert names == sorted(names)
    assert {name + "-a", name + "-b", name + "-c"} <= set(names)


class Refusing(LexicalEmbedder):
    """An embedder that refuses zebras, and texts of more than 200 characters."""

    async def documents(self, texts: Sequence[str]) -> list[list[float]]:
        if any("zebra" in text or len(text) > 200 for text in texts):
            raise ModelError("unsupported value: NaN")
        return await super().documents(texts)


async def test_what_the_model_refuses_is_reported(
    store: Store, server: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By id: of how much the vector is, and why there is none; the rest is stored."""
    monkeypatch.setattr(server.services.store, "embedder", Refusing())
    fine, zebra, long = chunk("library hours"), chunk("a zebra"), chunk("pool " * 50)
    result = await store.put(name, [fine, zebra, long], [])
    assert result.shortened == {long.id: 125}
    assert result.left_out == {zebra.id: "unsupported value: NaN"}
    assert await store.ids(name, "a.md") == {fine.id, long.id}
    assert await store.put(name, [chunk("another zebra")], []) == Stored(
        {}, {chunk("another zebra").id: "unsupported value: NaN"}
    )


async def test_a_collection_of_refused_texts_is_not_made(
    store: Store, server: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any vector its dimension is not known."""
    monkeypatch.setattr(server.services.store, "embedder", Refusing())
    result = await store.put(name, [chunk("a zebra")], [])
    assert list(result.left_out.values()) == ["unsupported value: NaN"]
    assert name not in [found["name"] for found in await store.collections()]


# -- in this process --------------------------------------------------------------------------


async def test_sources_are_counted_in_pages(
    server: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection is read in pieces that fit into memory, and none is counted twice."""
    monkeypatch.setattr(server.services.store, "page", 3)
    store = server.services.store
    await store.put(name, [chunk(f"text {n}", f"{n % 2}.md") for n in range(10)], [])
    assert await store.sources(name) == {"0.md": 5, "1.md": 5}


class BrokenEmbedder(LexicalEmbedder):
    """An embedder whose model has gone."""

    async def documents(self, texts: Any) -> list[list[float]]:
        raise ModelError("gone")


async def test_a_failed_embedding_makes_no_collection(server: Running, name: str) -> None:
    """No collection is left behind whose dimension nobody knows."""
    services = server.services
    store = CollectionStore(
        chroma=services.chroma,
        lexical=services.lexical,
        embedder=BrokenEmbedder(),
        retrieval=services.retrieval,
    )
    with pytest.raises(ModelError):
        await store.put(name, [chunk("library")], [])
    assert name not in [found["name"] for found in await server.services.store.collections()]


async def test_two_may_make_one_collection(server: Running, name: str) -> None:
    """Loads that begin at the same moment end in the same collection."""
    store = server.services.store
    await asyncio.gather(*(store.put(name, [chunk(f"text {n}")], []) for n in range(8)))
    assert (await store.show(name))["chunks"] == 8
    found = await server.services.chroma.collection(name)
    assert without_entries(found.metadata) == embedder_metadata(store.embedder, 1024)


async def test_words_follow_chunks_into_a_collection_made_anew(server: Running, name: str) -> None:
    """When another process replaces the collection in the middle, both halves go to the new one."""
    services = server.services

    class Replacing(WordIndex):
        """An index beside which somebody replaces the collection, once."""

        replaced = False

        @asynccontextmanager
        async def writing(self, collection_id: str) -> AsyncIterator[Writing]:
            async with super().writing(collection_id) as words:
                add = words.add

                async def add_and_replace(rows: Any, analyzer: Any) -> None:
                    await add(rows, analyzer)
                    if not self.replaced:
                        self.replaced = True
                        chroma = services.chroma
                        folder = chroma._open_folder  # type: ignore[attr-defined]
                        await asyncio.to_thread(folder.drop, name, {})
                        record = embedder_metadata(services.embedder, 1024)
                        await services.chroma.create(name, record)

                words.add = add_and_replace  # type: ignore[method-assign]
                yield words

    await services.store.put(name, [chunk("pool prices")], [])
    before = await services.chroma.collection(name)
    async with Replacing(local(services.lexical).directory) as replacing:
        store = CollectionStore(
            chroma=services.chroma,
            lexical=replacing,
            embedder=services.embedder,
            retrieval=services.retrieval,
        )
        stored = chunk("library hours")
        await store.put(name, [stored], [])
    after = await services.chroma.collection(name)
    assert after.id != before.id
    assert await indexed_ids(services.lexical, after.id) == [stored.id]
    assert await store.ids(name, "a.md") == {stored.id}


# -- through a server -------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong-token-0123456789", "x"])
async def test_a_wrong_token_changes_nothing(server: Running, name: str, token: str) -> None:
    """The refusal names the server and its own words."""
    async with RemoteStore(server.url, token) as store:
        with pytest.raises(Forbidden) as caught:
            await store.put(name, [chunk("library")], [])
    assert server.url in str(caught.value)
    assert "admin token" in str(caught.value)
    assert token not in str(caught.value) or token == "x"
    assert await server.services.store.sources(name) == {}


async def test_the_causes_of_a_server_reach_its_operator(server: Running, elsewhere: str) -> None:
    """Whoever holds the admin token reads what is wrong, not what an end user would be told."""
    async with RemoteStore(server.url, ADMIN_TOKEN) as store:
        with pytest.raises(SearchError) as caught:
            await store.search(elsewhere, "library")
    assert "Please tell the operator" not in str(caught.value)
    with pytest.raises(EmbedderMismatch) as local:
        await server.services.store.search(elsewhere, "library")
    assert str(caught.value) == str(local.value)


async def test_nobody_answers() -> None:
    """A server that is not there is named."""
    url = f"http://127.0.0.1:{free_port()}"
    async with RemoteStore(url, ADMIN_TOKEN) as store:
        with pytest.raises(SearchUnavailable, match=url):
            await store.collections()


@pytest.mark.parametrize("url", ["localhost:3000", "nonsense", "ftp://localhost", "http://"])
async def test_what_is_no_url_is_a_sentence(url: str) -> None:
    """A mistyped address is an error of ours, not one of the library's."""
    async with RemoteStore(url, ADMIN_TOKEN) as store:
        with pytest.raises(SearchError, match="no answer from the server"):
            await store.collections()


def replying(status: int, text: str) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    async def reply(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text)

    return reply


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, "<html>a page</html>"),
        (404, "404 page not found"),
        (404, '["not", "ours"]'),
        (500, '"text"'),
        (502, '{"error": "bad gateway"}'),
        (204, ""),
    ],
)
async def test_another_server_is_no_orbit_server(status: int, text: str) -> None:
    """Whatever else listens there, the reply is not taken for ours."""
    port = free_port()
    runner = web.ServerRunner(web.Server(replying(status, text)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with RemoteStore(f"http://127.0.0.1:{port}", ADMIN_TOKEN) as store:
            with pytest.raises(SearchError):
                await store.sources("town")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("collection", ["a/documents", "..", "../api-keys", "a b", "%2e%2e", "?x"])
async def test_a_name_stays_one_part_of_the_path(server: Running, collection: str) -> None:
    """No name of a collection leads to another route."""
    _, secret = await server.services.keys.create("town", "Ann")
    async with RemoteStore(server.url, ADMIN_TOKEN) as store:
        with pytest.raises(SearchError):
            await store.drop(collection)
    assert await server.services.keys.verify(secret)


async def test_a_closed_store_says_so() -> None:
    """Outside of ``async with`` there is no connection to use."""
    with pytest.raises(NotStarted):
        await RemoteStore("http://127.0.0.1:1", ADMIN_TOKEN).collections()
