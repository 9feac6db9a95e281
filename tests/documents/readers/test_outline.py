"""Elements and text in reading order become blocks under headings."""

from orbit_server.documents.model import Block
from orbit_server.documents.readers.outline import Outline


def test_blocks_stand_under_their_headings() -> None:
    """A heading begins a section; text until the next block element is one block."""
    outline = Outline()
    for tag, text in (("h1", "Town"), ("p", "One\ntwo."), ("h2", "Pool"), ("pre", "a\n  b")):
        outline.enter(tag, {})
        outline.text(text)
        outline.leave(tag)
    document = outline.finished()
    assert document.title == "Town"
    assert document.blocks == [
        Block("One two.", "Town"),
        Block("a\n  b", "Town > Pool", verbatim=True),
    ]


def test_breaks_between_elements() -> None:
    """A line can end inside a paragraph, and a paragraph without an element."""
    outline = Outline()
    outline.text("one")
    outline.break_line()
    outline.text("two")
    outline.break_paragraph()
    outline.text("three")
    assert [block.text for block in outline.finished().blocks] == ["one\ntwo", "three"]
