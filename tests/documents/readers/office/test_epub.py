"""Books: chapters in their order."""

from pathlib import Path

from ....support.documents import load
from ....support.office import epub


def test_chapters_follow_each_other_without_the_navigation(tmp_path: Path) -> None:
    """A heading is a chapter's own, else its title."""
    content = epub(
        [
            "<html><head><title>One</title></head><body><p>It began.</p></body></html>",
            "<html><body><h1>Two</h1><p>It went on.</p></body></html>",
        ],
        title="The book",
    )
    chunks = load(tmp_path, "a.epub", content)
    assert [(chunk.metadata["heading"], chunk.text) for chunk in chunks] == [
        ("One", "It began."),
        ("Two", "It went on."),
    ]
    assert chunks[0].metadata["title"] == "The book"


def test_a_book_may_refer_to_its_pages_by_way_of_the_folder_above(tmp_path: Path) -> None:
    """A manifest holds relative URLs, not names of entries."""
    content = epub(["<html><body><p>It began.</p></body></html>"], folder="../OEBPS/./text")
    assert [chunk.text for chunk in load(tmp_path, "a.epub", content)] == ["It began."]
