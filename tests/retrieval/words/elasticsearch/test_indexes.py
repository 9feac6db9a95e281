"""The word indexes of all replicas: written by any, found by all, one at a time anew."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from orbit_server.config.schema import ElasticsearchConfig
from orbit_server.errors import NotStarted, SearchError, SearchUnavailable
from orbit_server.retrieval.words.analyzer import Analyzer, analyzer
from orbit_server.retrieval.words.elasticsearch import build
from orbit_server.retrieval.words.elasticsearch.indexes import ElasticsearchWords
from orbit_server.retrieval.words.protocol import IndexState
from orbit_server.retrieval.words.record import Record

from ....support.shared_words import BOTH, elasticsearch
from ....support.words import ENGLISH, forget, indexed_ids

pytestmark = pytest.mark.anyio

PASSAGES = [
    ("library", "The library is open on Saturdays."),
    ("pool", "The pool is open in summer."),
    ("kettle", "The kettle PX-4711/B needs water."),
    ("dog", "Dogs are kept on a lead in the park."),
]


@pytest.fixture(params=BOTH)
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[ElasticsearchConfig]:
    """An empty Elasticsearch."""
    async with elasticsearch(request.param) as config:
        yield config


@pytest.fixture
async def index(shared: ElasticsearchConfig) -> AsyncIterator[ElasticsearchWords]:
    """The word indexes of one replica."""
    async with build(shared) as words:
        yield words


async def add(
    index: ElasticsearchWords,
    rows: list[tuple[str, str]],
    collection: str = "town",
    terms: Analyzer = ENGLISH,
) -> None:
    """Store passages."""
    async with index.writing(collection) as words:
        await words.add(rows, terms)


async def found(index: ElasticsearchWords, question: str, n: int = 4) -> list[str]:
    """Return the ids of what has words of the question, best first."""
    return [hit.id for hit in (await index.find("town", question, ENGLISH, n=n)).hits]


async def test_what_one_replica_has_written_another_finds_at_once(
    index: ElasticsearchWords, shared: ElasticsearchConfig
) -> None:
    """New passages, other texts of known ones, and not what was removed."""
    await add(index, PASSAGES)
    async with build(shared) as other:
        assert await found(other, "dogs in a park") == ["dog", "pool"]
        await add(other, [("pool", "The park has a pond.")])
        assert sorted(await found(index, "park")) == ["dog", "pool"]
        await forget(other, "town", ["dog", "unknown"])
        assert await found(index, "park") == ["pool"]
        assert (await index.state("town")).passages == 3
        assert await indexed_ids(other, "town") == ["kettle", "library", "pool"]


async def test_nothing_is_there_before_anything_is_written(index: ElasticsearchWords) -> None:
    """No index is no error: there is nothing in it, and it can be asked and deleted."""
    assert await index.state("town") == IndexState(0, None)
    assert await index.changed("town", {"a": "text"}) == ["a"]
    assert await indexed_ids(index, "town") == []
    assert await index.drop("town") == 0
    assert await index.leftovers([]) == index.outdated() == []
    await forget(index, "town", ["library"])
    with pytest.raises(SearchError, match="no such index"):
        await found(index, "library")


async def test_only_what_changed_is_written(index: ElasticsearchWords) -> None:
    """A passage is compared by a digest of its text."""
    await add(index, PASSAGES)
    texts = dict(PASSAGES)
    assert await index.changed("town", texts) == []
    assert await index.changed("town", texts | {"dog": "other", "new": "new"}) == ["dog", "new"]


async def test_ids_of_any_length(index: ElasticsearchWords) -> None:
    """Elasticsearch takes 512 bytes; other programs may have stored longer ones."""
    long = "ü" * 2000
    await add(index, [(long, "a walrus"), ("ä/?#%", "a seal"), ("x" * 512, "an otter")])
    assert await found(index, "walrus") == [long]
    assert await found(index, "seal") == ["ä/?#%"]
    assert await indexed_ids(index, "town") == sorted([long, "ä/?#%", "x" * 512])
    assert await index.changed("town", {long: "a walrus"}) == []
    await forget(index, "town", [long])
    assert await found(index, "walrus") == []


async def test_many_passages(index: ElasticsearchWords) -> None:
    """More than fit into one request."""
    rows = [(f"{n}", f"passage number{n} " + "filler " * 300) for n in range(6000)]
    await add(index, rows)
    assert (await index.state("town")).passages == 6000
    assert await found(index, "number4711") == ["4711"]
    assert len(await indexed_ids(index, "town")) == 6000


async def test_the_record(index: ElasticsearchWords, shared: ElasticsearchConfig) -> None:
    """What an index has taken in is known to all replicas, and gone with the index."""
    await add(index, PASSAGES)
    async with index.writing("town") as words:
        await words.note({"host": 5})
    async with build(shared) as other:
        assert await other.state("town") == IndexState(4, Record(ENGLISH.name, {"host": 5}))
        assert await other.writer() == await index.writer()
    await index.drop("town")
    await add(index, PASSAGES)
    assert await index.state("town") == IndexState(4, Record(ENGLISH.name, {}))


async def test_an_index_of_another_analyzer_takes_its_place(index: ElasticsearchWords) -> None:
    """Terms of two kinds do not mix: what is added is all there is."""
    german = analyzer(["de"])
    await add(index, PASSAGES)
    await add(index, [("hund", "Hunde im Park")], terms=german)
    assert await index.state("town") == IndexState(1, Record(german.name, {}))
    assert [each.live for each in await index.indexes("town")] == [True]


async def test_it_is_searched_until_another_takes_its_place(index: ElasticsearchWords) -> None:
    """An index that is written anew is switched to in one step, when it is complete."""
    german = analyzer(["de"])
    await add(index, PASSAGES)
    async with index.writing("town") as words:
        await words.begin(german)
        await words.add([("hund", "Hunde im Park"), ("dog", "Dogs")], german)
    assert await found(index, "dogs in summer") == ["pool", "dog"]
    assert (await index.state("town")).passages == 4
    await add(index, [("katze", "Katzen")], terms=german)  # by another, meanwhile
    await forget(index, "town", ["dog"])
    assert await found(index, "dogs in summer") == ["pool"]
    async with index.writing("town") as words:
        await words.finish()
    assert await index.state("town") == IndexState(2, Record(german.name, {}))
    assert [each.live for each in await index.indexes("town")] == [True]


async def test_what_was_given_up_is_begun_again(index: ElasticsearchWords) -> None:
    """The half of an index that somebody has left behind is deleted."""
    german = analyzer(["de"])
    await add(index, PASSAGES)
    for _ in range(2):
        async with index.writing("town") as words:
            await words.begin(german)
            await words.add([("hund", "Hunde im Park")], german)
    assert len(await index.indexes("town")) == 2
    async with index.writing("town") as words:
        await words.begin(ENGLISH)  # the one that is there is good
        await words.finish()
    assert [each.analyzer for each in await index.indexes("town")] == [ENGLISH.name]
    assert (await index.state("town")).passages == 4


async def test_deleted_collections(index: ElasticsearchWords) -> None:
    """Their indexes are deleted; those of others stay."""
    await add(index, PASSAGES)
    await add(index, PASSAGES, "gone")
    assert await index.leftovers(["town"]) == ["gone"]
    await index.drop_others(["town"])
    assert await index.leftovers([]) == ["town"]
    assert await index.state("gone") == IndexState(0, None)


async def test_one_writes_at_a_time(shared: ElasticsearchConfig) -> None:
    """Whatever the replica: the others wait, or do without."""
    async with build(shared) as one, build(shared) as other:
        running = most = 0

        async def load(index: ElasticsearchWords, number: int) -> None:
            nonlocal running, most
            async with index.writing("town") as words:
                running += 1
                most = max(most, running)
                async with other.idle("town") as idle, other.alone("town", "mending") as alone:
                    assert not idle
                    assert alone
                await words.add([(f"{number}", f"passage{number}")], ENGLISH)
                running -= 1

        await asyncio.gather(*(load(random.choice((one, other)), n) for n in range(8)))
        assert most == 1
        assert (await one.state("town")).passages == 8
        async with other.idle("town") as idle:
            assert idle


async def test_a_lock_that_is_held_for_too_long(shared: ElasticsearchConfig) -> None:
    """It is said, with the name of the index."""
    async with build(shared) as one:
        hasty = ElasticsearchWords(one.client, prefix=shared.words_index, patience=0.1)
        async with one.writing("town"):
            with pytest.raises(SearchUnavailable, match="town is locked"):
                async with hasty.writing("town"):
                    pass


async def test_names_that_are_no_ids(index: ElasticsearchWords) -> None:
    """The id becomes a part of a path, and may come from a Chroma server that is not ours."""
    for id in ("../x", "a/b", "*", "a,*", "A", ""):
        with pytest.raises(SearchError, match="not the id"):
            await index.state(id)


async def test_outside_of_async_with(shared: ElasticsearchConfig) -> None:
    """Everything raises ``NotStarted``."""
    words = build(shared)
    with pytest.raises(NotStarted):
        await words.state("town")
