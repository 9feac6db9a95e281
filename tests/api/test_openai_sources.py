"""The list of sources at the end of an answer, and taking it off again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.api.openai_sources import citations, sources_list, without_sources


def source(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"s{number}", "title": f"Title {number}", "source": f"file{number}.md", **more}


def test_cited_ones_keep_their_numbers() -> None:
    """Only what the text refers to is listed, under the number that the text uses."""
    sources = [source(1), source(2, source="https://town.example/pool"), source(3)]
    assert sources_list(sources, ["s2", "s3"]) == (
        "\n\n---\n**Sources:**\n"
        "- [2] [Title 2](https://town.example/pool)\n- [3] Title 3 (file3.md)\n"
    )
    assert sources_list(sources, []).count("\n- ") == 3
    assert sources_list([], []) == ""


def test_titles_cannot_break_out_of_the_list() -> None:
    """What a document calls itself is text: no link, no line of its own."""
    evil = source(1, title="a](javascript:x)\n# <b>", source="x\n\ny")
    listed = sources_list([evil], [])
    assert listed.count("\n") == 5
    assert "a\\](javascript:x) # \\<b\\> (x y)" in listed


def test_names_cannot_break_out_of_the_list() -> None:
    """What shows Markdown would load an image, and tell its server who reads which answer."""
    evil = source(1, title="a", source="![x](https://evil.example/p.png) <img src=//evil.example>")
    listed = sources_list([evil], [])
    assert "(!\\[x\\](https://evil.example/p.png) \\<img src" in listed
    assert sources_list([source(2, title="x_y.md", source="x_y.md")], []).count("x") == 1


titles = st.text(max_size=30)


@given(st.text(max_size=80), st.lists(st.tuples(titles, titles), max_size=4))
def test_what_was_put_behind_is_taken_off(text: str, named: list[tuple[str, str]]) -> None:
    """Whatever the titles are, the answer comes back as it was."""
    sources = [
        source(number, title=title, source=name) for number, (title, name) in enumerate(named)
    ]
    listed = sources_list(sources, [])
    assert without_sources(text + listed) == without_sources(text)
    assert without_sources(without_sources(text)) == without_sources(text)


@pytest.mark.parametrize("text", ["", "Sources:\n- [1] mine", "a\n\n---\n**Sources:** none", "---"])
def test_other_texts_stay(text: str) -> None:
    """A list that somebody else wrote is no list of ours."""
    assert without_sources(text) == text


def test_citations_are_named_once() -> None:
    """The addresses in order, without repetition."""
    assert citations([source(1), source(2, source="b"), source(3, source="b")]) == ["file1.md", "b"]
