"""Plain text is divided at blank lines."""

from pathlib import Path

from ...support.documents import load, texts


def test_text_is_divided_at_blank_lines(tmp_path: Path) -> None:
    """Wrapped lines are joined, blank lines divide, a form feed too."""
    content = "One\nparagraph  here.\n \t\nTwo\u200b.\r\n\r\nThree\x0cFour <!-- no --> five"
    chunks = load(tmp_path, "opening-hours_2024.txt", content)
    assert texts(chunks) == ["One paragraph here.\n\nTwo.\n\nThree Four five"]
    assert chunks[0].metadata == {
        "source": "opening-hours_2024.txt",
        "title": "opening hours 2024",
        "position": 0,
    }


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    """Files from Windows begin with their text."""
    assert texts(load(tmp_path, "a.txt", b"\xef\xbb\xbfhello")) == ["hello"]


def test_japanese_lines_are_joined_without_a_gap(tmp_path: Path) -> None:
    """A line that ends in the middle of a word is no end of the word."""
    chunks = load(tmp_path, "a.txt", "窓口は九時に開きま\nす。\nOpen from\nnine.")
    assert texts(chunks) == ["窓口は九時に開きます。 Open from nine."]
