"""Replicas that share words: a question never fails because of them, and one mends for all."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from orbit_server.config.schema import ElasticsearchConfig
from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.chroma.protocol import Chroma
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.thresholds import MEASURED
from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.elasticsearch import build
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.retrieval.words.protocol import Words
from orbit_server.types import Question

from ....support.elasticsearch_standin import (
    NO_MASTER,
    ElasticsearchStandIn,
    Fault,
    Garbage,
    Hang,
    Refuse,
    Reset,
)
from ....support.shared_words import BOTH, elasticsearch, settings
from ....support.words import forget

pytestmark = pytest.mark.anyio

CHUNKS = [
    Chunk.of(f"where is room{n}?", f"in house{n}", {"question": f"where is room{n}?"})
    for n in range(60)
]


def store_of(
    chroma: Chroma, words: Words, embedder: LexicalEmbedder | None = None
) -> CollectionStore:
    """Return one replica; what it knows of an index it asks again each time."""
    embedder = embedder or LexicalEmbedder()
    retrieval = Retrieval(chroma=chroma, lexical=words, embedder=embedder)
    retrieval.mender = type(retrieval.mender)(chroma, words, page=25, remember_seconds=0)
    return CollectionStore(chroma=chroma, lexical=words, embedder=embedder, retrieval=retrieval)


@asynccontextmanager
async def replicas(
    folder: Path, config: ElasticsearchConfig
) -> AsyncIterator[list[CollectionStore]]:
    """Yield three replicas on one Chroma."""
    async with AsyncExitStack() as stack:
        chroma = await stack.enter_async_context(ChromaEmbedded(folder / "chroma"))
        indexes = [await stack.enter_async_context(build(config)) for _ in range(3)]
        yield [store_of(chroma, each) for each in indexes]


@pytest.fixture(params=BOTH)
async def three(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[list[CollectionStore]]:
    """Three replicas on one Chroma and one Elasticsearch, real or not."""
    async with elasticsearch(request.param) as config, replicas(tmp_path, config) as stores:
        yield stores


class OneReplica(NamedTuple):
    """A replica whose Elasticsearch can be made to fail."""

    store: CollectionStore
    standin: ElasticsearchStandIn


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[OneReplica]:
    """A replica with sixty passages, which waits for words for 3 s."""
    async with (
        ElasticsearchStandIn() as standin,
        replicas(tmp_path, settings(standin.url, words_timeout=3)) as stores,
    ):
        await stores[0].put("docs", CHUNKS, [])
        yield OneReplica(stores[0], standin)


async def found(store: CollectionStore, question: str = "where is room7?") -> tuple[str, bool]:
    """Return the best passage, and whether words had a part in what was found."""
    candidates, _ = await store.retrieval.find(question, "docs")
    best = (await store.retrieval(Question(message=question), "docs")).passages
    return best[0].text if best else "", any(each.bm25 is not None for each in candidates)


async def whole(store: CollectionStore) -> bool:
    """Tell whether the index of ``docs`` is used."""
    return await store.retrieval.mender.is_complete(await store.chroma.collection("docs"))


async def mended(stores: Sequence[CollectionStore]) -> None:
    """Wait until all replicas find the index whole, and whoever mended it has noted that.

    It is searched before: but who ends the mender before that has it mended once more.
    """
    async with asyncio.timeout(60):
        for store in stores:
            while not await whole(store):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        id = (await stores[0].chroma.collection("docs")).id
        for store in stores:
            await store.retrieval.mender.mended(id)


ANSWER = "in house7"


async def test_what_one_has_loaded_all_answer_from(three: list[CollectionStore]) -> None:
    """At once, with words, whoever loads, replaces and deletes; and the index goes with it."""
    await three[0].put("docs", CHUNKS[:30], [])
    await three[1].put("docs", CHUNKS[30:], [])
    for store in three:
        assert await found(store) == (ANSWER, True)
        assert await whole(store)
    await three[2].put("docs", [], [CHUNKS[7].id])
    for store in three:
        assert (await found(store))[0] != ANSWER
        assert await whole(store)
    id = (await three[0].chroma.collection("docs")).id
    await three[1].drop("docs")
    assert (await three[2].lexical.state(id)).record is None
    assert await three[0].lexical.leftovers([]) == []


async def test_loading_through_two_at_once(three: list[CollectionStore]) -> None:
    """Nothing is lost, and the index is whole when both are done."""
    await asyncio.gather(
        *(
            three[n % 3].put("docs", CHUNKS[first : first + 10], [])
            for n, first in enumerate(range(0, 60, 10))
        )
    )
    id = (await three[0].chroma.collection("docs")).id
    assert (await three[0].lexical.state(id)).passages == 60
    await mended(three)


async def test_one_mends_for_all(
    three: list[CollectionStore], caplog: pytest.LogCaptureFixture
) -> None:
    """All see that the index is not whole; one of them writes what is missing, once."""
    await three[0].put("docs", CHUNKS, [])
    id = (await three[0].chroma.collection("docs")).id
    await forget(three[0].lexical, id, [chunk.id for chunk in CHUNKS[20:]])
    with caplog.at_level(logging.INFO):
        async with AsyncExitStack() as stack:
            for store in three:
                await stack.enter_async_context(store.retrieval.mender)
            assert await asyncio.gather(*map(whole, three)) == [False] * 3
            await mended(three)
    lines = [record.message for record in caplog.records if "word index repaired" in record.message]
    assert lines == ["collection docs: word index repaired, 60 passages"]
    assert [await found(store) for store in three] == [(ANSWER, True)] * 3


async def test_other_languages_are_written_beside(three: list[CollectionStore]) -> None:
    """Words of another language are written to another index, which takes the place of the one."""
    await three[0].put("docs", CHUNKS, [], languages=["en"])
    id = (await three[0].chroma.collection("docs")).id
    before = await three[0].lexical.state(id)
    await three[1].put("docs", [], [], languages=["de"])
    for store in three:
        result = await store.reindex("docs")
        while result.done < result.total:
            state = await store.lexical.state(id)
            result = await store.reindex("docs", result.done)
        assert state.passages == 60
    after = await three[2].lexical.state(id)
    assert before.record is not None
    assert after.record is not None
    assert (before.record.analyzer, after.record.analyzer) == tuple(
        analyzer([code]).name for code in ("en", "de")
    )
    assert all([await whole(store) for store in three])


async def test_reindex_moves_either_way(three: list[CollectionStore], tmp_path: Path) -> None:
    """From files to Elasticsearch, and back, with what was loaded meanwhile."""
    chroma, shared = three[0].chroma, three[0].lexical

    async def reindex(store: CollectionStore) -> None:
        result = await store.reindex("docs")
        while result.done < result.total:
            result = await store.reindex("docs", result.done)

    async with WordIndex(tmp_path / "words") as files:
        local = store_of(chroma, files)
        await local.put("docs", CHUNKS[:40], [])
        moved = store_of(chroma, shared)
        assert not await whole(moved)
        await reindex(moved)
        assert await whole(moved)
        assert await found(moved) == (ANSWER, True)
        await moved.put("docs", CHUNKS[40:], [])
        assert not await whole(local)
        await reindex(local)
        assert await whole(local)
        assert await found(local, "where is room50?") == await found(moved, "where is room50?")


FAULTS: list[Fault] = [
    NO_MASTER,
    Refuse(200, page="<html>"),
    Refuse(403, "security_exception", "not for you"),
    Garbage(),
    Reset(),
    Hang(),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_question_never_fails_because_of_words(
    replica: OneReplica, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered by meaning alone, nothing is mended, and it is over by itself."""
    store, standin = replica
    assert await found(store) == (ANSWER, True)
    standin.outage = fault
    async with store.retrieval.mender:
        for _ in range(4):
            assert await found(store) == (ANSWER, False)
        assert store.retrieval.mender.incomplete == {}
        assert len([each for each in caplog.records if "meaning alone" in each.message]) == 1
        standin.outage = None
        async with asyncio.timeout(30):
            while not (await found(store))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_an_index_that_is_gone_is_made_anew(replica: OneReplica) -> None:
    """Somebody deletes it while it counts as whole: the next question has it mended."""
    store, standin = replica
    async with store.retrieval.mender:
        assert await whole(store)
        for name in [name for name in standin.words.indices if not name.endswith(".state")]:
            del standin.words.indices[name]
        assert await found(store) == (ANSWER, False)
        await mended([store])
    assert await found(store) == (ANSWER, True)


async def test_an_index_that_was_closed_is_made_anew(replica: OneReplica) -> None:
    """It cannot be written to either, so another takes its place."""
    store, standin = replica
    for name, index in standin.words.indices.items():
        index.closed = not name.endswith(".state")
    async with store.retrieval.mender:
        assert await found(store) == (ANSWER, False)
        await mended([store])
    assert await found(store) == (ANSWER, True)


async def test_words_are_searched_while_the_question_is_embedded(replica: OneReplica) -> None:
    """Their answer is there before that of the vectors is asked for."""
    _, standin = replica
    store = replica.store
    await found(store)
    asked = asyncio.Event()

    class Slow(LexicalEmbedder):
        async def query(self, text: str) -> list[float]:
            before = len(standin.requests)
            await standin.until(
                lambda: any("_msearch" in each.path for each in standin.requests[before:])
            )
            asked.set()
            return await super().query(text)

    slow = store_of(store.chroma, store.lexical, Slow())
    slow.retrieval.mender = store.retrieval.mender
    assert (await found(slow, "where is room8?"))[1]
    assert asked.is_set()


async def test_no_threshold_is_measured_without_words(replica: OneReplica) -> None:
    """It would be that of meaning alone; it is measured when words are searched again."""
    store, standin = replica
    standin.outage = NO_MASTER
    await store.retrieval.meter.measure("docs")
    assert MEASURED not in (await store.chroma.collection("docs", fresh=True)).metadata
    standin.outage = None
    async with asyncio.timeout(60):
        while MEASURED not in (await store.chroma.collection("docs", fresh=True)).metadata:
            await store.retrieval.meter.measure("docs")
            await asyncio.sleep(0.2)
