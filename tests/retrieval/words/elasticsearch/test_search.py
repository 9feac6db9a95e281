"""A question to Elasticsearch finds what the same question to the files finds, in one request."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.elasticsearch import build
from orbit_server.retrieval.words.elasticsearch.indexes import ElasticsearchWords
from orbit_server.retrieval.words.index import WordIndex

from ....support.elasticsearch_standin import ElasticsearchStandIn
from ....support.shared_words import BOTH, elasticsearch, settings
from ....support.words import ENGLISH

pytestmark = pytest.mark.anyio

TEXTS = {
    "library": "The library is open on Saturdays, and the reading room on Sundays.",
    "pool": "The pool is open in summer; a swimming course costs 40 euros.",
    "kettle": "The kettle PX-4711/B needs water. E-mail us for another one.",
    "dog": "Dogs are kept on a lead in the park.",
    "parking": "Parking in the town costs two euros an hour.",
    "organ": "An organisation that wants to use the hall writes to the mayor.",
    "bicycle": "A bicycle may be left at the station; bicycles are not taken on trams.",
}
QUESTIONS = [
    "When is the library open?",
    "How much is a swimming course?",
    "PX4711B",
    "email about a px-4711",
    "bycicle station",
    "parkng fee",
    "organisatin in the hall",
    "kitten",
    "is the in a",
    "zzz qqq",
    "dogs dogs DOGS lead",
    "",
]


class Both(NamedTuple):
    """The same passages in files and in Elasticsearch."""

    files: WordIndex
    shared: ElasticsearchWords


@pytest.fixture(params=BOTH)
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    """Both, filled."""
    async with (
        elasticsearch(request.param) as config,
        build(config) as shared,
        WordIndex(tmp_path / "words") as files,
    ):
        for index in (files, shared):
            async with index.writing("town") as words:
                await words.add(list(TEXTS.items()), ENGLISH)
        yield Both(files, shared)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_they_find_the_same(both: Both, question: str) -> None:
    """The same terms, passages, order and scores, at the first question as at the third."""
    expected = await both.files.find("town", question, ENGLISH, n=5)
    for _ in range(3):
        found = await both.shared.find("town", question, ENGLISH, n=5)
        assert found.terms == expected.terms
        scores = {hit.id: hit.score for hit in expected.hits}
        assert {hit.id: hit.score for hit in found.hits} == pytest.approx(scores, rel=0.01)
        assert found.terms.coverage([]) == 0
        terms = both.files.terms_of("town", [hit.id for hit in expected.hits])
        for ours, theirs in zip(found.hits, expected.hits, strict=True):
            assert ours.words is not None
            if ours.id == theirs.id:
                assert found.terms.coverage(ours.words.split()) == pytest.approx(
                    expected.terms.coverage(terms[theirs.id])
                )


async def test_long_questions(both: Both) -> None:
    """Of more words than are looked for."""
    text = " ".join(TEXTS.values()) + " and".join(f" word{n}" for n in range(300))
    expected = await both.files.find("town", text, ENGLISH, n=5)
    for _ in range(2):
        found = await both.shared.find("town", text, ENGLISH, n=5)
        assert found.terms == expected.terms
        scores = {hit.id: hit.score for hit in expected.hits}
        assert {hit.id: hit.score for hit in found.hits} == pytest.approx(scores, rel=0.01)


async def test_what_was_loaded_later_counts(both: Both) -> None:
    """What is remembered of words is a guess, which the next answer puts right."""
    assert not (await both.shared.find("town", "walrus", ENGLISH, n=5)).hits
    for index in both:
        async with index.writing("town") as words:
            await words.add([("zoo", "The walrus eats at noon."), ("z", "kettles")], ENGLISH)
    for question in ("walrus", "when is the walrus fed", "kettle"):
        expected = await both.files.find("town", question, ENGLISH, n=5)
        found = await both.shared.find("town", question, ENGLISH, n=5)
        assert found.terms == expected.terms
        assert {hit.id for hit in found.hits} == {hit.id for hit in expected.hits}


async def test_another_language(both: Both) -> None:
    """Pairs of Chinese characters are terms like others."""
    chinese = analyzer(["zh"])
    rows = [("a", "图书馆星期六开放。"), ("b", "游泳池夏天开放。"), ("c", "狗"), ("d", "猫")]
    async with both.shared.writing("zh") as words:
        await words.add(rows, chinese)
    found = await both.shared.find("zh", "图书馆什么时候开放？", chinese, n=5)
    assert [hit.id for hit in found.hits] == ["a", "b"]
    await both.shared.drop("zh")


async def test_requests() -> None:
    """One a question; a second where a word is misspelt that was not so lately."""
    async with ElasticsearchStandIn() as standin, build(settings(standin.url)) as index:
        async with index.writing("town") as words:
            await words.add(list(TEXTS.items()), ENGLISH)

        async def requests(question: str) -> int:
            before = len(standin.requests)
            await index.find("town", question, ENGLISH, n=5)
            return len(standin.requests) - before

        assert await requests("when is the library open") == 1
        assert await requests("parkng at the library") == 2
        assert await requests("parkng at the library") == 1
        assert await requests("where is parkng") == 1
        assert await requests("xylophone") == 2
        assert await requests("xylophone") == 1
        assert await requests("???") == 0
