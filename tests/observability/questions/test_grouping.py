"""``grouped``: the same question in other words is one group, whatever the model."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from orbit_server.observability.questions.grouping import Embed, grouped
from orbit_server.retrieval.embedders import Embedder
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder
from orbit_server.retrieval.out_of_domain import out_of_domain_questions
from tests.support.concepts import ConceptEmbedder

pytestmark = pytest.mark.anyio

# One question a line, in the words of different people.
MEANINGS = [
    line.strip().split(" | ")
    for line in """
    what does a passport cost? | passport fee | price of passports | was kostet ein Reisepass
    when does the library open? | library opening hours | is the library open | Bibliothek geöffnet
    when does the pool open? | swimming opening hours | is the swimming pool open | Freibad offen
    do i pay tax for my dog? | dog licence | a licence for dogs | Hund Steuer
    where can i park? | parking | where do I park my car | Parkplatz
    who changes a broken lamp? | street lamp is broken | bulb of the light is gone | Lampe kaputt
    who invented swimming? | inventor of the swimming pool | who is the inventor of swimming
    what does the pool cost? | swimming pool fee | price for swimming | Freibad Preis
    """.strip().splitlines()
]
QUESTIONS = [
    question for wordings in zip(*(m[:3] for m in MEANINGS), strict=True) for question in wordings
]
OF = {question: number for number, wordings in enumerate(MEANINGS) for question in wordings}


def by(embedder: Embedder) -> Embed:
    """Return the embedding function of an embedder."""

    async def embed(texts: Sequence[str]) -> list[list[float] | None]:
        return list(await embedder.documents(texts))

    return embed


def purity_and_completeness(groups: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return the share that is in a group of its meaning, and how little meanings are torn apart.

    Completeness is 1 - H(group|meaning) / H(group), Rosenberg and Hirschberg 2007.
    """
    total = sum(map(len, groups))
    together = Counter(
        (number, OF[QUESTIONS[each]]) for number, group in enumerate(groups) for each in group
    )
    meanings = Counter(OF[QUESTIONS[each]] for group in groups for each in group)
    best = [max(together[number, m] for m in meanings) for number in range(len(groups))]
    torn = -sum(n / total * math.log(n / meanings[m]) for (_, m), n in together.items())
    spread = -sum(len(each) / total * math.log(len(each) / total) for each in groups)
    return sum(best) / total, 1 - torn / spread


async def test_questions_of_one_meaning_are_together() -> None:
    """By a model, the same question in other words is one group, and other questions are not."""
    unrelated = out_of_domain_questions(["en"])
    groups = await grouped(QUESTIONS, by(ConceptEmbedder()), unrelated=unrelated)
    purity, completeness = purity_and_completeness(groups)
    assert purity >= 0.8 and completeness >= 0.8, (purity, completeness)


async def test_without_a_model_words_decide() -> None:
    """Questions with the same words are one group; that synonyms mean the same, no word tells."""
    groups = await grouped(QUESTIONS, by(LexicalEmbedder()))
    purity, completeness = purity_and_completeness(groups)
    assert purity >= 0.8 and completeness >= 0.6, (purity, completeness)


async def test_a_model_whose_vectors_are_all_alike() -> None:
    """What unrelated questions have in common says nothing, however much of a vector it is."""
    plain = by(ConceptEmbedder())

    async def narrow(texts: Sequence[str]) -> list[list[float] | None]:
        # Two of them are now at least as near as any two of one meaning were before.
        return [[*each, 3.0] for each in await plain(texts) if each]

    unrelated = out_of_domain_questions(["en"])
    groups = await grouped(QUESTIONS, narrow, unrelated=unrelated)
    assert groups == await grouped(QUESTIONS, plain, unrelated=unrelated)
    assert len(await grouped(QUESTIONS, narrow)) == 1


def on_a_circle(degrees: Sequence[float]) -> tuple[list[str], Embed]:
    """Return texts whose vectors stand at these angles."""

    async def embed(texts: Sequence[str]) -> list[list[float] | None]:
        angles = [math.radians(float(text)) for text in texts]
        return [[math.cos(angle), math.sin(angle)] for angle in angles]

    return [str(each) for each in degrees], embed


@pytest.mark.parametrize("batch", [1, 3, 256])
async def test_the_mean_of_all_pairs_links(batch: int) -> None:
    """A chain of neighbours is no group: its ends are far apart. Batches change nothing."""
    texts, embed = on_a_circle([0, 33, 73, 108, 150, 300, 301, 302])
    groups = await grouped(texts, embed, threshold=0.7, batch=batch)
    assert groups == [[0, 1], [2, 3], [4], [5, 6, 7]]


async def test_more_kinds_than_seeds() -> None:
    """Those that come late are put to a group that they are like, or stay alone."""
    texts, embed = on_a_circle([0, 120, 1, 20, 240, 241, 119])
    assert await grouped(texts, embed, most_seeds=2, batch=2) == [[0, 2, 3], [1, 6], [4], [5]]


async def test_what_the_model_refuses_is_alone() -> None:
    """A text without a vector, or with one that has no direction, is like no other."""
    vectors = {"a": [1.0, 0.0], "b": None, "c": [0.0, 0.0], "d": [1.0, 0.1]}

    async def embed(texts: Sequence[str]) -> list[list[float] | None]:
        return [vectors[text] for text in texts]

    assert await grouped(list("abcd"), embed) == [[0, 3], [1], [2]]
    assert await grouped(list("bc"), embed) == [[0], [1]]
    assert await grouped(["b"], embed) == [[0]]
    assert await grouped([], embed) == []


async def test_ties_end() -> None:
    """Where all are as near to each other, the chain of neighbours finds an end."""

    async def embed(texts: Sequence[str]) -> list[list[float] | None]:
        return [[1.0 * (place == int(text)) for place in range(6)] + [1.0] for text in texts]

    groups = await grouped([str(number) for number in range(6)], embed)
    assert groups == [[0, 1, 2, 3, 4, 5]]


async def test_it_says_how_far_it_is() -> None:
    """By texts, a batch at a time."""
    steps: list[int] = []
    noted: Callable[[int], None] = steps.append
    texts, embed = on_a_circle(range(5))
    await grouped(texts, embed, batch=2, advanced=noted)
    assert steps == [2, 2, 1]
