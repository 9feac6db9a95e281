"""The sources of a collection, page by page, in bounded memory."""

import random
from typing import Any, cast

import pytest

from orbit_server.documents.source_list import (
    First,
    bounded,
    count_sources,
    first_passages,
    list_sources,
)
from orbit_server.retrieval.chroma.protocol import Chroma, Record

pytestmark = pytest.mark.anyio


class Stored:
    """A collection whose records have this metadata, in this order."""

    def __init__(self, metadata: list[dict[str, Any]]) -> None:
        self.records = [Record(str(n), None, each) for n, each in enumerate(metadata)]

    async def get(
        self, name: str, *, where: dict[str, Any] | None, limit: int, offset: int, texts: bool
    ) -> list[Record]:
        assert not texts, "texts are not needed, and take most of the time"
        wanted = [each for each in self.records if (where or {}).items() <= each.metadata.items()]
        return wanted[offset : offset + limit]


def stored(*metadata: dict[str, Any]) -> Chroma:
    return cast(Chroma, Stored(list(metadata)))


async def test_pages_are_complete_and_in_order() -> None:
    """However the records lie, and however small a page is; each counts all of its passages."""
    many = [{"source": f"{n % 50:02}.md", "page": n // 50 + 1} for n in range(200)]
    for seed in range(5):
        random.Random(seed).shuffle(many)
        found, after = [], ""
        while True:
            files, following = await list_sources(
                stored(*many), "town", after=after, limit=7, page=3
            )
            found += files
            if following is None:
                break
            assert following == files[-1].source
            after = following
        assert [each.source for each in found] == [f"{n:02}.md" for n in range(50)]
        assert {(each.passages, each.pages) for each in found} == {(4, 4)}


async def test_the_last_load_says_what_there_is_to_say() -> None:
    """What an earlier one has said of a passage that is still there is outdated."""
    files, following = await list_sources(
        stored(
            {"source": "a", "orbit_loaded": "2026-02", "orbit_warnings": "", "page": 2},
            {"source": "a", "orbit_loaded": "2026-01", "orbit_warnings": "old"},
            {"source": "a", "orbit_loaded": "2026-02", "page": 9},
            {"source": "b", "question": "What?", "page": 3},
            {"source": "c", "orbit_loaded": "2026-01", "orbit_warnings": "x\ny"},
            {"other": 1},
        ),
        "town",
    )
    assert following is None
    other, a, b, c = files
    assert (other.source, other.passages, other.loaded) == ("", 1, None)
    assert (a.passages, a.pages, a.loaded, a.warnings) == (3, 9, "2026-02", [])
    assert (b.pages, b.loaded) == (None, None)
    assert c.warnings == ["x", "y"]


async def test_sources_are_counted_and_known_by_their_first_passage() -> None:
    """Over all pages, and by name."""
    many = [{"source": name, "position": n} for n in range(3) for name in ("b", "a")]
    assert list((await count_sources(stored(*many), "town", page=2)).items()) == [
        ("a", 3),
        ("b", 3),
    ]
    assert await first_passages(stored(*many), "town", page=1) == {
        "b": First("0", {"source": "b", "position": 0}),
        "a": First("1", {"source": "a", "position": 0}),
    }


def test_warnings_are_bounded() -> None:
    """A database does not take everything; how many there were is said."""
    kept = bounded([f"{n}\n{'x' * 1000}" for n in range(25)])
    assert len(kept) == 21
    assert max(map(len, kept)) == 300
    assert kept[-1] == "And 5 more."
