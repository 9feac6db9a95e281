"""Presentations: slides in their order, each under its title, with its notes."""

from pathlib import Path

from ....support.documents import load
from ....support.office import pptx, shape, slide_table


def test_slides_are_pages_under_their_titles(tmp_path: Path) -> None:
    """Footers are no text, hidden slides are left out, a table is lines."""
    content = pptx(
        [
            shape("The new pool", "ctrTitle") + shape("Council, May", "subTitle"),
            shape("Costs", "title")
            + shape("Two million.\nOver three years.")
            + slide_table([["Year", "Cost"], ["2026", "1 million"]])
            + shape("page 2", "sldNum"),
            "HIDDEN" + shape("Draft", "title") + shape("Never shown."),
            shape("Only a title", "title"),
        ],
        notes={2: "The bank has agreed."},
    )
    chunks = load(tmp_path, "pool.pptx", content)
    assert [
        (chunk.metadata.get("heading"), chunk.metadata["page"], chunk.text) for chunk in chunks
    ] == [
        ("The new pool", 1, "Council, May"),
        (
            "Costs",
            2,
            "Two million.\nOver three years.\n\nYear | Cost\n2026 | 1 million"
            "\n\nThe bank has agreed.",
        ),
        ("Only a title", 3, "Only a title"),
    ]
    assert {chunk.metadata["title"] for chunk in chunks} == {"The new pool"}
