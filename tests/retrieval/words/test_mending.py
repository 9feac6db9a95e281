"""The word index mends itself from Chroma, and is not used until it is whole."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.chroma.protocol import Chroma
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder, hashed_words
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.words.index import WordIndex

from ...support import words
from ...support.words import indexed_ids, local

pytestmark = pytest.mark.anyio

CHUNKS = [
    Chunk.of(f"where is room{n}?", f"in house{n}", {"question": f"where is room{n}?"})
    for n in range(60)
]
MORE = [Chunk.of(f"where is hall{n}?", f"in house{n}", {"position": n}) for n in range(5)]


def store_of(chroma: Chroma, index: WordIndex) -> CollectionStore:
    """Return a store whose mender is not entered: it tells, and mends nothing."""
    embedder = LexicalEmbedder()
    retrieval = Retrieval(chroma=chroma, lexical=index, embedder=embedder)
    retrieval.mender = type(retrieval.mender)(chroma, index, page=25, remember_seconds=0)
    return CollectionStore(chroma=chroma, lexical=index, embedder=embedder, retrieval=retrieval)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CollectionStore]:
    """A store of its own folders."""
    async with (
        ChromaEmbedded(tmp_path / "chroma") as chroma,
        WordIndex(tmp_path / "lexical") as index,
    ):
        yield store_of(chroma, index)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[CollectionStore]]:
    """Three hosts that share one Chroma, each with word indexes of its own."""
    async with AsyncExitStack() as stack:
        chroma = await stack.enter_async_context(ChromaEmbedded(tmp_path / "chroma"))
        indexes = [
            await stack.enter_async_context(WordIndex(tmp_path / f"host{n}")) for n in range(3)
        ]
        yield [store_of(chroma, index) for index in indexes]


async def forget(store: CollectionStore, keep: int) -> str:
    """Fill ``docs`` and take all but ``keep`` passages out of its word index."""
    await store.put("docs", CHUNKS, [])
    id = (await store.chroma.collection("docs")).id
    await words.forget(store.lexical, id, [chunk.id for chunk in CHUNKS[keep:]])
    return id


async def found(store: CollectionStore, question: str) -> list[tuple[str, bool]]:
    """What was found, best first, and whether words had a part in it."""
    candidates, _ = await store.retrieval.find(question, "docs")
    return [(each.passage.text, each.bm25 is not None) for each in candidates]


async def whole(store: CollectionStore) -> bool:
    """Tell whether the index of ``docs`` is used."""
    return await store.retrieval.mender.is_complete(await store.chroma.collection("docs"))


async def mended(store: CollectionStore) -> None:
    """Wait until nothing is incomplete any more."""
    async with asyncio.timeout(30):
        while store.retrieval.mender.incomplete:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def mend(store: CollectionStore) -> int:
    """Mend the index of ``docs`` by hand; how many passages were in it without being in Chroma."""
    result = await store.reindex("docs")
    while result.done < result.total:
        result = await store.reindex("docs", result.done)
    return result.removed


@pytest.mark.parametrize("keep", [0, 1, 59])
async def test_a_part_of_an_index_is_not_used(
    store: CollectionStore, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Meaning alone searches until the index is whole; the log says so once."""
    await forget(store, keep)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not any(by_words for _, by_words in await found(store, "where is room0?"))
    [record] = [each for each in caplog.records if "meaning alone" in each.message]
    assert f"{keep} of 60 passages" in record.message
    assert list(store.retrieval.mender.incomplete) == ["docs"]


async def test_it_mends_in_the_background(store: CollectionStore) -> None:
    """A question begins it; afterwards words find again, also of what others have loaded."""
    id = await forget(store, 3)
    async with store.retrieval.mender:
        assert (await found(store, "where is room7?"))[0] == ("in house7", False)
        await mended(store)
        assert local(store.lexical).count(id) == 60
        assert (await found(store, "where is room7?"))[0] == ("in house7", True)


@pytest.mark.parametrize("name", ["meta.json", "orbit.json", "*.store"])
@pytest.mark.parametrize("content", [b"", b"no index at all" * 500])
async def test_a_damaged_index_is_replaced(
    store: CollectionStore, name: str, content: bytes
) -> None:
    """A file that cannot be read costs a worse order for a while, and no question its answer."""
    id = await forget(store, 60)
    path = next((local(store.lexical).directory / f"{id}.words").glob(name))
    path.unlink()
    path.write_bytes(content)
    async with WordIndex(local(store.lexical).directory) as index:  # one that has not opened it yet
        fresh = store_of(store.chroma, index)
        async with fresh.retrieval.mender:
            assert (await found(fresh, "where is room7?"))[0] == ("in house7", False)
            await mended(fresh)
            assert (await found(fresh, "where is room7?"))[0] == ("in house7", True)


async def test_it_breaks_while_it_is_trusted(store: CollectionStore) -> None:
    """An index that was whole a moment ago may be gone now; the answer comes all the same."""
    id = await forget(store, 60)
    trusting = store.retrieval.mender
    store.retrieval.mender = type(trusting)(store.chroma, store.lexical, page=25)
    assert (await found(store, "where is room7?"))[0] == ("in house7", True)
    path = local(store.lexical).directory / f"{id}.words" / "meta.json"
    path.unlink()
    path.write_bytes(b"no index at all" * 500)
    async with store.retrieval.mender:
        assert (await found(store, "where is room7?"))[0] == ("in house7", False)
        await mended(store)
        assert (await found(store, "where is room7?"))[0] == ("in house7", True)


async def test_closing_ends_what_is_under_way(store: CollectionStore) -> None:
    """Nothing writes into an index behind a server that stops."""
    id = await forget(store, 0)
    async with store.retrieval.mender:
        await found(store, "where is room7?")
    async with store.lexical.writing(id):  # whatever its thread had begun is done
        assert local(store.lexical).count(id) < 60


async def test_while_documents_are_loaded_the_index_is_used(store: CollectionStore) -> None:
    """The words of a writer at work are ahead of its vectors; when nobody is, they are wrong."""
    id = await forget(store, 60)
    async with store.lexical.writing(id) as index:
        await index.remove([CHUNKS[0].id])
        assert not await whole(store), "fewer words are never whole"
        soon = [("soon", "its vector comes in a moment"), ("later", "and this one's, too")]
        await index.add(soon, words.ENGLISH)
        assert await whole(store)
    assert not await whole(store)
    assert await mend(store) == 2
    assert await whole(store)


async def test_other_languages_need_other_words(store: CollectionStore) -> None:
    """An index that was made for English is not asked in German, and is written anew."""
    id = await forget(store, 60)
    assert await whole(store)
    await store.chroma.annotate(await store.chroma.collection("docs"), {"orbit_language": "de"})
    assert not await whole(store)
    assert store.retrieval.mender.incomplete["docs"].startswith("the languages")
    await mend(store)
    assert await whole(store)
    record = local(store.lexical).record(id)
    assert record is not None and record.analyzer.endswith("de")


async def test_a_collection_of_another_program_learns_its_language(store: CollectionStore) -> None:
    """Its passages tell it when its words are indexed."""
    german = "Das Bad ist am Montag geschlossen, und die Bücherei ist offen."
    await store.chroma.create("docs", {"theirs": 1})
    await store.chroma.upsert(
        "docs",
        ids=["a", "b"],
        vectors=[hashed_words(german)] * 2,
        documents=[german] * 2,
        metadatas=[None, None],
    )
    await mend(store)
    stored = await store.chroma.collection("docs")
    assert (stored.metadata["orbit_language"], stored.metadata["theirs"]) == ("de", 1)
    assert await whole(store)
    assert (await found(store, "Büchereien"))[0][1]


async def test_other_programs_fill_a_collection(store: CollectionStore) -> None:
    """What was neither counted nor announced is found by comparing page after page."""
    await forget(store, 60)
    ids = [chunk.id for chunk in CHUNKS[:2]]
    await store.chroma.delete("docs", ids=ids[:1])
    await store.chroma.upsert(
        "docs",
        ids=["theirs", ids[1]],
        vectors=[hashed_words("zeppelin"), hashed_words("submarine")],
        documents=["zeppelin", "submarine"],
        metadatas=[None, {"question": "", "answer": ""}],
    )
    assert await whole(store), "the counts agree, and nobody said anything"
    async with store.retrieval.mender:
        assert await whole(store)
        async with asyncio.timeout(30):
            while ("zeppelin", True) not in await found(store, "zeppelin"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert ("submarine", True) in await found(store, "submarine")


async def test_a_host_notices_what_another_has_loaded(hosts: list[CollectionStore]) -> None:
    """Also when the counts agree: as many passages came as went."""
    one, two, three = hosts
    await one.put("docs", CHUNKS, [])
    assert [await whole(host) for host in hosts] == [True, False, False]
    for host in (two, three):
        await mend(host)
    assert [await whole(host) for host in hosts] == [True, True, True]
    await two.put("docs", MORE, [chunk.id for chunk in CHUNKS[:5]])
    assert [await whole(host) for host in hosts] == [False, True, False]
    assert "another host" in one.retrieval.mender.incomplete["docs"]
    for host in (one, three):
        assert await mend(host) == 5
        assert ("in house3", True) in await found(host, "where is hall3?")
    assert [await whole(host) for host in hosts] == [True, True, True]


async def test_a_host_notices_at_once(hosts: list[CollectionStore]) -> None:
    """What it remembers of a collection holds until the collection tells of a later write."""
    one, two, _ = hosts
    await one.put("docs", CHUNKS, [])
    await mend(two)
    mender = type(two.retrieval.mender)(two.chroma, two.lexical, remember_seconds=3600)
    before = await two.chroma.collection("docs", fresh=True)
    assert await mender.is_complete(before)
    await one.put("docs", MORE, [chunk.id for chunk in CHUNKS[:5]])
    assert await mender.is_complete(before), "nobody has told it"
    assert not await mender.is_complete(await two.chroma.collection("docs", fresh=True))
    assert not await mender.is_complete(before), "nor does it forget"


async def test_few_are_mended_at_a_time(store: CollectionStore) -> None:
    """However many collections are asked at once: each takes memory while it is mended."""
    names = [f"docs{n}" for n in range(6)]
    for name in names:
        await store.put(name, CHUNKS, [])
    stored = [await store.chroma.collection(name) for name in names]
    for each in stored:
        await store.lexical.drop(each.id)
    mender = store.retrieval.mender
    running = most = 0
    reindex = mender.reindex

    async def counted(name: str, start: int = 0) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        result = await reindex(name, start)
        running -= 1
        return result

    mender.reindex = counted  # type: ignore[method-assign,assignment]
    async with mender:
        assert not any([await mender.is_complete(each) for each in stored])
        await mended(store)
    assert most == 2


async def test_a_host_that_loads_while_it_is_behind(hosts: list[CollectionStore]) -> None:
    """What it writes itself does not make up for what it has not seen."""
    one, two, _ = hosts
    await one.put("docs", CHUNKS[:30], [])
    await two.put("docs", CHUNKS[30:], [])
    assert [await whole(host) for host in (one, two)] == [False, False]
    await two.put("docs", [], [])
    await one.put("docs", [], [])
    assert [await whole(host) for host in (one, two)] == [True, True]


async def test_an_entry_that_got_lost(hosts: list[CollectionStore]) -> None:
    """Two hosts wrote the metadata at once: the one whose entry is gone enters itself again."""
    one, two, three = hosts
    await one.put("docs", CHUNKS, [])
    before = await one.chroma.collection("docs", fresh=True)
    for host in (two, three):
        await mend(host)
    await one.put("docs", MORE, [chunk.id for chunk in CHUNKS[:5]])
    written = await two.chroma.collection("docs", fresh=True)
    await two.chroma.modify(written, before.metadata)  # as two had read it before
    assert [await whole(host) for host in hosts] == [False, True, True]
    assert "replaced" in one.retrieval.mender.incomplete["docs"]
    await mend(one)
    assert [await whole(host) for host in hosts] == [True, False, False]
    for host in (two, three):
        await mend(host)
    assert [await whole(host) for host in hosts] == [True, True, True]


async def test_an_index_from_a_backup(store: CollectionStore, tmp_path: Path) -> None:
    """An older state of the index is noticed, though the counts agree."""
    id = await forget(store, 60)
    shutil.copytree(local(store.lexical).directory, tmp_path / "backup")
    await store.put("docs", MORE, [chunk.id for chunk in CHUNKS[:5]])
    assert await whole(store)
    async with WordIndex(tmp_path / "backup") as index:
        older = store_of(store.chroma, index)
        assert index.count(id) == 60
        assert not await whole(older)
        assert await mend(older) == 5
        assert await whole(older)
        assert await indexed_ids(index, id) == await indexed_ids(store.lexical, id)


async def test_many_hosts_have_come_and_gone(store: CollectionStore) -> None:
    """The metadata does not grow for ever."""
    await store.put("docs", CHUNKS[:1], [])
    docs = await store.chroma.collection("docs")
    await store.chroma.annotate(docs, {f"orbit_words_{n:08}": n for n in range(200)})
    await store.put("docs", CHUNKS, [])
    docs = await store.chroma.collection("docs", fresh=True)
    entries = sorted(key for key in docs.metadata if key.startswith("orbit_words_"))
    assert len(entries) <= 51
    assert f"orbit_words_{await store.lexical.writer()}" in entries
    await mend(store)
    assert await whole(store)


async def test_a_mender_rests_when_it_was_in_vain(store: CollectionStore) -> None:
    """Where somebody else writes all the time, reading everything again and again helps nobody."""
    now = 0.0
    mender = type(store.retrieval.mender)(
        store.chroma, store.lexical, page=25, remember_seconds=0, clock=lambda: now
    )
    begun = 0
    reindex = mender.reindex

    async def slow(name: str, start: int = 0) -> object:
        nonlocal now, begun
        begun += start == 0
        now += 10.0
        return await reindex(name, start)

    mender.reindex = slow  # type: ignore[assignment]
    id = await forget(store, 3)
    docs = await store.chroma.collection("docs")
    async with mender:
        for expected in (1, 1, 2):
            assert not await mender.is_complete(docs)
            async with asyncio.timeout(30):
                while mender._tasks and id in mender._tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert begun == expected
            await words.forget(store.lexical, id, [CHUNKS[0].id])
            now += 80.0
