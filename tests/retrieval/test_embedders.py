"""Embedding: batches through Ollama, hashed words, and what a collection remembers."""

import asyncio
import hashlib
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.errors import EmbedderMismatch, ModelError, ModelUnreachable
from orbit_server.retrieval import embedders as embedding
from orbit_server.retrieval.embedders import (
    DIMENSION,
    Embedder,
    LexicalEmbedder,
    OllamaEmbedder,
    check,
    hashed_words,
    prefixes,
    record,
)

pytestmark = pytest.mark.anyio

PINNED = "ac7182f1"


class FakeEmbed:
    """Ollama's embed call: a vector that tells the text's number, or whatever it is told to do."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.models: set[str] = set()
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self.open = asyncio.Event()
        self.open.set()
        self.waits_for_gate: Callable[[Sequence[str]], bool] = lambda texts: True
        self.failing: dict[str, Exception] = {}

    async def __call__(self, texts: Sequence[str], *, model: str) -> list[list[float]]:
        self.calls.append(list(texts))
        self.models.add(model)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            for text in texts:
                if text in self.failing:
                    raise self.failing[text]
            if self.waits_for_gate(texts):
                await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return [[float(text.rpartition(" ")[2]), 1.0] for text in texts]


def ollama(embed: Any, *, model: str = "bge-m3", size: int = 4, at_once: int = 2) -> OllamaEmbedder:
    """Build an embedder around a fake."""
    return OllamaEmbedder(embed, model=model, batch_size=size, concurrency=at_once)


def cosine(one: str, other: str) -> float:
    """Return how near two texts are to the lexical embedder."""
    return sum(a * b for a, b in zip(hashed_words(one), hashed_words(other), strict=True))


async def settled() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_documents_keep_their_order_in_bounded_batches() -> None:
    """Texts go in batches, a bounded number at once, and the vectors come back in order."""
    embed = FakeEmbed()
    vectors = await ollama(embed).documents([f"text {i}" for i in range(30)])
    assert [vector[0] for vector in vectors] == list(range(30))
    assert [len(call) for call in embed.calls] == [4] * 7 + [2]
    assert embed.most_running == 2
    assert embed.models == {"bge-m3"}


async def test_the_bound_holds_for_several_callers() -> None:
    """Two loads at the same time share the bound."""
    embed = FakeEmbed()
    embedder = ollama(embed, size=1)
    texts = [f"text {i}" for i in range(10)]
    await asyncio.gather(embedder.documents(texts), embedder.documents(texts))
    assert embed.most_running == 2


async def test_a_question_does_not_wait_behind_documents() -> None:
    """A question is embedded while every place for documents is taken."""
    embed = FakeEmbed()
    embed.open.clear()
    embed.waits_for_gate = lambda texts: texts != ["question 7"]
    embedder = ollama(embed)
    loading = asyncio.create_task(embedder.documents([f"text {i}" for i in range(30)]))
    await settled()
    assert embed.running == 2
    assert await embedder.query("question 7") == [7.0, 1.0]
    embed.open.set()
    assert len(await loading) == 30


async def test_the_first_failure_cancels_the_rest() -> None:
    """One failing batch ends the whole load with its own error, and nothing goes on behind it."""
    embed = FakeEmbed()
    embed.open.clear()
    embed.failing["text 5"] = ModelUnreachable("no route")
    with pytest.raises(ModelUnreachable, match="no route"):
        await ollama(embed).documents([f"text {i}" for i in range(30)])
    assert embed.running == 0
    assert embed.cancelled == len(embed.calls) - 1
    assert len(embed.calls) < 8


async def test_a_cancelled_load_cancels_its_calls() -> None:
    """Whoever gives up waiting leaves no embedding call behind."""
    embed = FakeEmbed()
    embed.open.clear()
    loading = asyncio.create_task(ollama(embed).documents([f"text {i}" for i in range(30)]))
    await settled()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert (embed.running, embed.cancelled) == (0, 2)


async def test_no_documents_need_no_call() -> None:
    """Nothing to embed is answered without asking the model."""
    embed = FakeEmbed()
    assert await ollama(embed).documents([]) == []
    assert embed.calls == []


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        ([[1.0, 2.0]], "1 vectors for 2 texts"),
        ([], "0 vectors for 2 texts"),
        ([[1.0], [1.0, 2.0]], r"\[1, 2\] dimensions"),
        ([[], []], r"\[0\] dimensions"),
        ([[1.0], [math.nan]], "not finite"),
        ([[1.0], [math.inf]], "not finite"),
    ],
)
async def test_senseless_vectors_are_refused(vectors: list[list[float]], complaint: str) -> None:
    """A reply that is not one finite vector of one length for each text is the model's failure."""

    async def embed(texts: Sequence[str], *, model: str) -> list[list[float]]:
        return vectors

    with pytest.raises(ModelError, match=complaint):
        await ollama(embed).documents(["a", "b"])


async def test_batches_of_different_lengths_are_refused() -> None:
    """Vectors must have one length over all batches, not just within each."""

    async def embed(texts: Sequence[str], *, model: str) -> list[list[float]]:
        return [[1.0] * len(text) for text in texts]

    with pytest.raises(ModelError, match=r"\[1, 2\] dimensions"):
        await ollama(embed, size=1).documents(["a", "bb"])


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [
        ("nomic-embed-text", "search_query: ", "search_document: "),
        ("nomic-embed-text:v1.5", "search_query: ", "search_document: "),
        ("hf.co/nomic-ai/nomic-embed-text-v2-moe-GGUF:F16", "search_query: ", "search_document: "),
        ("mxbai-embed-large", "Represent this sentence for searching relevant passages: ", ""),
        ("snowflake-arctic-embed:33m", "Represent this sentence for searching", ""),
        ("snowflake-arctic-embed2", "query: ", ""),
        ("someone/snowflake-arctic-embed-l-v2.0:q8", "query: ", ""),
        ("embeddinggemma:300m", "task: search result | query: ", "title: none | text: "),
        ("qwen3-embedding:0.6b", "Instruct: ", ""),
        ("someone/multilingual-e5-large", "query: ", "passage: "),
        ("E5-Base-v2", "query: ", "passage: "),
        ("multilingual-e5-large-instruct", "Instruct: ", ""),
        ("bge-m3", "", ""),
        ("all-minilm:33m", "", ""),
        ("registry.local:5000/e5-large/own-model", "", ""),
    ],
)
def test_prefixes_follow_the_base_name(model: str, query: str, document: str) -> None:
    """A model's prefixes are found whatever its namespace, tag and letter case."""
    found = prefixes(model)
    assert found.query.startswith(query) and bool(found.query) == bool(query)
    assert found.document == document


async def test_prefixes_are_sent() -> None:
    """Questions and documents reach the model with its prefixes in front."""
    embed = FakeEmbed()
    embedder = ollama(embed, model="nomic-embed-text:v1.5")
    await embedder.documents(["text 1"])
    await embedder.query("question 2")
    assert embed.calls == [["search_document: text 1"], ["search_query: question 2"]]


@given(st.text())
def test_every_text_has_a_vector(text: str) -> None:
    """Any text at all gives 1,024 finite numbers of length one, twice the same."""
    vector = hashed_words(text)
    assert len(vector) == DIMENSION
    assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-9)
    assert hashed_words(text) == vector


@pytest.mark.parametrize("text", ["", "   ", "?!", "🙂", "\ud800", "\x00", "What is it to you?"])
def test_texts_without_a_telling_word_are_valid(text: str) -> None:
    """Empty texts, signs and mere stop words have a direction too."""
    assert math.isclose(math.hypot(*hashed_words(text)), 1, rel_tol=1e-9)


def test_stop_words_count_only_where_nothing_else_is() -> None:
    """Stop words change nothing beside other words, and tell texts apart without."""
    assert hashed_words("Where is the library, please?") == hashed_words("library")
    assert cosine("what is it", "who are you") < 0.5
    assert math.isclose(cosine("what is it", "It is what?"), 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LIBRARY", "library"),
        ("Café", "cafe"),
        ("Cafe\u0301", "café"),
        ("Straße", "STRASSE"),
        ("ﬁre", "fire"),
        ("３０００", "3000"),
        ("li\u00adbra\u200bry", "library"),
        ("library/museum", "museum - library"),
        ("カフェ", "ｶﾌｪ"),
    ],
)
def test_writing_variants_are_the_same_word(one: str, other: str) -> None:
    """Case, accents, ligatures, widths and invisible characters make no difference."""
    assert math.isclose(cosine(one, other), 1)


@pytest.mark.parametrize(
    ("question", "related", "unrelated"),
    [
        ("opening hours of the libraries", "When does the library open?", "What does water cost?"),
        ("Wie teuer ist ein Reisepaß?", "Reisepass: Kosten und Dauer", "Hundesteuer"),
        ("Abfallgebühren", "Gebühr für Abfall", "Schwimmbad"),
        ("図書館の開館時間", "図書館は何時に開きますか", "水道料金"),
        ("图书馆几点开门", "图书馆开放时间", "游泳池票价"),
        ("도서관 개관 시간", "도서관은 언제 여나요", "수영장 요금"),
        ("पुस्तकालय कब खुलता है", "पुस्तकालय का समय", "पानी का बिल"),
    ],
)
def test_related_texts_are_nearer(question: str, related: str, unrelated: str) -> None:
    """Shared words, stems, compounds and bigrams bring texts together in many languages."""
    assert cosine(question, related) > 0.2
    assert cosine(question, related) > cosine(question, unrelated) + 0.1


def digest() -> str:
    """Return a fingerprint of vectors that touch every branch, rounded to be portable."""
    text = "Opening hours of the Café: 図書館は 8:00–12:00; hours may vary. И ещё раз."
    numbers = [round(value, 6) + 0.0 for value in hashed_words(text)]
    return hashlib.sha256(struct.pack(f"<{DIMENSION}d", *numbers)).hexdigest()[:8]


def test_vectors_are_the_same_in_every_process() -> None:
    """Another process with another hash seed computes the very same vector."""
    printed = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import digest; print(digest())"],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        text=True,
    )
    assert printed.stdout.strip() == digest()


def test_vectors_are_those_of_hashed_words_1() -> None:
    """Stored collections stay valid: whoever changes the vectors must change the model's name."""
    assert LexicalEmbedder().model == "hashed-words-1"
    assert digest() == PINNED


def test_threads_do_not_disturb_each_other() -> None:
    """Vectors computed by many threads at once, with nothing cached, are the right ones."""
    texts = [f"swimming pools number {i} opening regularly, closing rarely" for i in range(40)]
    expected = [hashed_words(text) for text in texts]
    embedding._features.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(hashed_words, texts)) == expected


def test_long_words_are_not_kept_in_memory() -> None:
    """Words as long as a message leave nothing behind in the process."""
    embedding._features.cache_clear()
    word = "abcdefghij" * 400
    assert cosine(word, word + "s") > 0.9
    assert embedding._features.cache_info().currsize == 0


async def test_lexical_vectors_are_made_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop's thread computes no vector, and the order is kept."""
    threads: set[int] = set()

    def watched(text: str) -> list[float]:
        threads.add(threading.get_ident())
        return hashed_words(text)

    monkeypatch.setattr(embedding, "hashed_words", watched)
    embedder: Embedder = LexicalEmbedder()
    texts = [f"text number {i}" for i in range(50)]
    assert await embedder.documents(texts) == [hashed_words(text) for text in texts]
    assert await embedder.query(texts[0]) == hashed_words(texts[0])
    assert threading.get_ident() not in threads


def test_a_collection_passes_with_its_own_embedder() -> None:
    """What ``record`` writes is what ``check`` accepts."""
    embedder = LexicalEmbedder()
    metadata = record(embedder, DIMENSION)
    assert metadata == {
        "orbit_embedder": "lexical",
        "orbit_model": "hashed-words-1",
        "orbit_dimension": 1024,
    }
    check({**metadata, "note": "anything"}, embedder, "faq")


@pytest.mark.parametrize("metadata", [None, {}, {"source": "somebody else"}])
def test_collections_of_others_pass(metadata: dict[str, Any] | None) -> None:
    """A collection that does not say who embedded it is not refused."""
    check(metadata, LexicalEmbedder(), "faq")


def test_the_default_tag_is_the_same_model() -> None:
    """``bge-m3`` and ``bge-m3:latest`` name one model; another tag names another."""
    stored = {"orbit_embedder": "ollama", "orbit_model": "bge-m3:latest"}
    check(stored, ollama(FakeEmbed()), "faq")
    with pytest.raises(EmbedderMismatch):
        check(stored, ollama(FakeEmbed(), model="bge-m3:567m"), "faq")


def test_a_mismatch_names_both_and_the_remedy() -> None:
    """The refusal tells the operator both embedders and how to load the documents again."""
    stored = record(ollama(FakeEmbed(), model="nomic-embed-text"), 768)
    with pytest.raises(EmbedderMismatch) as refused:
        check(stored, LexicalEmbedder(), "faq")
    cause = str(refused.value)
    assert "ollama/nomic-embed-text" in cause
    assert "lexical/hashed-words-1" in cause
    assert "collections delete faq" in cause
    assert "ingest PATH… --collection faq" in cause
    assert "nomic" not in refused.value.detail
