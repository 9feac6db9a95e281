"""Markdown: headings, lists, tables, code, and what a rendered page hides."""

from pathlib import Path

import pytest

from ...support.documents import load, texts

GUIDE = """---
title: "The Guide"
tags: [a]
---
# Town hall

Come in. It is *warm* and has `code`.

## Opening hours

| Day | Open |
|-----|------|
| Mon | 9-12 |
| Tue | 13-17 |

Closing
-------

- bring **this**
- and that
  1. first
  2. second

```sh
if true; then
    echo hi
fi
```

# Library

Line one\\
line two
and three.
"""


def test_markdown_structure_becomes_headings_and_text(tmp_path: Path) -> None:
    """Headings become paths; lists, tables, code and line breaks stay readable."""
    chunks = load(tmp_path, "guide.md", GUIDE)
    assert [(chunk.metadata.get("heading"), chunk.text) for chunk in chunks] == [
        ("Town hall", "Come in. It is warm and has code."),
        ("Town hall > Opening hours", "Day: Mon | Open: 9-12\nDay: Tue | Open: 13-17"),
        (
            "Town hall > Closing",
            "- bring this\n- and that\n1. first\n2. second\n\nif true; then\n    echo hi\nfi",
        ),
        ("Library", "Line one\nline two and three."),
    ]
    assert chunks[1].embed == f"The Guide > Town hall > Opening hours\n{chunks[1].text}"
    assert chunks[1].metadata == {
        "source": "guide.md",
        "title": "The Guide",
        "heading": "Town hall > Opening hours",
        "position": 1,
    }


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("# First\n\ntext", "First"),
        ("# First\n\n## Sub\n\ntext", "First"),
        ("# Pool\n\ntext\n\n# Library\n\ntext", "my file"),
        ("# Pool\n# Library\n\ntext", "my file"),
        ("Read this first.\n\n# Pool\n\ntext", "my file"),
        ("## Before\n\n# Pool\n\ntext", "my file"),
        ("- item\n\n# Pool\n\ntext", "my file"),
        ("text\n\n## Sub\n\nmore", "my file"),
        ("---\ntitle: 'Quoted: one'\n---\n# H\n\ntext", "Quoted: one"),
        ("---\nauthor: me\n---\n# H\n\ntext", "H"),
        ("---\r\ntitle: Windows\r\n---\r\ntext", "Windows"),
    ],
)
def test_markdown_title(tmp_path: Path, content: str, title: str) -> None:
    """The title is the front matter's, else the single level-1 heading's if that comes first.

    Else it is made of the file's name: the first of several such headings names its part only.
    """
    assert load(tmp_path, "my_file.md", content)[0].metadata["title"] == title


def test_parts_of_equal_rank_are_not_below_the_first(tmp_path: Path) -> None:
    """What is embedded of a part names that part, not the one at the top of the file."""
    chunks = load(tmp_path, "town.md", "# Pool\n\nWet.\n\n# Library\n\nQuiet.")
    assert [chunk.embed for chunk in chunks] == ["town > Pool\nWet.", "town > Library\nQuiet."]


def test_a_rule_is_no_front_matter(tmp_path: Path) -> None:
    """Text between two rules is text."""
    assert load(tmp_path, "a.md", "---\nKept words here\n\n---\nrest")[0].text.startswith("Kept")


@pytest.mark.parametrize(
    "content", ["# Only", "# A\n\n## B\n\n## C\n\ntext", "# A\n\ntext\n\n## B"]
)
def test_headings_without_text_are_kept(tmp_path: Path, content: str) -> None:
    """A heading with nothing under it is a passage itself, or part of the path below it."""
    everything = " ".join(chunk.embed for chunk in load(tmp_path, "a.md", content))
    assert all(word in everything.split() for word in content.split() if word.isalpha())


def test_the_title_is_not_repeated_in_front_of_its_own_heading(tmp_path: Path) -> None:
    """Where the path begins with the title, the embedded text names it once."""
    assert load(tmp_path, "a.md", "# T\n\n## S\n\ntext")[0].embed == "T > S\ntext"


def test_an_endless_heading_is_a_paragraph(tmp_path: Path) -> None:
    """A heading of many words is shortened in the path and kept whole as text."""
    heading = " ".join(["word"] * 100)
    chunk = load(tmp_path, "a.md", f"# {heading}\n\ntext")[0]
    assert len(str(chunk.metadata["heading"])) == 200
    assert chunk.text == f"{heading}\n\ntext"


@pytest.mark.parametrize(
    "hidden",
    [
        "<!-- secret -->",
        "<!-- secret\n\nsecret -->",
        "<div hidden>\n\nsecret *words*\n\n</div>",
        '<p style="display:none">secret</p>',
        "[//]: # (secret)",
        "text <span hidden>secret **bold secret**</span> text",
        "<script>\nsecret()\n\nsecret()\n</script>",
        "text <span aria-hidden='true'>secret</span>",
        "text with <style>secret",
    ],
)
def test_hidden_markdown_is_left_out(tmp_path: Path, hidden: str) -> None:
    """What a rendered page would not show is not loaded, and what follows is."""
    chunks = load(tmp_path, "a.md", f"before\n\n{hidden}\n\nafter *that*\n")
    everything = " ".join(texts(chunks))
    assert "secret" not in everything
    assert "before" in everything and "after that" in everything


def test_html_shown_as_markdown_code_is_kept(tmp_path: Path) -> None:
    """Code is visible, whatever it would do elsewhere."""
    chunks = load(tmp_path, "a.md", "`<!-- shown -->`\n\n```html\n<p hidden>shown too</p>\n```\n")
    assert chunks[0].text == "<!-- shown -->\n\n<p hidden>shown too</p>"


def test_japanese_lines_are_joined_without_a_gap(tmp_path: Path) -> None:
    """A line that ends in the middle of a word is no end of the word."""
    chunks = load(tmp_path, "a.md", "窓口は九時に開きま\nす。\nOpen from\nnine.")
    assert texts(chunks) == ["窓口は九時に開きます。 Open from nine."]


def test_japanese_hard_breaks_stay(tmp_path: Path) -> None:
    """Two blanks or a backslash at the end of a line break it in any script."""
    chunks = load(tmp_path, "a.md", "住所  \n電話\\\n時間\n割引")
    assert texts(chunks) == ["住所\n電話\n時間割引"]


def test_front_matter_in_toml(tmp_path: Path) -> None:
    """Its title counts, the rest of it is no text; what only begins like it is text."""
    front = '+++\ntitle = "Fees \\u0026 fines"\ndate = 2026-01-31\n+++\n\nAn hour costs 2 euros.'
    [chunk] = load(tmp_path, "a.md", front)
    assert (chunk.metadata["title"], chunk.text) == ("Fees & fines", "An hour costs 2 euros.")
    [chunk] = load(tmp_path, "b.md", "+++\nnot = = toml\n+++\n")
    assert "not = = toml" in chunk.text
