"""Embedding: batches through Ollama, and what a collection remembers."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orbit_server.errors import EmbedderMismatch, ModelError, ModelUnreachable
from orbit_server.retrieval.embedders import (
    OllamaEmbedder,
    QuestionVectors,
    check_embedder,
    digest_of,
    embedder_metadata,
    embedder_of,
    prefixes,
)
from orbit_server.retrieval.hashed_embedder import DIMENSION, LexicalEmbedder

pytestmark = pytest.mark.anyio


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
        ([[1.0, 2.0], [math.inf, -math.inf]], "not finite"),
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


def test_a_collection_passes_with_its_own_embedder() -> None:
    """What ``embedder_metadata`` writes is what ``check_embedder`` accepts."""
    embedder = LexicalEmbedder()
    metadata = embedder_metadata(embedder, DIMENSION)
    assert metadata == {
        "orbit_embedder": "lexical",
        "orbit_model": "hashed-words-1",
        "orbit_dimension": 1024,
    }
    check_embedder({**metadata, "note": "anything"}, embedder, "faq")


@pytest.mark.parametrize("metadata", [None, {}, {"source": "somebody else"}])
def test_collections_of_others_pass(metadata: dict[str, Any] | None) -> None:
    """A collection that does not say who embedded it is not refused."""
    check_embedder(metadata, LexicalEmbedder(), "faq")


def test_the_default_tag_is_the_same_model() -> None:
    """``bge-m3`` and ``bge-m3:latest`` name one model; another tag names another."""
    stored = {"orbit_embedder": "ollama", "orbit_model": "bge-m3:latest"}
    check_embedder(stored, ollama(FakeEmbed()), "faq")
    with pytest.raises(EmbedderMismatch):
        check_embedder(stored, ollama(FakeEmbed(), model="bge-m3:567m"), "faq")


def test_a_mismatch_names_both_and_the_remedy() -> None:
    """The refusal tells the operator both embedders and how to load the documents again."""
    stored = embedder_metadata(ollama(FakeEmbed(), model="nomic-embed-text"), 768)
    with pytest.raises(EmbedderMismatch) as refused:
        check_embedder(stored, LexicalEmbedder(), "faq")
    cause = str(refused.value)
    assert "ollama/nomic-embed-text" in cause
    assert "lexical/hashed-words-1" in cause
    assert "collections delete faq" in cause
    assert "ingest PATH… --collection faq" in cause
    assert "nomic" not in refused.value.detail


# -- questions that were asked before ----------------------------------------------------------


async def test_a_question_is_embedded_once() -> None:
    """The same vector comes back, a new list each time, with the precision of Chroma."""
    embed = FakeEmbed()
    vectors = QuestionVectors(ollama(embed))
    first = await vectors("price 0.1")
    assert first.vector is not None
    first.vector.append(7.0)
    second = await vectors("price 0.1")
    assert second.vector == [pytest.approx(0.1, rel=1e-7), 1.0]
    assert second.chars == len("price 0.1")
    assert second == await vectors("price 0.1")
    assert embed.calls == [["price 0.1"]]


async def test_what_is_remembered_of_questions_is_bounded() -> None:
    """The latest few stay, a vector that is too large and a long text never do."""
    embed = FakeEmbed()
    vectors = QuestionVectors(ollama(embed), most_bytes=16, longest=20)
    for number in (1, 2, 1, 3, 1, 2):  # two fit; 2 was forgotten when 3 came
        await vectors(f"text {number}")
    assert embed.calls == [["text 1"], ["text 2"], ["text 3"], ["text 2"]]
    embed.calls.clear()
    for _ in range(2):
        await vectors(f"{'long ' * 4}4")
        await QuestionVectors(ollama(embed), most_bytes=4)("text 5")
    assert len(embed.calls) == 4


async def test_failures_and_shortened_questions_are_asked_again() -> None:
    """A model that works again is used again, and why a question was shortened is always told."""
    embed = FakeEmbed()
    vectors = QuestionVectors(ollama(embed))
    embed.failing["text 5"] = ModelUnreachable("no route")
    for _ in range(2):
        with pytest.raises(ModelUnreachable):
            await vectors("text 5")
    embed.failing.clear()
    assert (await vectors("text 5")).vector == [5.0, 1.0]

    text = "0" * 79 + "7"
    embed.failing[text] = ModelError("too long")
    for _ in range(2):
        found = await vectors(text)
        assert (found.vector, found.chars, found.reason) == ([0.0, 1.0], 40, "too long")


async def test_a_collection_is_embedded_by_the_files_that_made_it() -> None:
    """Its digest goes with every text; one that remembers none is embedded as before."""
    sent: list[dict[str, str]] = []

    async def embed(texts: Sequence[str], **wanted: str) -> list[list[float]]:
        sent.append(wanted)
        return [[1.0, 0.0] for _ in texts]

    async def digest(model: str) -> str | None:
        return "d1" if model == "bge-m3" else None

    embedder = OllamaEmbedder(embed, model="bge-m3", batch_size=4, concurrency=2, digest_of=digest)
    metadata = embedder_metadata(embedder, 2, await digest_of(embedder))
    assert metadata["orbit_digest"] == "d1"
    check_embedder(metadata, embedder, "faq")
    await embedder_of(metadata, embedder).documents(["a"])
    await embedder_of({}, embedder).query("a")
    vectors = QuestionVectors(embedder)
    await vectors("a", {"orbit_digest": "d2"})
    await vectors("a", {"orbit_digest": "d3"})  # another model's vector is not remembered for it
    await vectors("a", {"orbit_digest": "d2"})
    assert [each.get("digest") for each in sent] == ["d1", None, "d2", "d3"]
    assert await digest_of(LexicalEmbedder()) is None
