"""Retrieval: how candidates are ordered, when nothing is relevant, and what must not upset it."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.ingest import ingest
from orbit_server.documents.model import Chunk
from orbit_server.errors import (
    CollectionNotFound,
    EmbedderMismatch,
    ModelError,
    ModelUnreachable,
    SearchError,
)
from orbit_server.retrieval.chroma.protocol import Chroma
from orbit_server.retrieval.embedders import embedder_metadata
from orbit_server.retrieval.evaluation import evaluate, read_questions
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder, hashed_words
from orbit_server.retrieval.ranking import (
    Candidate,
    Scored,
    best_first,
    best_of_any,
    by_bm25,
    rank,
    relevance_score,
    similarity,
)
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.thresholds import CALIBRATED
from orbit_server.retrieval.words.analyzer import Analyzer
from orbit_server.retrieval.words.index import WordIndex
from orbit_server.retrieval.words.mending import analyzer_of
from orbit_server.retrieval.words.protocol import FoundWords
from orbit_server.services import Services
from orbit_server.types import Passage, Question, Retrieved

from ..support.server import lexical

pytestmark = pytest.mark.anyio
pytest_plugins = ["tests.support.chroma_fixtures"]

ROOT = Path(__file__).parents[2]
PAIRS = {
    "When is the library open?": "On weekdays from nine to five.",
    "What does a dog licence cost?": "It costs 30 euros a year.",
    "Where is the swimming pool?": "At the river, below the old weir.",
    "図書館は何時に開きますか。": "平日の九時に開きます。",
    "游泳池在哪里？": "在河边的老坝下面。",
}


class Embedder(LexicalEmbedder):
    """Hashed words under a name that nobody measured, for as long as a test says."""

    def __init__(self, model: str) -> None:
        self.model = model


class ChatServer:
    """One collection of ``PAIRS``, and what searches it."""

    def __init__(self, chroma: Chroma, index: WordIndex) -> None:
        self.name = f"town-{uuid4().hex}"
        self.chroma = chroma
        self.index = index
        self.embedder = LexicalEmbedder()

    def retrieval(self, **settings: Any) -> Retrieval:
        settings = {"embedder": self.embedder, **settings}
        return Retrieval(chroma=self.chroma, lexical=self.index, **settings)

    async def load(self, pairs: dict[str, str]) -> list[Chunk]:
        chunks = [
            Chunk.of(question, answer, {"source": "qa", "question": question, "answer": answer})
            for question, answer in pairs.items()
        ]
        store = CollectionStore(
            chroma=self.chroma,
            lexical=self.index,
            embedder=self.embedder,
            retrieval=self.retrieval(),
        )
        await store.put(self.name, chunks, [])
        return chunks

    async def answers(self, question: str, **settings: Any) -> list[str | None]:
        found = await self.retrieval(**settings)(Question(message=question), self.name)
        return [passage.answer for passage in found.passages]


@pytest.fixture
async def town(chroma: Chroma, tmp_path: Path) -> AsyncIterator[ChatServer]:
    async with WordIndex(tmp_path) as index:
        yield ChatServer(chroma, index)


# -- order ------------------------------------------------------------------------------------


def candidate(id: str, dense: float, words: float = 0.0) -> Candidate:
    """Return a candidate with these scores; what it says is not looked at."""
    passage = Passage(id=id, text="", title=id, source="", score=dense + words)
    return Candidate(passage, dense, words or None, words)


def order(candidates: Sequence[Candidate], weight: float) -> list[str]:
    """Return the ids of ``candidates``, best first."""
    return [passage.id for passage in rank(candidates, weight)]


SCORES = st.floats(-1, 1, allow_nan=False)
CANDIDATES = st.lists(st.tuples(SCORES, st.floats(0, 1)), max_size=20).map(
    lambda scores: [candidate(str(n), *pair) for n, pair in enumerate(scores)]
)
WEIGHTS = st.floats(0, 1)


@given(CANDIDATES, WEIGHTS)
def test_every_candidate_gets_one_place(candidates: list[Candidate], weight: float) -> None:
    """Ordering neither loses nor doubles a passage, whatever the scores and the weight."""
    assert sorted(order(candidates, weight)) == sorted(each.passage.id for each in candidates)


@given(CANDIDATES, WEIGHTS)
def test_what_is_best_for_both_is_best(candidates: list[Candidate], weight: float) -> None:
    """A passage that leads both halves leads at every weight."""
    best = candidate("best", 1.5, 1.5)
    assert order([*candidates, best], weight)[0] == "best"


@given(CANDIDATES)
def test_the_ends_of_the_weight(candidates: list[Candidate]) -> None:
    """With 1 the order is that of the cosines; with 0 that of the words; BM25 has one alone."""
    scores = {each.passage.id: each for each in candidates}
    by_meaning = [scores[id].dense for id in order(candidates, 1.0)]
    assert by_meaning == sorted(by_meaning, reverse=True)
    by_words = [scores[id].words for id in order(candidates, 0.0)]
    assert by_words == sorted(by_words, reverse=True)
    bm25 = [scores[passage.id].bm25 or 0.0 for passage in by_bm25(candidates)]
    assert bm25 == sorted(bm25, reverse=True)


SCORED = st.lists(st.tuples(SCORES, st.none() | st.floats(0, 1)), max_size=60).map(
    lambda found: [Scored(str(n), *scores) for n, scores in enumerate(found)]
)


@given(SCORED, WEIGHTS)
def test_a_few_are_enough_to_compare_weights(scored: list[Scored], weight: float) -> None:
    """The first five of all, with their scores, are those of the few that are kept."""
    kept = best_of_any(scored, (weight, 0.2, 0.8), 5)
    for each in (weight, 0.2, 0.8):
        first = best_first(scored, each)[:5]
        assert best_first(kept, each)[:5] == first


def test_the_weight_decides() -> None:
    """What is near and what shares words change places as the weight moves."""
    candidates = [candidate("near", 0.9, 0.1), candidate("words", 0.2, 0.9), candidate("far", 0.1)]
    assert order(candidates, 0.9) == ["near", "words", "far"]
    assert order(candidates, 0.1) == ["words", "near", "far"]


def test_nothing_found_signals_nothing() -> None:
    """Without candidates there is an empty order and the lowest signal."""
    assert rank([], 0.5) == []
    assert relevance_score([]) == 0.0


@pytest.mark.parametrize(
    ("space", "distance"), [("cosine", 0.25), ("ip", 0.25), ("l2", 0.5)], ids=str
)
def test_every_metric_gives_the_cosine(space: str, distance: float) -> None:
    """Two unit vectors with a cosine of 0.75 have these distances."""
    assert similarity(distance, space) == pytest.approx(0.75)


def test_before_reading_bm25_stands_for_the_words() -> None:
    """What words did not find has nothing from that half, and ties go to the nearer."""
    scored = [Scored("near", 0.6, None), Scored("far", 0.2, None), Scored("words", 0.2, 0.5)]
    assert [each.id for each in best_first(scored, 1.0)] == ["near", "far", "words"]
    assert [each.id for each in best_first(scored, 0.5)] == ["words", "near", "far"]


# -- thresholds -------------------------------------------------------------------------------


async def test_thresholds_at_work(town: ChatServer) -> None:
    """A calibrated threshold holds from the moment it is written, and a configured one instead."""
    await town.load(PAIRS)
    question = "What is the price of a dog licence?"
    assert await town.answers(question) == ["It costs 30 euros a year."]
    stored = await town.chroma.collection(town.name)
    await town.chroma.modify(stored, {**stored.metadata, CALIBRATED: 1.9})
    assert await town.answers(question) == []
    assert await town.answers(question, confidence=0.3) == ["It costs 30 euros a year."]


async def test_the_rest_must_be_relevant_too(town: ChatServer) -> None:
    """With the best passage come those that score ``relevance``, never more than ``top_k``."""
    await town.load(PAIRS)
    assert len(await town.answers("library dog pool", confidence=0.1, relevance=0.1)) == 3
    assert len(await town.answers("library dog pool", confidence=0.1, relevance=0.1, top_k=2)) == 2
    question = "Where is the swimming pool?"
    assert len(await town.answers(question, confidence=0.5, relevance=0.5)) == 1


# -- searching --------------------------------------------------------------------------------


async def test_an_empty_collection_has_no_answers(town: ChatServer) -> None:
    """Nothing is found where nothing is, be it new or emptied; a missing collection is an error."""
    with pytest.raises(CollectionNotFound):
        await town.answers("When is the library open?")
    await town.chroma.create(town.name, embedder_metadata(town.embedder, 1024))
    assert await town.answers("When is the library open?") == []
    chunks = await town.load(PAIRS)
    await town.chroma.delete(town.name, ids=[chunk.id for chunk in chunks])
    assert await town.answers("When is the library open?") == []


async def test_without_a_word_index_meaning_is_left(town: ChatServer) -> None:
    """A collection that somebody else loaded is searched by its vectors, and scored fully."""
    await town.load(PAIRS)
    await town.index.drop((await town.chroma.collection(town.name)).id)
    [best, *_], _ = await town.retrieval().find("When is the library open?", town.name)
    assert best.passage.answer == "On weekdays from nine to five."
    assert best.dense == pytest.approx(1, abs=1e-5)
    assert best.bm25 is None
    assert best.passage.score == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize(
    "question",
    [
        "library?",
        '"library" AND NOT (open',
        "NEAR(library open, 3)",
        "library* OR answer:open ^ - +",
        "'; DROP TABLE passages; -- library",
        "library\x00open",
    ],
)
async def test_questions_are_not_a_query_language(town: ChatServer, question: str) -> None:
    """Whatever a search engine would read as an operator is a word or nothing."""
    await town.load(PAIRS)
    assert "On weekdays from nine to five." in await town.answers(question, confidence=0.1)


@pytest.mark.parametrize("question", ["?", "???", "NEAR", "()", "🦆", " "])
async def test_a_question_without_words_finds_nothing(town: ChatServer, question: str) -> None:
    """It is neither an error nor an answer."""
    await town.load(PAIRS)
    assert await town.answers(question) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("図書館はいつ開きますか？", "平日の九時に開きます。"),
        ("游泳池的地址？", "在河边的老坝下面。"),
    ],
)
async def test_chinese_and_japanese(town: ChatServer, question: str, answer: str) -> None:
    """Scripts without spaces are found by pairs of characters."""
    await town.load(PAIRS)
    assert (await town.answers(question))[:1] == [answer]


async def test_what_only_words_find_has_its_own_cosine(town: ChatServer) -> None:
    """The similarity of a passage does not depend on which search proposed it."""
    await town.load(
        {
            "pool pool pool entry entry": "Near by its words alone.",
            "pool " + " ".join(f"word{n}" for n in range(40)) + " zebra": "Far, with the rare one.",
        }
    )
    found, _ = await town.retrieval(top_k=1, candidates=1).find("pool zebra", town.name)
    assert [each.bm25 is None for each in found] == [True, False]
    for each in found:
        stored = each.passage.text.partition("\n")[0]
        vectors = zip(hashed_words(stored), hashed_words("pool zebra"), strict=True)
        assert each.dense == pytest.approx(math.fsum(a * b for a, b in vectors), abs=1e-5)


class Counting:
    """A Chroma that writes down what is asked of its records."""

    def __init__(self, chroma: Chroma) -> None:
        self._chroma = chroma
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in {"search", "query", "get"}:
            self.calls.append(name)
        return getattr(self._chroma, name)


async def test_a_question_costs_one_search(town: ChatServer) -> None:
    """However many candidates and weights; only where many say the same is there more to read."""
    pairs = {
        f"Where is pool {n}?": f"Pool {n} is below weir {n}, also on Sundays." for n in range(60)
    }
    await town.load(pairs)
    stored = await town.chroma.collection(town.name)
    assert await town.retrieval().mender.is_complete(stored)
    counting: Any = Counting(town.chroma)
    town.chroma = counting
    assert len(await town.answers("Where is pool 7?", confidence=0.0, relevance=0.0)) == 5
    assert counting.calls == ["search"]
    await town.retrieval().find("Where is pool 7?", town.name)
    assert counting.calls == ["search"] * 2


async def test_a_stale_entry_in_the_word_index_is_harmless(town: ChatServer) -> None:
    """What is gone from Chroma is not found, also when nothing else shares a word."""
    await town.load(PAIRS)
    stored = await town.chroma.collection(town.name)
    async with town.index.writing(stored.id) as words:
        rows = [("gone", "zeppelin hangar"), ("gone too", "library zeppelin")]
        await words.add(rows, analyzer_of(stored))
    assert await town.answers("zeppelin hangar", candidates=1, top_k=1) == []
    found, _ = await town.retrieval(candidates=1, top_k=1).find("library zeppelin", town.name)
    assert {each.passage.id for each in found}.isdisjoint({"gone", "gone too"})
    assert found[0].passage.answer == "On weekdays from nine to five."


async def test_a_collection_made_anew_meanwhile_is_checked_again(town: ChatServer) -> None:
    """When another embedder's collection takes the name during a search, nothing is answered."""
    await town.load(PAIRS)
    other = Embedder("hashed-words-2")

    class Meddling(LexicalEmbedder):
        """Replaces the collection while the question is being embedded."""

        async def query(self, text: str) -> list[float]:
            await town.chroma.drop(town.name)
            await town.chroma.create(town.name, embedder_metadata(other, 1024))
            await town.chroma.upsert(
                town.name,
                ids=["strange"],
                vectors=await self.documents(["When is the library open?"]),
                documents=["not of this embedder"],
                metadatas=[None],
            )
            return await super().query(text)

    with pytest.raises(EmbedderMismatch, match="hashed-words-2"):
        await town.answers("When is the library open?", embedder=Meddling())


async def test_collections_of_every_metric(town: ChatServer, elsewhere: Any) -> None:
    """The same vectors in cosine, l2 and ip, made by somebody else, give the same scores."""
    texts = list(PAIRS)
    scores: dict[str, dict[str, float]] = {}
    for space in ("cosine", "l2", "ip", "legacy l2"):
        town.name = f"{space.replace(' ', '-')}-{uuid4().hex}"
        how: dict[str, Any] = {"configuration": {"hnsw": {"space": space}}}
        if space == "legacy l2":
            how = {"metadata": {"hnsw:space": "l2"}}
        made = elsewhere.create_collection(town.name, embedding_function=None, **how)
        made.add(ids=texts, embeddings=[hashed_words(text) for text in texts], documents=texts)
        found, _ = await town.retrieval().find("When does the library open?", town.name)
        scores[space] = {each.passage.text: each.dense for each in found}
        assert found[0].passage.text == "When is the library open?"
        stored = await town.chroma.collection(town.name)
        await town.chroma.modify(stored, {**stored.metadata, CALIBRATED: 0.3})
        after = await town.chroma.collection(town.name)
        assert (after.space, after.metadata[CALIBRATED]) == (space.rpartition(" ")[2], 0.3)
    assert scores["cosine"]["When is the library open?"] > 0.9
    for other in ("l2", "ip", "legacy l2"):
        assert scores[other] == pytest.approx(scores["cosine"], abs=1e-5)


# -- figures ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """The sample documents, loaded as the demo loads them."""
    async with Services(lexical(tmp_path_factory.mktemp("demo"))) as services:
        await ingest(
            [ROOT / "examples"], "demo", services.store, chunk_chars=1200, chunk_overlap=150
        )
        yield services


async def test_figures_of_the_sample_documents(demo: Services) -> None:
    """Both halves together find more than either, and the threshold keeps what has an answer."""
    asked = read_questions(ROOT / "tests" / "questions.json")
    settings = demo.retrieval.settings({})

    async def search(question: str) -> list[Candidate]:
        return await demo.store.candidates("demo", question)

    dense, words, hybrid, *_ = await evaluate(search, asked, settings)
    assert None not in (dense.hit_at_1, words.hit_at_1, hybrid.hit_at_1, hybrid.hit_at_3)
    assert (hybrid.hit_at_1 or 0) >= max(dense.hit_at_1 or 0, words.hit_at_1 or 0) - 0.01
    assert (hybrid.hit_at_1 or 0) >= 0.75
    assert (hybrid.hit_at_3 or 0) >= 0.9
    assert (hybrid.kept or 0) >= 0.9


async def test_foreign_questions_are_refused(demo: Services) -> None:
    """Of the questions about the rest of the world at least 19 in 20 find nothing."""
    asked = read_questions(ROOT / "tests" / "questions.json")
    foreign = [each for each in asked if not each.answerable][:20]
    passed = [bool(await demo.store.search("demo", each.question)) for each in foreign]
    assert sum(passed) <= 1


async def test_sources_are_in_the_order_of_their_scores(demo: Services) -> None:
    """Readers are told that the best comes first, and see numbers that say so too."""
    asked = read_questions(ROOT / "tests" / "questions.json")
    several = 0
    for each in asked[:40]:
        found = await demo.retrieval(Question(message=each.question), "demo")
        scores = [passage.public()["score"] for passage in found.passages]
        several += len(scores) > 1
        assert scores == sorted(scores, reverse=True), each.question
        assert all(0 <= score <= 1 for score in scores)
    assert several > 5


async def test_what_was_considered(town: ChatServer) -> None:
    """The best three are told also where none is good enough to be used, best first."""
    await town.load(PAIRS)
    question = Question(message="Who painted the ceiling of the Sistine chapel?")
    refused = await town.retrieval()(question, town.name)
    assert refused.passages == []
    assert len(refused.considered) == 3
    found = await town.retrieval()(Question(message="What does a dog licence cost?"), town.name)
    assert found.considered[0] == found.passages[0]
    scores = [passage.rank_score or 0 for passage in found.considered]
    assert scores == sorted(scores, reverse=True)


async def test_equal_passages_count_once(town: ChatServer) -> None:
    """The same text under several names fills one place of the best, and others follow."""
    same = "The pool is open at ten o'clock."
    answers = [
        same,
        same.upper(),
        "The  pool is open\nat ten o'clock.",
        "It costs a lot.",
        "No dogs.",
        *[same] * 5,
    ]
    store = CollectionStore(
        chroma=town.chroma, lexical=town.index, embedder=town.embedder, retrieval=town.retrieval()
    )
    chunks = [Chunk.of("pool", text, {"source": f"{n}.md"}) for n, text in enumerate(answers)]
    await store.put(town.name, chunks, [])
    town.chroma = counting = Counting(town.chroma)
    retrieval = town.retrieval(top_k=3, confidence=0.0, relevance=0.0)
    found = (await retrieval(Question(message="pool"), town.name)).passages
    texts = [" ".join(passage.text.casefold().split()) for passage in found]
    assert sorted(texts) == sorted({same.casefold(), "it costs a lot.", "no dogs."})
    assert counting.calls.count("search") == 1


# -- what goes on at the same time ------------------------------------------------------------


class Embedding(LexicalEmbedder):
    """An embedder whose request is written by a task of its own, as HTTP clients do."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events
        self.free = asyncio.Event()
        self.fails = False

    async def query(self, text: str) -> list[float]:
        async def write() -> None:
            self.events.append("sent to the model")

        writing = asyncio.create_task(write())
        await self.free.wait()
        await writing
        if self.fails:
            raise ModelUnreachable("no model")
        self.events.append("embedded")
        return await super().query(text)


class SearchedWords(WordIndex):
    """A word index that says when it is searched."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.events: list[str] = []
        self.searched = asyncio.Event()
        self.broken = False

    async def find(
        self, collection_id: str, text: str, analyzer: Analyzer, *, n: int
    ) -> FoundWords:
        self.events.append("searched by words")
        self.searched.set()
        if self.broken:
            raise SearchError("cannot be read")
        return await super().find(collection_id, text, analyzer, n=n)


class Asking(NamedTuple):
    """What answers a question, with a hold on its model, and what has happened."""

    ask: Callable[[], Awaitable[Retrieved]]
    model: Embedding
    words: SearchedWords
    events: list[str]


@pytest.fixture
async def asking(chroma: Chroma, tmp_path: Path) -> AsyncIterator[Asking]:
    """A question whose collection is known, and whose model does not answer yet."""
    async with SearchedWords(tmp_path) as words:
        town = ChatServer(chroma, words)
        await town.load(PAIRS)
        model = Embedding(words.events)
        retrieval = town.retrieval(embedder=model, confidence=0.1)
        model.free.set()
        await retrieval(Question(message="Is there a weir?"), town.name)
        model.free.clear()
        words.searched.clear()
        words.events.clear()
        question = Question(message="When is the library open?")
        yield Asking(lambda: retrieval(question, town.name), model, words, words.events)


async def turns(number: int = 10) -> None:
    """Let everything else go on for some turns of the loop."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_words_are_searched_while_the_question_is_embedded(asking: Asking) -> None:
    """They do not wait for its vector, nor does the model wait for them."""
    answer = asyncio.ensure_future(asking.ask())
    async with asyncio.timeout(30):
        await asking.words.searched.wait()
    assert asking.events == ["sent to the model", "searched by words"]
    asking.model.free.set()
    assert (await answer).passages[0].answer == PAIRS["When is the library open?"]
    assert asking.events[2:] == ["embedded"]


@pytest.mark.parametrize("number", range(5))
async def test_a_cancelled_question_leaves_no_search_behind(asking: Asking, number: int) -> None:
    """Whenever it is cancelled, nothing of it goes on."""
    before, answer = asyncio.all_tasks(), asyncio.ensure_future(asking.ask())
    await turns(number)
    answer.cancel()
    await asyncio.wait([answer])
    assert answer.cancelled()
    happened = list(asking.events)
    await turns()
    assert asyncio.all_tasks() <= before
    assert "searched by words" not in asking.events[len(happened) :]


@pytest.mark.parametrize("broken", [False, True])
async def test_a_model_that_fails_leaves_no_search_behind(asking: Asking, broken: bool) -> None:
    """It is what the question fails with, also where its words could not be searched."""
    asking.model.fails, asking.words.broken = True, broken
    before = asyncio.all_tasks()
    asking.model.free.set()
    with pytest.raises(ModelUnreachable):
        await asking.ask()
    await turns()
    assert asyncio.all_tasks() <= before


# -- questions that have no vector ------------------------------------------------------------


class Refusing(LexicalEmbedder):
    """An embedder that refuses questions with a word in it, or longer than some characters."""

    def __init__(self, *, word: str = "zebra", longest: int = 1000) -> None:
        super().__init__()
        self.word, self.longest = word, longest
        self.asked: list[str] = []

    async def query(self, text: str) -> list[float]:
        self.asked.append(text)
        if self.word in text or len(text) > self.longest:
            raise ModelError("unsupported value: NaN")
        return await super().query(text)


ZOO = {
    "When is the library open?": "From nine.",
    "May I keep a zebra in the garden?": "Only two.",
    "What does the swimming pool cost?": "Four euros.",
}


async def test_a_refused_question_is_answered_by_words(
    town: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its words find the passage, what shares none is not relevant, and the log says why."""
    await town.load(ZOO)
    embedder = Refusing()
    assert await town.answers("Can I keep a zebra?", embedder=embedder) == ["Only two."]
    assert "unsupported value: NaN" in caplog.text
    assert await town.answers("zebra zodiac horoscope stars?", embedder=Refusing(word="z")) == []
    assert await town.answers("When is the library open?", embedder=embedder) == ["From nine."]


async def test_a_question_that_is_too_long_is_shortened(town: ChatServer) -> None:
    """Its beginning has a vector."""
    await town.load(ZOO)
    embedder = Refusing(longest=60)
    question = "When is the library open? " + "Please answer soon. " * 4
    assert await town.answers(question, embedder=embedder, confidence=0.3) == ["From nine."]
    assert len(embedder.asked[-1]) <= 60


async def test_a_model_that_refuses_all_questions_fails(town: ChatServer) -> None:
    """Words do not hide that the embedding model is broken."""
    await town.load(ZOO)
    with pytest.raises(ModelError, match="NaN"):
        await town.answers("When is the library open?", embedder=Refusing(word=""))


async def test_without_vector_and_words_nothing_is_claimed(
    town: ChatServer, chroma: Chroma
) -> None:
    """Where the word index is not complete either, "not found" would be a guess."""
    await town.load(ZOO)
    await town.index.drop((await chroma.collection(town.name)).id)
    with pytest.raises(ModelError, match="NaN"):
        await town.answers("Can I keep a zebra?", embedder=Refusing())
