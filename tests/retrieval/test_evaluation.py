"""Measuring a collection: question files, hit rates, calibration, and writing the word index anew.

The commands are run on a folder of their own, and once more through a server that holds it.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orbit_server.documents.collection_store import Store
from orbit_server.documents.ingest import ingest
from orbit_server.documents.model import Chunk
from orbit_server.documents.remote_store import RemoteStore
from orbit_server.errors import OrbitError
from orbit_server.retrieval.evaluation import EvaluationQuestion, evaluate, read_questions
from orbit_server.retrieval.hashed_embedder import hashed_words
from orbit_server.retrieval.ranking import Candidate, SearchSettings
from orbit_server.retrieval.thresholds import CALIBRATED
from orbit_server.retrieval.words.analyzer import analyzer
from orbit_server.retrieval.words.mending import Reindexed
from orbit_server.types import Passage

from ..support.ollama_standin import OllamaStandIn
from ..support.program import ROOT, command, configure
from ..support.server import ADMIN_TOKEN, Running, lexical, running
from ..support.words import hits, indexed_ids, local

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


NUMBERS = count()
QUESTIONS = ROOT / "tests" / "questions.json"
EXAMPLES = ROOT / "examples"
SETTINGS = SearchSettings(threshold=0.5, threshold_origin="measured", dense_weight=0.5, top_k=2)


def passage(id: str, **fields: Any) -> Passage:
    """Return a passage that is named like its text."""
    return Passage(**{"id": id, "text": id, "title": id, "source": "a.md", "score": 0.0, **fields})


# -- question files ---------------------------------------------------------------------------


def test_a_question_file_is_read() -> None:
    """The questions about the sample documents are such a file; what it says more is ignored."""
    asked = read_questions(QUESTIONS)
    assert len(asked) == 120
    assert sum(each.answerable for each in asked) == 60


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("{}", "a list is expected"),
        ("[]", "holds no questions"),
        ("[3]", "entry 1: Input should be"),
        ('[{"question": "Who?", "answerable": false}, {"question": "What?"}]', "entry 2 ('What?')"),
        ('[{"question": " ", "answerable": false}]', "entry 1 (' '): question: String should have"),
        ('[{"question": "Who?", "answerable": "perhaps"}]', "entry 1 ('Who?'): answerable: Input"),
        ('[{"question": "Who?", "answerable": true}]', "needs source, answer_contains or matches"),
        (json.dumps([{}] * 9), "and 13 more"),
    ],
)
def test_mistakes_name_file_and_entry(tmp_path: Path, content: str, words: str) -> None:
    """Whoever wrote the file by hand learns where to look."""
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(OrbitError) as raised:
        read_questions(path)
    assert str(path) in str(raised.value)
    assert words in str(raised.value)


def test_a_missing_question_file(tmp_path: Path) -> None:
    """It is named, with the system's reason."""
    with pytest.raises(OrbitError, match=r"none\.json cannot be read: No such file"):
        read_questions(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("pointer", "right"),
    [
        ({"source": "qa.json"}, True),
        ({"source": "town/qa.json"}, True),
        ({"source": "a.json"}, False),
        ({"source": "other/qa.json"}, False),
        ({"answer_contains": "From  NINE"}, True),
        ({"answer_contains": "open"}, False),
        ({"matches": "when is it open?"}, True),
        ({"matches": "when is it open?", "answer_contains": "ten"}, False),
        ({"source": "qa.json", "answer_contains": "nine", "matches": None}, True),
    ],
)
def test_which_passage_is_right(pointer: dict[str, Any], right: bool) -> None:
    """All that an entry says must hold; the words are looked for in the answer alone."""
    text = "When is it open?\nFrom nine\nto five."
    stored = passage("1", text=text, answer="From nine\nto five.", source="docs/town/qa.json")
    asked = EvaluationQuestion(question="Opening hours?", answerable=True, **pointer)
    assert asked.answered_by(stored) is right


# -- figures ----------------------------------------------------------------------------------


FOUND: dict[str, list[tuple[str, float, float | None, float]]] = {
    "both first": [("right", 0.9, 9.0, 1.2), ("b", 0.1, 1.0, 0.1)],
    "words first": [("b", 0.9, 1.0, 0.2), ("right", 0.3, 9.0, 0.6), ("c", 0.1, None, 0.1)],
    "third by words": [("right", 0.9, 1.0, 0.4), ("b", 0.1, 9.0, 0.3), ("c", 0.2, 8.0, 0.9)],
    "not there": [("b", 0.9, 1.0, 0.1)],
    "foreign": [("b", 0.2, None, 0.2)],
    "near": [("b", 0.4, 2.0, 0.8)],
    "nothing": [],
}


async def search(question: str) -> Sequence[Candidate]:
    """Find what ``FOUND`` says."""
    return [
        Candidate(passage(id, score=score), dense, bm25, words=(bm25 or 0.0) / 10)
        for id, dense, bm25, score in FOUND[question]
    ]


async def test_figures_by_hand() -> None:
    """Every share is what one counts oneself, for each way to order the same candidates."""
    asked = [
        EvaluationQuestion(question=question, answerable=number < 4, matches="right")
        for number, question in enumerate(FOUND)
    ]
    steps: list[None] = []
    dense, words, hybrid, *others = await evaluate(
        search, asked, SETTINGS, advanced=lambda: steps.append(None)
    )
    assert len(steps) == len(FOUND)
    assert (dense.search, words.search, hybrid.search) == ("dense", "BM25", "hybrid")
    assert (dense.hit_at_1, dense.hit_at_3) == (0.5, 0.75)
    assert dense.mrr_at_10 == pytest.approx((1 + 1 / 2 + 1) / 4)
    assert (words.hit_at_1, words.hit_at_3) == (0.5, 0.75)
    assert words.mrr_at_10 == pytest.approx((1 + 1 + 1 / 3) / 4)
    # Only the best two count: by words the 0.9 of "c" is among them, by meaning it is too.
    assert (words.kept, dense.kept) == (0.75, 0.75)
    assert (dense.kept_right, words.kept_right) == (0.5, 0.5)
    assert hybrid.let_through == pytest.approx(1 / 3)
    assert [row.dense_weight for row in others] == [0.3, 0.7]


async def test_figures_without_questions_of_a_kind() -> None:
    """What cannot be measured is none, not zero."""
    row, *_ = await evaluate(
        search, [EvaluationQuestion(question="near", answerable=False)], SETTINGS
    )
    assert (row.hit_at_1, row.mrr_at_10, row.kept, row.let_through) == (None, None, None, 1.0)


# -- the store, here and through a server -------------------------------------------------------


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(lexical(tmp_path_factory.mktemp("server"))) as server:
        await load(server.services.store, "demo")
        yield server


@pytest.fixture(params=["local", "remote"])
async def store(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[Store]:
    if request.param == "local":
        yield server.services.store
    else:
        async with RemoteStore(server.url, ADMIN_TOKEN) as remote:
            yield remote


async def load(store: Store, collection: str) -> None:
    """Load the sample documents."""
    await ingest([EXAMPLES], collection, store, chunk_chars=1200, chunk_overlap=150)


async def indexed(server: Running, id: str) -> dict[str, list[str]]:
    """Return all terms of the word index, by id."""
    index = local(server.services.lexical)
    return index.terms_of(id, await indexed_ids(index, id))


async def test_candidates_are_the_same_everywhere(store: Store, server: Running) -> None:
    """All scores arrive, whichever way one asks."""
    found = await store.candidates("demo", "Swimming lessons?")
    expected, _ = await server.services.retrieval.find("Swimming lessons?", "demo")
    assert found == expected
    assert all(each.bm25 is None or 0 < each.bm25 <= 1 for each in found)
    assert all(each.passage.score == each.dense + each.words for each in found)


async def test_a_sample_is_spread_evenly(store: Store) -> None:
    """Every passage is there at most once, in order of storage, from all over the collection."""
    sample = await store.sample("demo", 20)
    assert len({each.id for each in sample}) == 20
    assert len({each.source for each in sample}) == 4
    everything = await store.sample("demo", 1000)
    assert len({each.id for each in everything}) == len(everything) == 118


async def test_a_threshold_is_kept_beside_the_rest(store: Store) -> None:
    """Nothing else in the metadata changes, and ``show`` says who decided."""
    name = f"town-{next(NUMBERS)}"
    await store.put(name, [Chunk.of("a question", "an answer", {"source": "a"})], [])
    before = await store.show(name)
    assert (before["threshold"], before["threshold_origin"]) == (0.45, "embedder")
    await store.calibrate(name, 0.37)
    after = await store.show(name)
    assert after == {**before, "threshold": 0.37, "threshold_origin": "calibrated"}
    await store.calibrate(name, 0.38)
    assert (await store.show(name))["threshold"] == 0.38


async def all_indexed(store: Store, name: str) -> Reindexed:
    """Reindex to the end."""
    result = await store.reindex(name)
    while result.done < result.total:
        result = await store.reindex(name, result.done)
    return result


async def test_reindexing_changes_nothing_of_ours(store: Store, server: Running) -> None:
    """Chroma holds all that ingest put into the word index."""
    id = (await store.show("demo"))["id"]
    before = await indexed(server, id)
    assert await all_indexed(store, "demo") == (118, 118, 0)
    after = await indexed(server, id)
    assert after.keys() == before.keys()
    assert after == before


async def test_reindexing_in_pages(
    store: Store, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection of others is indexed part by part, and what is gone from it is forgotten."""
    monkeypatch.setattr(server.services.retrieval.mender, "page", 4)
    name = f"theirs-{next(NUMBERS)}"
    chroma, index = server.services.chroma, server.services.lexical
    stored = await chroma.create(name, {})
    texts = [f"text of number{n}" for n in range(8)]
    await chroma.upsert(
        name,
        ids=[f"id {n}" for n in range(8)],
        vectors=[hashed_words(text) for text in texts],
        documents=[*texts[:-1], None],
        metadatas=[{"question": "asked", "answer": "told"}, *[None] * 7],
    )
    async with index.writing(stored.id) as words:
        await words.add([("gone", "old words"), ("id 3", "old words")], analyzer(["en"]))
    assert await store.reindex(name) == (4, 8, 0)
    assert await store.reindex(name, 4) == (8, 9, 0)
    assert await store.reindex(name, 8) == (8, 8, 1)
    rows = await indexed(server, stored.id)
    assert set(rows) == {f"id {n}" for n in range(8)}
    assert {"text", "ask", "told"} <= {*rows["id 0"]}
    assert {*rows["id 3"]} == {*analyzer(["en"]).terms("text of number3")}
    five = dict.fromkeys(analyzer(["en"]).terms("number5"), 1.0)
    assert hits(local(index), stored.id, five, n=3)[0].id == "id 5"


async def test_a_broken_index_is_written_anew(store: Store, server: Running) -> None:
    """An index that cannot be read is replaced by a good one."""
    name = f"town-{next(NUMBERS)}"
    await store.put(name, [Chunk.of("a question", "an answer", {"source": "a"})], [])
    id = (await store.show(name))["id"]
    path = local(server.services.lexical).directory / f"{id}.words" / "meta.json"
    path.unlink()
    path.write_bytes(b"no index " * 500)
    [found] = await store.candidates(name, "answer")
    assert found.bm25 is None  # by meaning alone, until the index is mended
    assert await all_indexed(store, name) == (1, 1, 0)
    [found] = await store.candidates(name, "answer")
    assert found.bm25 is not None


async def test_reindexing_an_empty_collection(store: Store, server: Running) -> None:
    """It ends at once."""
    name = f"town-{next(NUMBERS)}"
    await server.services.chroma.create(name, {"a": 1})
    assert await all_indexed(store, name) == (0, 0, 0)


# -- commands ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and the sample documents in collection ``demo``."""
    folder = tmp_path_factory.mktemp("folder")
    configure(folder)
    loaded = await command(folder, "ingest", EXAMPLES, "--collection", "demo")
    assert loaded.code == 0, loaded.err
    return folder


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fifth of the questions about the sample documents, 12 with an answer, 12 without."""
    path = tmp_path_factory.mktemp("questions") / "some.json"
    path.write_text(json.dumps(json.loads(QUESTIONS.read_text())[::5]))
    return path


@pytest.fixture(params=["here", "through a server"])
def way(request: pytest.FixtureRequest, server: Running) -> list[str]:
    """The options that lead to the sample documents."""
    through = [] if request.param == "here" else ["--server", server.url]
    return ["--collection", "demo", *through]


async def test_evaluate_prints_a_table(folder: Path, way: list[str], some: Path) -> None:
    """One row a way to search; what is said beside it goes to the other stream."""
    done = await command(folder, "evaluate", *way, "--questions", some)
    assert done.code == 0, done.err
    for name in ("dense", "BM25", "hybrid", "hit@1", "hit@3", "MRR@10", "kept", "let through"):
        assert name in done.out
    assert "12 questions with an answer in collection 'demo', 12 without" in done.err
    assert "threshold" in done.err
    assert "24/24" in done.err


async def test_evaluate_prints_json(folder: Path, way: list[str], some: Path) -> None:
    """Standard output is one JSON object and nothing else."""
    done = await command(folder, "evaluate", *way, "--json", "--questions", some)
    printed = json.loads(done.out)
    assert (printed["collection"], printed["answerable"], printed["top_k"]) == ("demo", 12, 5)
    rows = {row["dense_weight"]: row for row in printed["figures"]}
    assert rows[printed["dense_weight"]]["search"] == "hybrid"
    assert rows[1.0]["search"] == "dense"
    assert rows[0.0]["hit_at_1"] <= rows[0.0]["hit_at_3"]


async def test_evaluate_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    """A wrong file is refused before anything is searched, and so is a missing collection."""
    (tmp_path / "mine.json").write_text('[{"question": "Who?", "answerable": 3}]')
    wrong = await command(
        folder, "evaluate", "--collection", "demo", "--questions", tmp_path / "mine.json"
    )
    assert (wrong.code, wrong.out) == (1, "")
    assert "entry 1 ('Who?'): answerable" in wrong.err
    missing = await command(folder, "evaluate", "--collection", "nope", "--questions", QUESTIONS)
    assert (missing.code, missing.out) == (1, "")
    assert "nope" in missing.err


async def test_calibrate_writes_a_better_threshold(
    folder: Path, way: list[str], some: Path
) -> None:
    """It prints all distributions, stores what parts them, and the next search goes by it."""
    name = f"town-{next(NUMBERS)}"
    way = ["--collection", name, *way[2:]]
    done = await command(folder, "ingest", EXAMPLES, *way)
    assert done.code == 0, done.err
    done = await command(folder, "calibrate", *way, "--questions", some)
    for kind, number in (("in-domain", 12), ("out-of-domain", 168), ("unanswerable", 12)):
        assert re.search(f"{kind} .* {number} ", done.out)
    rows = re.findall(r"threshold ([\d.]+) keeps ([\d.]+) .* refuses ([\d.]+)", done.out)
    (_, kept, refused), (threshold, better, more) = [tuple(map(float, row)) for row in rows]
    shown = await command(folder, "collections", "show", *way[1:])
    stored = re.search(r"threshold +([\d.]+)", shown.out)
    assert stored
    if better + more > kept + refused:
        assert done.code == 0, done.err
        assert float(stored[1]) == pytest.approx(threshold, abs=0.001)
        assert re.search("threshold_origin +calibrated", shown.out)
    again = await command(folder, "calibrate", *way, "--questions", some)
    assert again.code == 1
    assert "Nothing was changed" in again.err
    assert (await command(folder, "collections", "show", *way[1:])).out == shown.out


async def test_calibrate_never_makes_a_collection_worse(
    folder: Path, some: Path, server: Running
) -> None:
    """A threshold that keeps all is not raised until it keeps fewer than 95 %."""
    name = f"town-{next(NUMBERS)}"
    await load(server.services.store, name)
    await server.services.store.calibrate(name, 0.01)
    way = ["--collection", name, "--server", server.url]
    done = await command(folder, "calibrate", *way, "--questions", some)
    kept = re.findall(r"threshold [\d.]+ keeps ([\d.]+)", done.out)
    assert [float(each) for each in kept] >= [1.0, 0.95]


async def test_calibrate_says_that_the_configuration_wins(
    folder: Path, tmp_path: Path, some: Path
) -> None:
    """A threshold that nobody uses is no surprise."""
    configure(tmp_path, chroma={"path": str(folder / "data/chroma"), "confidence_threshold": 1.2})
    done = await command(tmp_path, "calibrate", "--collection", "demo", "--questions", some)
    assert done.code == 0, done.err
    assert "Before: 1.2 (chroma.confidence_threshold)" in done.err
    assert "in the configuration takes precedence" in done.err


async def test_calibrate_asks_the_model(folder: Path, tmp_path: Path) -> None:
    """Where a model words the answers, it words the questions too; where there is none, it says."""
    none = await command(folder, "calibrate", "--collection", "demo")
    assert none.code == 1
    assert "--questions" in none.err
    async with OllamaStandIn() as ollama:
        ollama.reply = lambda body: json.dumps({"question": f"Say, {body['messages'][-1]}"})
        configure(
            tmp_path,
            chroma={"path": str(folder / "data/chroma")},
            answer={"provider": "ollama"},
            ollama={"base_url": ollama.url},
        )
        done = await command(tmp_path, "calibrate", "--collection", "demo")
        asked = ollama.bodies("/api/chat")
    assert "100 questions of the collection, generated by" in done.err
    assert len(asked) == 100
    assert all(body["format"]["required"] == ["question"] for body in asked)


async def test_reindex(folder: Path, way: list[str], server: Running) -> None:
    """The command says how much it indexed; the words are found afterwards as before."""
    done = await command(folder, "collections", "reindex", "demo", *way[2:])
    assert done.code == 0, done.err
    assert "118 passages of collection 'demo' indexed, 0 obsolete removed." in done.err
    missing = await command(folder, "collections", "reindex", "nope", *way[2:])
    assert missing.code == 1
    assert "nope" in missing.err or "not found" in missing.err


async def test_the_calibrated_threshold_is_metadata(server: Running) -> None:
    """Whoever looks into Chroma finds it under its name, beside who embedded the collection."""
    await server.services.store.calibrate("demo", 0.4)
    stored = await server.services.chroma.collection("demo")
    assert stored.metadata[CALIBRATED] == 0.4
    assert stored.metadata["orbit_model"] == "hashed-words-1"
