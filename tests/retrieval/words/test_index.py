"""The word indexes: BM25 in tantivy, beside Chroma."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import orjson
import pytest

from orbit_server.errors import NotStarted, SearchError, SearchUnavailable
from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.file_lock import locked
from orbit_server.retrieval.words.index import WordIndex

from ...support.words import hits

pytestmark = pytest.mark.anyio

ENGLISH = analyzer(["en"])
ROOT = Path(__file__).parents[3]
PASSAGES = [
    ("pool", "The swimming pool opens on Sundays at 9:00. Swimming lessons begin in April."),
    ("library", "The library is closed on Sundays. A library card costs €10."),
    ("market", "The weekly market takes place on the square."),
    ("water", "Drinking water costs €2.10. Hard water is softened in the waterworks."),
    ("dog", "The dog tax is €96 for the first dog."),
]


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[WordIndex]:
    """Give an open index whose directory does not exist yet."""
    async with WordIndex(tmp_path / "data" / "lexical") as opened:
        yield opened


async def add(index: WordIndex, rows: Sequence[tuple[str, str]], id: str = "town") -> None:
    """Store rows of (id, text) in a collection."""
    async with index.writing(id) as words:
        await words.add(rows, ENGLISH)


async def remove(index: WordIndex, ids: Sequence[str], id: str = "town") -> None:
    """Take passages out of a collection."""
    async with index.writing(id) as words:
        await words.remove(ids)


async def ids(index: WordIndex) -> list[str]:
    """Return the ids of all passages of the town."""
    return sorted([id async for page in index.ids("town") for id in page])


def found(index: WordIndex, question: str, *, n: int = 10) -> list[str]:
    """Return the ids that a search in the town's collection finds, best first."""
    weights = dict.fromkeys(ENGLISH.terms(question), 1.0)
    return [hit.id for hit in hits(index, "town", weights, n=n)]


def frequencies(index: WordIndex, terms: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Return how many passages the town's collection has, and how many with each term."""
    with index.reading("town") as snapshot:
        assert snapshot
        return snapshot.frequencies(terms)


def similar(index: WordIndex, term: str, *, distance: int) -> list[str]:
    """Return the terms in the town's collection that are so many edits away at most."""
    with index.reading("town") as snapshot:
        assert snapshot
        return snapshot.similar(term, distance=distance)


async def test_the_best_passage_comes_first(index: WordIndex) -> None:
    """Passages that share words come by descending score, stems count, and ``n`` bounds them."""
    await add(index, PASSAGES)
    weights = dict.fromkeys(ENGLISH.terms("Is the library open on Sunday?"), 1.0)
    best = hits(index, "town", weights, n=10)
    assert [hit.id for hit in best] == ["library", "pool"]
    assert best[0].score > best[1].score > 0
    assert found(index, "Is the library open on Sunday?", n=1) == ["library"]
    assert found(index, "Who swims?") == ["pool"]


async def test_the_score_is_bm25(index: WordIndex) -> None:
    """With k1 = 1.2 and b = 0.75, as tantivy's and Lucene's; a weight multiplies it."""
    await add(index, [("short", "tea"), ("long", "tea and cake and more cake")])
    words = {"tea": 1.0, "cake": 1.0}
    idf = (await index.find("town", "tea cake", ENGLISH, n=5)).terms.idf
    assert idf["tea"] < idf["cake"]
    length, average = 6, 3.5
    norm = 1.2 * (1 - 0.75 + 0.75 * length / average)
    expected = idf["tea"] * 2.2 / (1 + norm) + idf["cake"] * 2 * 2.2 / (2 + norm)
    cake = next(hit for hit in hits(index, "town", words, n=5) if hit.id == "long")
    # "tea" is in every passage, and so says nothing beside "cake".
    [alone] = hits(index, "town", {"cake": 1.0}, n=5)
    assert cake.score == alone.score
    assert alone.score == pytest.approx(expected - idf["tea"] * 2.2 / (1 + norm), rel=1e-4)
    [half] = hits(index, "town", {"cake": 0.5}, n=5)
    assert half.score == pytest.approx(alone.score / 2)


@pytest.mark.parametrize("term", ["water:", '"', "a AND b", "*", "(", "\x00", "OR", "é", "水"])
async def test_a_term_is_never_syntax(index: WordIndex, term: str) -> None:
    """Terms are looked up as they are; what no passage has finds nothing."""
    await add(index, PASSAGES)
    assert hits(index, "town", {term: 1.0}, n=3) == []
    assert frequencies(index, [term]) == (5, {term: 0})


@pytest.mark.parametrize("question", ["", "?", "…!", "🙂", "elephant", "\ud800"])
async def test_nothing_shared_is_nothing_found(index: WordIndex, question: str) -> None:
    """A question without words, or without any that is known, finds nothing."""
    await add(index, PASSAGES)
    assert found(index, question) == []


async def test_words_of_every_passage_still_find(index: WordIndex) -> None:
    """Words that all passages have find them when nothing else is asked, and only then."""
    await add(index, [(id, f"In our town: {text}") for id, text in PASSAGES])
    assert sorted(found(index, "our town")) == sorted(id for id, _ in PASSAGES)
    assert found(index, "dogs in our town") == ["dog"]


async def test_add_replaces_and_remove_forgets(index: WordIndex) -> None:
    """A known id gets its new text, a removed one is found no more, and the count follows."""
    await add(index, PASSAGES)
    await add(index, PASSAGES)
    await add(index, [("dog", "first"), ("dog", "The cat tax is free.")])
    assert index.count("town") == 5
    assert found(index, "dog") == []
    assert found(index, "cat") == ["dog"]
    await remove(index, ["dog", "unknown"])
    assert found(index, "cat") == []
    assert index.count("town") == 4
    assert await ids(index) == ["library", "market", "pool", "water"]


async def test_what_has_not_changed_is_not_written(index: WordIndex) -> None:
    """Storing the same texts again makes no commit."""
    await add(index, PASSAGES)
    before = (index.directory / "town.words" / "meta.json").stat()
    await add(index, PASSAGES)
    await remove(index, ["unknown"])
    after = (index.directory / "town.words" / "meta.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_many_at_once(index: WordIndex) -> None:
    """Thousands are stored, listed and removed at once."""
    rows = [(f"id{i:05}", f"passage number {i}") for i in range(12_000)]
    await add(index, rows)
    assert index.count("town") == 12_000
    assert await ids(index) == [id for id, _ in rows]
    await remove(index, [id for id, _ in rows[1:]])
    assert found(index, "passage") == ["id00000"]


async def test_deleted_passages_do_not_count_for_long(index: WordIndex) -> None:
    """The number of passages is exact; that of those with a word is a tenth too high at most."""
    await add(index, [(f"id{i}", "library opening hours") for i in range(100)])
    await remove(index, [f"id{i}" for i in range(10)])
    size, passages = frequencies(index, ["librari", "pool"])
    assert size == 90
    assert passages == {"librari": 90, "pool": 0}
    for i in range(10, 32):
        await remove(index, [f"id{i}"])
        await add(index, [(f"id{i}", "pool")])
        size, passages = frequencies(index, ["librari", "pool"])
        assert size == 90
        assert 89 - (i - 10) <= passages["librari"] <= 89 - (i - 10) + 10
    assert len(list((index.directory / "town.words").iterdir())) < 150
    assert await ids(index) == sorted(f"id{i}" for i in range(10, 100))


async def test_the_files_of_a_load_are_put_together(index: WordIndex) -> None:
    """One file is faster to search than many; what is beside a large one does not matter."""
    await index.merge("town")  # there is none yet
    for number in range(6):
        await add(index, [(f"{number}-{i}", f"library {number} opening {i}") for i in range(20)])
    found_before = index.terms_of("town", ["3-7"]), found(index, "library 3 opening 7", n=40)
    assert segments(index) == [20] * 6
    async with index.writing("town"):
        await index.merge("town")  # another writes
    assert segments(index) == [20] * 6
    await index.merge("town")
    assert segments(index) == [120]
    assert found_before == (
        index.terms_of("town", ["3-7"]),
        found(index, "library 3 opening 7", n=40),
    )
    assert len(await ids(index)) == index.count("town") == 120
    for number in range(6):
        await add(index, [(f"new{number}", "pool")])
    await index.merge("town")
    assert segments(index) == [1] * 6 + [120]


def segments(index: WordIndex) -> list[int]:
    """Return how many passages each segment of the town's index has."""
    meta = orjson.loads((index.directory / "town.words" / "meta.json").read_bytes())
    return sorted(each["max_doc"] for each in meta["segments"])


async def test_collections_do_not_mix(index: WordIndex) -> None:
    """Each collection is searched alone."""
    await add(index, PASSAGES)
    await add(index, [("secret", "The library of the other town.")], "other-town")
    assert "secret" not in found(index, "library of the other town")


async def test_reading_never_creates_a_file(index: WordIndex) -> None:
    """Without an index every question has an empty answer and the disk stays as it was."""
    assert (await index.find("town", "The libary", ENGLISH, n=3)).hits == []
    with index.reading("town") as snapshot:
        assert snapshot is None
    assert index.terms_of("town", ["library"]) == {}
    assert await index.changed("town", {"a": "text"}) == ["a"]
    assert index.count("town") == 0
    assert index.record("town") is None
    assert await ids(index) == []
    assert await index.drop("town") == 0
    assert await index.leftovers([]) == index.outdated() == []
    assert not index.directory.exists()


async def test_drop_deletes_the_files(index: WordIndex) -> None:
    """A dropped index is gone from the disk and can be written anew."""
    await add(index, PASSAGES)
    assert found(index, "dog") == ["dog"]
    assert await index.drop("town") > 0
    assert list(index.directory.iterdir()) == []
    assert index.count("town") == 0
    assert found(index, "dog") == []
    await add(index, PASSAGES[:1])
    assert index.count("town") == 1


async def test_only_indexes_are_dropped(index: WordIndex) -> None:
    """What else lies in the folder stays, also Chroma's own database."""
    await add(index, PASSAGES)
    await add(index, PASSAGES, "gone")
    await index.writer()
    old = index.directory / "0b5eb5f5-1f6c-4d0e-9c0a-3d1f3d2c1b0a.sqlite3"
    for path in (old, old.with_suffix(".sqlite3-wal"), index.directory / "chroma.sqlite3"):
        path.write_bytes(b"something")
    (index.directory / "chroma").mkdir()
    assert await index.leftovers(["town"]) == [old.stem, "gone"]
    assert index.outdated() == [old.stem]
    assert await index.drop_others(["town"]) > 0
    left = {"town.words", "town.lock", "writer", "chroma.sqlite3", "chroma"}
    assert {path.name for path in index.directory.iterdir()} == left


async def test_a_question_is_covered_by_stored_terms(index: WordIndex) -> None:
    """What a passage has of a question follows from its terms, which the index keeps."""
    await add(index, PASSAGES)
    question, _ = await index.find("town", "Unicorns at the libary on Sundays", ENGLISH, n=5)
    terms = index.terms_of("town", ["library", "dog", "unknown"])
    assert terms == {id: ENGLISH.terms(dict(PASSAGES)[id]) for id in ("library", "dog")}
    assert question.coverage(terms["library"]) > 0.35 > question.coverage(terms["dog"])
    assert question.idf["unicorn"] > question.idf["librari"] > question.idf["the"]


async def test_what_was_found_is_found_again(index: WordIndex) -> None:
    """As the same passages, however many there are, and as others after the next commit."""
    rows = [(f"id{i:04}", f"pool {i}") for i in range(5000)]
    await add(index, rows)
    for _ in range(2):
        assert found(index, "pool", n=5000) == [id for id, _ in rows]
        for some in (rows[:10], rows[-10:], rows[::500]):
            assert index.terms_of("town", [id for id, _ in some]) == {
                id: text.split() for id, text in some
            }
    async with index.writing("town") as words:
        await words.remove([id for id, _ in rows[::2]])
        await words.add([("new", "pool 1")], ENGLISH)
    assert found(index, "pool", n=5000) == [*(id for id, _ in rows[1::2]), "new"]
    assert index.terms_of("town", ["id0000", "id0001"]) == {"id0001": ["pool", "1"]}


async def test_similar_words(index: WordIndex) -> None:
    """Words of the index that a misspelt one may have meant, however many passages have them."""
    rows = [(f"l{i}", "the library is open") for i in range(50)]
    await add(index, [*rows, ("b", "bicycle paths"), ("o", "an often oven"), ("s", "Straße Ozean")])
    assert similar(index, "libary", distance=1) == []
    assert similar(index, "libarri", distance=2) == ["librari"]
    assert similar(index, "opne", distance=1) == ["open"]
    assert set(similar(index, "oen", distance=1)) == {"open", "oven"}
    assert set(similar(index, "oven", distance=2)) == {"open", "often", "ozean"}
    assert similar(index, "stras", distance=1) == ["strass"]
    assert similar(index, "zebra", distance=2) == []


async def test_similar_words_follow_what_is_written(index: WordIndex) -> None:
    """What was found once is remembered until the next commit, whoever makes it."""
    async with index.writing("town") as words:
        await words.add([("a", "library")], ENGLISH)
    for _ in range(2):
        assert similar(index, "oven", distance=1) == []
    async with index.writing("town") as words:
        await words.add([("b", "open")], ENGLISH)
    for _ in range(2):
        found = similar(index, "oven", distance=1)
        assert found == ["open"]
        found.clear()  # what one question does with it is not the next one's


async def test_some_of_very_many_similar_words(index: WordIndex) -> None:
    """Hundreds of neighbours cost no more than some."""
    letters = "bcdfghklmn"
    rows = [(one + other, f"libra{one}{other}x") for one in letters for other in letters]
    await add(index, rows)
    assert 8 <= len(similar(index, "libraaax", distance=2)) <= 64


async def test_a_very_long_question_is_answered(index: WordIndex) -> None:
    """Hundreds of words are no error, and the rarest decide."""
    await add(index, [*PASSAGES, ("noise", " ".join(f"noise{i}" for i in range(500)))])
    long = " ".join(f"noise{i}" for i in range(300)) + " market place"
    assert found(index, long)[0] == "noise"
    await add(index, [(f"more{i}", f"noise{i % 100}") for i in range(300)])
    many = " ".join(f"noise{i}" for i in range(100)) + " market"
    assert "market" in found(index, many, n=400)
    assert len(found(index, many, n=400)) == 31 * 3 + len({"market", "noise"})


async def test_another_analyzer_begins_anew(index: WordIndex) -> None:
    """Terms of two kinds do not mix: what the other had made is gone, and the count tells."""
    await add(index, PASSAGES)
    german = analyzer(["de"])
    async with index.writing("town") as words:
        await words.note({"somebody": 7})
        await words.add([("bad", "Das Schwimmbad öffnet um neun.")], german)
    assert index.count("town") == 1
    record = index.record("town")
    assert record is not None
    assert (record.analyzer, dict(record.seen)) == (german.name, {})


def ruin(path: Path, content: bytes) -> None:
    """Put something else in the place of a file, which others may have mapped into memory."""
    path.unlink()
    path.write_bytes(content)


def largest(folder: Path) -> Path:
    """Return the file with the most in it."""
    return max(folder.glob("*.store"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("content", [b"", b"no index at all" * 300])
@pytest.mark.parametrize("name", ["meta.json", "orbit.json", "*.term", "*.idx", "*.store"])
async def test_a_broken_file_is_named_with_the_remedy(
    index: WordIndex, content: bytes, name: str
) -> None:
    """Whatever is asked of a broken index, the error names it and how to write it anew."""
    await add(index, PASSAGES)
    folder = index.directory / "town.words"
    ruin(next(folder.glob(name)), content)
    async with WordIndex(index.directory) as other, other.writing("town") as words:
        assert not await words.sound()
        for call in (
            lambda: hits(other, "town", {"librari": 1.0}, n=3),
            lambda: other.count("town"),
        ):
            with pytest.raises(SearchError, match="collections reindex") as refused:
                call()
            assert str(folder) in str(refused.value)
            assert str(folder) not in refused.value.detail
        for write in (words.add([("new", "a new one")], ENGLISH), words.remove(["dog"])):
            with pytest.raises(SearchError, match="collections reindex"):
                await write
        await words.drop()
        await words.add(PASSAGES, ENGLISH)
        assert found(other, "market") == ["market"]


async def test_bits_that_have_changed_are_noticed(index: WordIndex) -> None:
    """A file that can be read but is not what was written is not sound."""
    await add(index, PASSAGES)
    async with index.writing("town") as words:
        assert await words.sound()
        for path in (index.directory / "town.words").glob("*.*"):
            if path.suffix in (".idx", ".store", ".term", ".fast", ".fieldnorm"):
                content = bytearray(path.read_bytes())
                content[1] ^= 1
                path.rename(path.with_suffix(".kept"))
                path.write_bytes(content)
                assert not await words.sound(), path.suffix
                path.with_suffix(".kept").rename(path)
        assert await words.sound()
    async with index.writing("village") as words:
        assert await words.sound(), "nothing is broken where there is nothing"


async def test_every_kind_of_id_is_found_as_it_is(index: WordIndex) -> None:
    """Ids that are numbers are kept as such, those of other programs as they are written."""
    given = ["0" * 32, "f" * 32, "0123456789abcdef" * 2, "0123456789ABCDEF" * 2, "é" * 32, "7"]
    given += ["8a6e0804-2bd0-4672-b79d-d97027f9071a", "a b", "1" * 31, "1" * 33, "١" * 32]
    texts = {id: f"The pool number {number}" for number, id in enumerate(given)}
    await add(index, list(texts.items()))
    assert await ids(index) == sorted(given)
    assert sorted(found(index, "pool", n=20)) == sorted(given)
    assert index.terms_of("town", given) == {id: ENGLISH.terms(text) for id, text in texts.items()}
    assert await index.changed("town", texts) == []
    await remove(index, given[::2])
    assert await ids(index) == sorted(given[1::2])
    assert await index.changed("town", texts) == given[::2]


async def test_an_index_of_another_version_is_refused(index: WordIndex) -> None:
    """An index laid out by another release is not guessed at."""
    await add(index, PASSAGES)
    path = index.directory / "town.words" / "orbit.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"version": 99}))
    async with WordIndex(index.directory) as other:
        with pytest.raises(SearchError, match="version 99"):
            hits(other, "town", {"librari": 1.0}, n=3)


async def test_an_unfinished_index_counts_as_none(index: WordIndex) -> None:
    """A folder left by a process that died while it made it is no index and no error."""
    folder = index.directory / "town.words"
    folder.mkdir(parents=True)
    (folder / "orbit.json").write_bytes(b'{"version": 1, "analyz')
    assert index.count("town") == 0
    await remove(index, ["dog"])
    await add(index, PASSAGES)
    assert found(index, "dog") == ["dog"]


async def test_a_locked_index_is_unavailable(tmp_path: Path) -> None:
    """A writer that waits for too long says so; readers are not held up."""
    async with WordIndex(tmp_path, patience=0.05) as index:
        await add(index, PASSAGES)
        async with index.writing("town"), index.idle("town") as idle, index.idle("other") as other:
            assert (idle, other) == (False, True)
            with pytest.raises(SearchUnavailable, match="locked"):
                await add(index, [("new", "A new passage.")])
            await add(index, PASSAGES, "village")
            assert found(index, "market") == ["market"]
        await add(index, [("new", "A new passage.")])
        async with index.idle("town") as idle:
            assert idle


async def test_a_cancelled_writer_keeps_the_lock_until_it_is_done(tmp_path: Path) -> None:
    """What its thread has begun is completed, and nobody writes beside it."""
    rows = [(f"id{i}", f"passage number {i}") for i in range(20_000)]
    async with WordIndex(tmp_path) as index:
        task = asyncio.create_task(add(index, rows))
        async with asyncio.timeout(30):
            while not (tmp_path / "town.lock").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await add(index, PASSAGES)
        assert index.count("town") in (5, 20_005)


async def test_the_lock_of_a_file_that_was_deleted_is_none(tmp_path: Path) -> None:
    """Who waited while an index was dropped gets the lock of the new one."""
    path = tmp_path / "town.lock"
    first = await locked(path, patience=0)
    assert first is not None
    assert await locked(path, patience=0) is None
    waiting = asyncio.create_task(locked(path, patience=30))
    await asyncio.sleep(0)
    path.unlink()
    os.close(first)
    second = await waiting
    assert second is not None
    assert os.fstat(second).st_ino == path.stat().st_ino
    os.close(second)


@pytest.mark.parametrize("collection_id", ["../town", "a/b", "", ".", "a\x00b"])
async def test_a_collection_id_is_no_path(index: WordIndex, collection_id: str) -> None:
    """An id that would lead elsewhere on the disk is refused."""
    with pytest.raises(SearchError, match="not the id"):
        index.count(collection_id)
    with pytest.raises(SearchError, match="not the id"):
        await add(index, PASSAGES, collection_id)


async def test_a_closed_index_says_so(tmp_path: Path) -> None:
    """Before and after its ``async with`` the index refuses to work."""
    index = WordIndex(tmp_path)
    with pytest.raises(NotStarted):
        index.count("town")
    async with index:
        assert index.count("town") == 0
    with pytest.raises(NotStarted):
        index.count("town")
    with pytest.raises(NotStarted):
        await add(index, PASSAGES)


async def test_tasks_write_and_read_at_once(index: WordIndex) -> None:
    """Many tasks of one process load and search the same new collection without an error."""

    async def load(number: int) -> None:
        await add(index, [(f"{number}-{i}", f"passage {i}") for i in range(20)])
        assert found(index, "passage 7", n=5)

    await asyncio.gather(*(load(number) for number in range(12)))
    assert index.count("town") == 240


async def test_a_folder_of_indexes_has_one_name(index: WordIndex) -> None:
    """Whoever asks first makes it up; every process finds the same."""
    names = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, index.writer()) for _ in range(8))
    )
    async with WordIndex(index.directory) as other:
        assert {*names} == {await other.writer()}
    assert [path.name for path in index.directory.iterdir()] == ["writer"]


WRITER = """
import asyncio, sys
from pathlib import Path
from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.index import WordIndex

async def main(directory, name, rounds):
    async with WordIndex(Path(directory)) as index:
        for i in range(int(rounds)):
            rows = [(f"{name}-{i}-{j}", f"passage {name} {j}") for j in range(5)]
            async with index.writing("town") as words:
                await words.add(rows, analyzer(["en"]))
                await words.remove([f"{name}-{i}-0"])
            print(i, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def writer(index: WordIndex, name: str, rounds: int) -> asyncio.subprocess.Process:
    """Begin to write five passages and remove one, again and again, in another process."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, str(index.directory), name, str(rounds)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


async def test_processes_share_an_index(index: WordIndex) -> None:
    """Three processes write one collection while this one reads it."""
    writers = [await writer(index, name, 10) for name in ("red", "green", "blue")]
    finished = asyncio.gather(*(each.communicate() for each in writers))
    while not finished.done():
        for hit in hits(index, "town", {"passag": 1.0, "green": 1.0}, n=5):
            assert hit.score > 0
        await asyncio.sleep(0.01)
    await finished
    assert [each.returncode for each in writers] == [0, 0, 0]
    assert index.count("town") == 3 * 10 * 4
    [hit] = hits(index, "town", {"blue": 1.0}, n=1)
    assert hit.id.startswith("blue")


async def test_killed_at_any_moment(index: WordIndex) -> None:
    """What was committed is there, nothing is broken, and the next writer goes on at once."""
    for number in range(8):
        process = await writer(index, f"w{number}", 1000)
        assert process.stdout is not None
        rounds = 0
        async for _ in process.stdout:
            rounds += 1
            if rounds > number % 3:
                break
        await asyncio.sleep(number * 0.004)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        async with index.writing("town") as words:
            assert await words.sound()
        there = await ids(index)
        assert len(there) == index.count("town")
        for i in range(rounds):
            mine = {id for id in there if id.startswith(f"w{number}-{i}-")}
            assert mine == {f"w{number}-{i}-{j}" for j in range(1, 5)}
    await add(index, PASSAGES)
    assert found(index, "market") == ["market"]


FEW_FILES = """
import asyncio, os, resource, sys
from pathlib import Path
from orbit_server.retrieval.words.index import WordIndex

async def main(directory, count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    async with WordIndex(Path(directory)) as index:
        threads = len(os.listdir("/proc/self/task"))
        for _ in range(2):
            for i in range(count):
                with index.reading(f"c{i}") as snapshot:
                    [hit] = snapshot.search({"librari": 1.0}, 1)
                assert hit.id == "library", hit
        files = len(os.listdir("/proc/self/fd"))
        for _ in range(600):  # tantivy's threads look every half second whether they are needed
            if len(os.listdir("/proc/self/task")) - threads <= 32:
                break
            await asyncio.sleep(0.1)
        print(files, len(os.listdir("/proc/self/task")) - threads)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_many_collections_with_few_files(index: WordIndex) -> None:
    """Two thousand collections are searched by a process that may open a thousand files."""
    await add(index, PASSAGES, "c0")
    for i in range(1, 2000):
        shutil.copytree(index.directory / "c0.words", index.directory / f"c{i}.words")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FEW_FILES, str(index.directory), "2000"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    files, threads = map(int, said.split())
    assert files < 100
    assert threads <= 32
