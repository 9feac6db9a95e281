"""The lexical index: BM25 in SQLite, beside Chroma."""

import asyncio
import math
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_server.errors import NotStarted, SearchError, SearchUnavailable
from orbit_server.retrieval.bm25 import Bm25Index
from orbit_server.retrieval.bm25_files import connect

pytestmark = pytest.mark.anyio

PASSAGES = [
    ("pool", "The swimming pool opens on Sundays at 9:00. Swimming lessons begin in April."),
    ("library", "The library is closed on Sundays. A library card costs €10."),
    ("market", "The weekly market takes place on the square."),
    ("water", "Drinking water costs €2.10. Hard water is softened in the waterworks."),
    ("dog", "The dog tax is €96 for the first dog."),
]


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Bm25Index]:
    """Give an open index whose directory does not exist yet."""
    async with Bm25Index(tmp_path / "data" / "lexical") as opened:
        yield opened


async def found(index: Bm25Index, question: str, *, n: int = 10) -> list[str]:
    """Return the ids that a search in the town's collection finds, best first."""
    return [hit.id for hit in await index.search("town", question, n=n)]


async def test_the_best_passage_comes_first(index: Bm25Index) -> None:
    """Passages that share words come by descending score, stems count, and ``n`` bounds them."""
    await index.add("town", PASSAGES)
    hits = await index.search("town", "Is the library open on Sunday?", n=10)
    assert [hit.id for hit in hits] == ["library", "pool"]
    assert hits[0].score > hits[1].score > 0
    assert await found(index, "Is the library open on Sunday?", n=1) == ["library"]
    assert await found(index, "Who swims?") == ["pool"]


@pytest.mark.parametrize(
    "question",
    [
        "water?",
        '"water',
        'water"" OR',
        "water AND",
        "NOT water",
        "NEAR(water",
        "NEAR(water, 2)",
        "water*",
        "^water",
        "words:water",
        "{water}",
        "-water +",
        "(water",
        "water\x00",
        "water' OR 1=1 --",
        "water \ud800",
    ],
)
async def test_a_question_is_never_syntax(index: Bm25Index, question: str) -> None:
    """Signs and operators of FTS5's own language are just part of the question."""
    await index.add("town", PASSAGES)
    assert await found(index, question) == ["water"]


@pytest.mark.parametrize("question", ["", "?", "…!", "🙂", "elephant", "\ud800"])
async def test_nothing_shared_is_nothing_found(index: Bm25Index, question: str) -> None:
    """A question without words, or without any that is known, finds nothing."""
    await index.add("town", PASSAGES)
    assert await found(index, question) == []


async def test_words_of_every_passage_still_find(index: Bm25Index) -> None:
    """Words that all passages have find them when nothing else is asked, and only then."""
    await index.add("town", [(id, f"In our town: {text}") for id, text in PASSAGES])
    assert sorted(await found(index, "our town")) == sorted(id for id, _ in PASSAGES)
    assert await found(index, "dogs in our town") == ["dog"]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("図書館は九時に開きます。", "図書館の時間"),
        ("市立图书馆的开放时间", "图书馆几点开门?"),
        ("도서관은 아홉 시에 엽니다", "도서관 시간"),
        ("カフェは二階です", "ｶﾌｪはどこ"),
        ("Open from 3月10日", "3月"),
        ("Das Café an der Straße", "CAFE"),
        ("Das Café an der Straße", "strasse"),
        ("Das Cafe\u0301", "café"),
        ("Việt Nam", "viet nam"),
        ("पुस्तकालय का समय", "पुस्तकालय?"),
        ("A hyph\u00adenated word", "hyphenated"),
        ("Часы работы библиотеки", "БИБЛИОТЕКИ"),
    ],
)
async def test_other_languages_and_writings(index: Bm25Index, text: str, question: str) -> None:
    """Bigrams, folded accents and widths let questions find passages beyond plain English."""
    await index.add("town", [("right", text), *PASSAGES])
    assert await found(index, question) == ["right"]


async def test_add_replaces_and_remove_forgets(index: Bm25Index) -> None:
    """A known id gets its new text, a removed one is found no more, and the count follows."""
    await index.add("town", PASSAGES)
    await index.add("town", PASSAGES)
    await index.add("town", [("dog", "The cat tax is free.")])
    assert await index.count("town") == 5
    assert await found(index, "dog") == []
    assert await found(index, "cat") == ["dog"]
    await index.remove("town", ["dog", "unknown"])
    assert await found(index, "cat") == []
    assert await index.count("town") == 4


async def test_many_ids_are_removed_at_once(index: Bm25Index) -> None:
    """Adding and removing thousands at once is not bounded by SQLite's limit on parameters."""
    rows = [(f"id{i}", f"passage number {i}") for i in range(3_000)]
    await index.add("town", rows)
    assert await index.count("town") == 3_000
    await index.remove("town", [id for id, _ in rows[1:]])
    assert await found(index, "passage") == ["id0"]


async def test_collections_do_not_mix(index: Bm25Index) -> None:
    """Each collection is searched alone."""
    await index.add("town", PASSAGES)
    await index.add("other-town", [("secret", "The library of the other town.")])
    assert "secret" not in await found(index, "library of the other town")


async def test_reading_never_creates_a_file(index: Bm25Index) -> None:
    """Without an index every question has an empty answer and the disk stays as it was."""
    assert await index.search("town", "library", n=3) == []
    assert await index.coverage("town", "library", ["a library", "a pool"]) == [1.0, 0.0]
    assert await index.count("town") == 0
    assert not bool(await index.count("town"))
    await index.remove("town", ["library"])
    await index.drop("town")
    assert not index.directory.exists()


async def test_drop_deletes_the_files(index: Bm25Index) -> None:
    """A dropped index is gone from the disk and can be written anew."""
    await index.add("town", PASSAGES)
    assert bool(await index.count("town"))
    await index.drop("town")
    assert list(index.directory.iterdir()) == []
    assert not bool(await index.count("town"))
    await index.add("town", PASSAGES[:1])
    assert await index.count("town") == 1


async def test_coverage_is_the_share_of_idf_mass(index: Bm25Index) -> None:
    """Rare and unknown words weigh more than common ones, as the formula says."""
    await index.add("town", PASSAGES)

    def idf(containing: int) -> float:
        return math.log(1 + (5 - containing + 0.5) / (containing + 0.5))

    question = "Unicorns at the library on Sundays"
    shared = idf(5) + idf(1) + idf(3) + idf(2)  # the, library, on, Sundays
    mass = idf(0) + idf(1) + shared  # Unicorns, at
    [hit] = await index.search("town", question, n=1)
    assert hit.id == "library"
    texts = [PASSAGES[1][1], "unicorn, LIBRARIES!", "nothing", ""]
    shares = await index.coverage("town", question, texts)
    assert shares == pytest.approx([shared / mass, (idf(0) + idf(1)) / mass, 0, 0])
    assert await index.coverage("town", "?", texts) == [0, 0, 0, 0]


async def test_a_complete_match_covers_everything(index: Bm25Index) -> None:
    """A passage that contains the whole question has coverage 1."""
    await index.add("town", PASSAGES)
    texts = [text for _, text in PASSAGES]
    assert max(await index.coverage("town", "dog tax", texts)) == pytest.approx(1)


async def test_a_very_long_question_is_answered(index: Bm25Index) -> None:
    """Hundreds of words are no error, and the rarest decide."""
    await index.add("town", [*PASSAGES, ("noise", " ".join(f"noise{i}" for i in range(500)))])
    long = " ".join(f"unheard{i}" for i in range(500)) + " market"
    assert await found(index, long) == ["market"]


async def ruined(index: Bm25Index, content: bytes) -> Path:
    """Write an index and overwrite its file."""
    await index.add("town", PASSAGES)
    path = index.directory / "town.sqlite3"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"SQLite format 3\0" * 600])
async def test_a_broken_file_is_named_with_the_remedy(index: Bm25Index, content: bytes) -> None:
    """Whatever is asked of a broken file, the error names it and how to write it anew."""
    path = await ruined(index, content)
    for call in (
        index.search("town", "library", n=3),
        index.coverage("town", "library", ["text"]),
        index.count("town"),
        index.add("town", PASSAGES),
        index.remove("town", ["dog"]),
    ):
        with pytest.raises(SearchError, match="collections reindex") as refused:
            await call
        assert str(path) in str(refused.value)
        assert str(path) not in refused.value.detail
    await index.drop("town")
    await index.add("town", PASSAGES)
    assert await found(index, "market") == ["market"]


async def test_an_index_of_another_version_is_refused(index: Bm25Index) -> None:
    """A file laid out by another release is not guessed at."""
    await index.add("town", PASSAGES)
    with sqlite3.connect(index.directory / "town.sqlite3") as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(SearchError, match="version 99"):
        await index.search("town", "library", n=3)


async def test_an_unfinished_file_counts_as_none(index: Bm25Index) -> None:
    """An empty file, left by a process that died while creating it, is no index and no error."""
    await ruined(index, b"")
    assert await index.search("town", "library", n=3) == []
    assert not bool(await index.count("town"))
    await index.add("town", PASSAGES)
    assert bool(await index.count("town"))


async def test_a_locked_file_is_unavailable(tmp_path: Path) -> None:
    """A writer that finds the file locked for too long says so; readers are not held up."""
    async with Bm25Index(tmp_path, patience=0.05) as index:
        await index.add("town", PASSAGES)
        other = sqlite3.connect(index.directory / "town.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SearchUnavailable, match="locked"):
            await index.add("town", [("new", "A new passage.")])
        assert await found(index, "market") == ["market"]
        other.close()
        await index.add("town", [("new", "A new passage.")])


@pytest.mark.parametrize("collection_id", ["../town", "a/b", "", ".", "a\x00b"])
async def test_a_collection_id_is_no_path(index: Bm25Index, collection_id: str) -> None:
    """An id that would lead elsewhere on the disk is refused."""
    with pytest.raises(SearchError, match="not the id"):
        await index.add(collection_id, PASSAGES)


async def test_a_closed_index_says_so(tmp_path: Path) -> None:
    """Before and after its ``async with`` the index refuses to work."""
    index = Bm25Index(tmp_path)
    with pytest.raises(NotStarted):
        await index.count("town")
    async with index:
        assert await index.count("town") == 0
    with pytest.raises(NotStarted):
        await index.count("town")


async def test_tasks_write_and_read_at_once(index: Bm25Index) -> None:
    """Many tasks of one process load and search the same new collection without an error."""

    async def load(number: int) -> None:
        await index.add("town", [(f"{number}-{i}", f"passage {i}") for i in range(20)])
        assert await index.search("town", "passage 7", n=5)

    await asyncio.gather(*(load(number) for number in range(12)))
    assert await index.count("town") == 240


WRITER = """
import asyncio, sys
from pathlib import Path
from orbit_server.retrieval.bm25 import Bm25Index

async def main(directory, name):
    async with Bm25Index(Path(directory)) as index:
        for i in range(20):
            await index.add("town", [(f"{name}-{i}-{j}", f"passage {name} {j}") for j in range(5)])
            await index.remove("town", [f"{name}-{i}-0"])

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_a_file(index: Bm25Index) -> None:
    """Three processes write one collection while this one reads it."""
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER,
            str(index.directory),
            name,
            cwd=Path(__file__).parents[2],
        )
        for name in ("red", "green", "blue")
    ]
    finished = asyncio.gather(*(writer.wait() for writer in writers))
    while not finished.done():
        for hit in await index.search("town", "passage green", n=5):
            assert hit.score > 0
        await asyncio.sleep(0.01)
    assert await finished == [0, 0, 0]
    assert await index.count("town") == 3 * 20 * 4
    assert [hit.id[:4] for hit in await index.search("town", "blue", n=1)] == ["blue"]


async def test_an_index_that_is_deleted_while_it_is_opened(tmp_path: Path) -> None:
    """Between the look at the file and its opening it goes: that is no index, and no error."""

    def connect_too_late(path: Path | str, mode: str, *, patience: float) -> sqlite3.Connection:
        if isinstance(path, Path) and mode == "rw":
            path.unlink(missing_ok=True)
        return connect(path, mode, patience=patience)

    async with Bm25Index(tmp_path, connect=connect_too_late) as index:
        await index.add("town", [("a", "the library")])
        assert await index.search("town", "library", n=5) == []
