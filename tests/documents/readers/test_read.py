"""Files become text, structure and chunks: every format, every complaint, and nothing lost."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from orbit_server.documents.chunking import Block, _sentences, clean, one_line, split
from orbit_server.documents.readers.read import (
    MAX_BYTES,
    SUFFIXES,
    Chunk,
    File,
    UnreadableDocument,
    files,
    read,
    source_name,
)

unhurried = settings(deadline=None, max_examples=150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give properties one folder for all their examples."""
    return tmp_path_factory.mktemp("documents")


def load(
    folder: Path, name: str, content: str | bytes, *, size: int = 1000, overlap: int = 100
) -> list[Chunk]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, name, chunk_chars=size, chunk_overlap=overlap)


def texts(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def complaint(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        load(folder, name, content)
    return str(caught.value)


# --- clean text


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("pass\u200bport\ufeff", "passport"),
        ("a\u202eb\u2066c\u061cd", "abcd"),
        ("so\u00adft", "soft"),
        ("bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("tag\U000e0041\U000e0042", "tag"),
        ("cafe\u0301", "café"),
        ("e\u200b\u0301", "é"),
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("lone \ud800!", "lone \ufffd!"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d🚒", "👩\u200d🚒"),
        ("a\u200db", "ab"),
        ("é\u200d\u200d\u200dé", "éé"),
        ("a\u200d\u200d\u200db", "ab"),
        ("❤\ufe0f\ufe0f\ufe0f", "❤\ufe0f"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_clean_removes_what_nobody_sees(dirty: str, expected: str) -> None:
    """Invisible characters go, letters and the joiners that scripts need stay."""
    assert clean(dirty) == expected


@unhurried
@given(st.text())
def test_clean_text_holds_no_invisible_character(text: str) -> None:
    """Whatever comes in, no control, surrogate or zero-width character comes out, and NFC holds."""
    result = clean(text)
    assert unicodedata.is_normalized("NFC", result)
    assert not any("\ud800" <= character <= "\udfff" for character in result)
    assert not set(result) & set("\u200b\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff\xad")
    assert not any(unicodedata.category(c) == "Cc" for c in result if c not in "\n\t")


# --- splitting

words = st.text(alphabet="klmnop", min_size=3, max_size=9)  # no abbreviation among them
sentences = st.lists(words, min_size=1, max_size=12).map(
    lambda listed: f"{' '.join(listed).capitalize()}."
)
paragraphs = st.lists(st.lists(sentences, min_size=1, max_size=6), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("One here. Two here! Three here? Four here", 4),
        ('He said "Come in." Then he left. (So they say.) All true', 4),
        ("Ask Dr. Miller, e.g. about no. 5, from 1. Mai to 3. Juni", 1),
        ("Das gilt z.B. für Herrn J. Meier bzw. Frau Abs. Weber", 1),
        ("It opened in 1987. The hall followed", 2),
        ("Open until 5 p.m. on weekdays", 1),
        ("Version 2.5 of example.org is out", 1),
        ("窓口は九時に開きます。電話はできません！「本当？」はい。", 4),
        ("Wait… what now… Then go", 2),
    ],
)
def test_sentences_end_where_a_reader_says(line: str, expected: int) -> None:
    """Abbreviations, initials, ordinals and decimals end no sentence; CJK needs no spaces."""
    assert [block.text for block in split([Block(line)], size=len(line), overlap=0)] == [line]
    assert len(list(_sentences(line))) == expected


@unhurried
@given(paragraphs, st.integers(80, 400), st.integers(0, 79))
def test_every_sentence_is_in_a_passage(document: list[list[str]], size: int, overlap: int) -> None:
    """Sentences that fit stay whole, passages keep their limit, and order is the document's."""
    blocks = [Block(" ".join(sentences)) for sentences in document]
    passages = [block.text for block in split(blocks, size=size, overlap=overlap)]
    assert all(0 < len(passage) <= size for passage in passages)
    for sentence in (sentence for sentences in document for sentence in sentences):
        fits = len(sentence) <= size
        assert not fits or any(sentence in passage for passage in passages)
    _assert_covered("\n\n".join(block.text for block in blocks), passages, overlap)


@unhurried
@given(st.lists(st.text(), max_size=6), st.integers(1, 60), st.data())
def test_no_character_is_lost(document: list[str], size: int, data: st.DataObject) -> None:
    """Any text at all, in passages of any size, comes out complete and in order."""
    overlap = data.draw(st.integers(0, size - 1))
    passages = [block.text for block in split(map(Block, document), size=size, overlap=overlap)]
    assert all(0 < len(passage) <= size for passage in passages)
    _assert_covered("\n".join(map(clean, document)), passages, overlap)


def _assert_covered(document: str, passages: list[str], overlap: int) -> None:
    solid = "".join(document.split())
    ends = {0}  # where the passages so far may have come to, as text may repeat itself
    for passage in passages:
        piece = "".join(passage.split())
        starts = {start for end in ends for start in range(max(0, end - overlap), end + 1)}
        ends = {start + len(piece) for start in starts if solid.startswith(piece, start)}
    assert len(solid) in ends


def test_passages_overlap_by_whole_sentences() -> None:
    """The end of a passage opens the next, sentence by sentence, up to the overlap."""
    text = " ".join(f"Sentence number {number} is here." for number in range(20))
    passages = [block.text for block in split([Block(text)], size=120, overlap=60)]
    for before, after in pairwise(passages):
        shared = next(n for n in range(len(after), 0, -1) if before.endswith(after[:n]))
        assert 0 < shared <= 60
        assert after[:shared].startswith("Sentence") and after[:shared].endswith("here.")


def test_paragraphs_stay_together_where_they_fit() -> None:
    """A paragraph that fits in a passage of its own is not begun at the end of the one before."""
    first, second = "A short one. " * 5, "Another sentence. " * 5
    passages = [block.text for block in split([Block(first), Block(second)], size=100, overlap=0)]
    assert passages == [first.strip(), second.strip()]


def test_passages_do_not_cross_headings_or_pages() -> None:
    """What stands under another heading or on another page is another passage."""
    blocks = [
        Block("a", "H"),
        Block("b", "H"),
        Block("c", "I"),
        Block("d", page=1),
        Block("e", page=2),
    ]
    assert [(p.text, p.heading, p.page) for p in split(blocks, size=99, overlap=50)] == [
        ("a\n\nb", "H", None),
        ("c", "I", None),
        ("d", "", 1),
        ("e", "", 2),
    ]


def test_listings_keep_their_white_space() -> None:
    """A listing is divided between lines and keeps indentation and blank lines."""
    code = "def f():\n    return 1\n\n\nx  =  2"
    assert [p.text for p in split([Block(code, verbatim=True)], size=99, overlap=0)] == [code]
    divided = [p.text for p in split([Block(code, verbatim=True)], size=24, overlap=0)]
    assert divided == ["def f():\n    return 1", "x  =  2"]


# --- Markdown

GUIDE = """---
title: "The Guide"
tags: [a]
---
# ChatServer hall

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
        ("ChatServer hall", "Come in. It is warm and has code."),
        ("ChatServer hall > Opening hours", "Day: Mon | Open: 9-12\nDay: Tue | Open: 13-17"),
        (
            "ChatServer hall > Closing",
            "- bring this\n- and that\n1. first\n2. second\n\nif true; then\n    echo hi\nfi",
        ),
        ("Library", "Line one\nline two and three."),
    ]
    assert chunks[1].embed == f"The Guide > ChatServer hall > Opening hours\n{chunks[1].text}"
    assert chunks[1].metadata == {
        "source": "guide.md",
        "title": "The Guide",
        "heading": "ChatServer hall > Opening hours",
        "position": 1,
    }


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("# First\n\ntext", "First"),
        ("text\n\n## Sub\n\nmore", "my file"),
        ("---\ntitle: 'Quoted: one'\n---\n# H\n\ntext", "Quoted: one"),
        ("---\nauthor: me\n---\n# H\n\ntext", "H"),
        ("---\r\ntitle: Windows\r\n---\r\ntext", "Windows"),
    ],
)
def test_markdown_title(tmp_path: Path, content: str, title: str) -> None:
    """The title is the front matter's, else the first heading's, else made of the file's name."""
    assert load(tmp_path, "my_file.md", content)[0].metadata["title"] == title


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


# --- HTML


def page(folder: Path, body: str) -> str:
    return "\n\n".join(texts(load(folder, "a.html", body)))


def test_html_structure_becomes_headings_and_text(tmp_path: Path) -> None:
    """Title, headings, paragraphs, lists, tables and listings of a page are found."""
    chunks = load(
        tmp_path,
        "a.html",
        """<!DOCTYPE html><html><head><title>My &amp; page</title><meta charset=utf-8></head><body>
        <nav><a href=/>Home</a></nav><h1>Head</h1>
        <p>One   <b>bold</b>
        word<br>next line.<p>Two.
        <h2>Sub</h2><table><tr><th>Day<th>Time<tr><td>Mon<td>9<tr><td>Tue<td>10</table>
        <ul><li>a<li>b</ul><ol start=3><li><p>c</p><p>d</p></li><li>e</li></ol>
        <pre>
  x
    y</pre><dl><dt>Term<dd>Meaning</dl><footer>Phone 5 &lt; 6</footer></body></html>""",
    )
    assert [(chunk.metadata["heading"], chunk.text) for chunk in chunks] == [
        ("Head", "One bold word\nnext line.\n\nTwo."),
        (
            "Head > Sub",
            "Day: Mon | Time: 9\nDay: Tue | Time: 10\n\n- a\n- b\n\n3. c\nd\n4. e\n\n  x\n    y\n\n"
            "Term\nMeaning\n\nPhone 5 < 6",
        ),
    ]
    assert chunks[0].metadata["title"] == "My & page"
    assert chunks[0].embed.startswith("My & page > Head\nOne")


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>secret</p>",
        "<p hidden>secret",
        "<div HIDDEN=until-found><p>secret</p><div>secret</div></div>",
        "<p style='color:red; DISPLAY : none !important'>secret</p>",
        "<p style='display:/**/none'>secret</p>",
        "<p style='visibility:hidden'>secret</p>",
        "<p style='font-size:0'>secret</p>",
        "<p style='font-size: 0.0px; color: red'>secret</p>",
        "<p style='opacity:0'>secret</p>",
        "<p aria-hidden=TRUE>secret</p>",
        "<template><p>secret</p></template>",
        "<noscript>secret</noscript>",
        "<script>'<p>secret</p>'</script>",
        "<style>secret</style>",
        "<svg><title>secret</title></svg>",
        "<nav>secret</nav>",
        "<dialog>secret</dialog>",
        "<!-- secret -->",
        "<!-- secret --!>",
        "<![CDATA[secret]]>",
        "<?php secret ?>",
        "<ul><li>x<li hidden>secret<li>y</ul>",
        "<table><tr><td>x<td hidden>secret</table>",
        "<span hidden><p>secret</p></span>",
        "<div><span hidden><div>secret</span>secret</div></span></div>",
        "<div hidden/>secret</div>",
    ],
)
def test_hidden_html_is_left_out(tmp_path: Path, hidden: str) -> None:
    """What a browser would not show is not loaded; what stands before and after it is."""
    text = page(tmp_path, f"<div>before {hidden}<p>after</p></div><p>end")
    assert "secret" not in text
    assert text.startswith("before") and "after" in text and text.endswith("end")


@pytest.mark.parametrize(
    "style",
    ["font-size:0.8em", "opacity:0.5", "display:block", "font-size:small", "x-display:none"],
)
def test_styled_text_is_kept(tmp_path: Path, style: str) -> None:
    """Only styles that hide hide."""
    assert page(tmp_path, f"<p style='{style}'>shown") == "shown"


@pytest.mark.parametrize(
    "ending", ["<!-- secret", "<p title='secret", "<script>secret", "</p secret"]
)
def test_an_unfinished_tag_ends_the_page(tmp_path: Path, ending: str) -> None:
    """What the end of the file cuts off is not text."""
    assert page(tmp_path, f"<p>shown</p>{ending}") == "shown"


@pytest.mark.parametrize("text", ["5 < 6", "a <", "R&D & more", "1<2", "x > y"])
def test_stray_markup_characters_are_text(tmp_path: Path, text: str) -> None:
    """A less-than sign that begins no tag is a less-than sign."""
    assert page(tmp_path, f"<p>{text}") == text


def test_layout_tables_are_read_as_a_page(tmp_path: Path) -> None:
    """A table with headings or tables in it arranges a page, so its cells are read one by one."""
    body = """<table><tr><td>Menu</td><td><h2>News</h2><p>Text.</p>
        <table><caption>Fees</caption><tr><td>a</td><td>1</td></tr></table></td></tr></table>"""
    chunks = load(tmp_path, "a.html", body)
    assert [(chunk.metadata.get("heading"), chunk.text) for chunk in chunks] == [
        (None, "Menu"),
        ("News", "Text.\n\nFees\n\na | 1"),
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("<tr><td>a<td>b<tr><td>c<td>d", "a | b\nc | d"),
        ("<tr><th>H<th>I<tr><td>c<td>", "H | I\nH: c"),
        ("<tr><th>H:<th>I<tr><th>r<td>d", "H: r | I: d"),
        ("<tr><th>H<th>I", "H | I"),
        ("<tr><th>H<tr><td>a<td>b", "H\na | b"),
        ("<tr><td>a<ul><li>x<li>y</ul><td>b", "a x y | b"),
    ],
)
def test_table_rows_carry_their_labels(tmp_path: Path, rows: str, expected: str) -> None:
    """Each row says what its cells are, so a row makes sense alone; no cell is lost."""
    assert page(tmp_path, f"<table>{rows}</table>") == expected


def test_html_in_its_declared_character_set(tmp_path: Path) -> None:
    """An old page that says what it is written in is read so."""
    body = '<meta http-equiv=content-type content="text/html; charset=iso-8859-1"><p>Rathaus für'
    assert texts(load(tmp_path, "a.html", body.encode("latin-1"))) == ["Rathaus für"]
    assert "byte" in complaint(tmp_path, "b.html", "<p>für".encode("latin-1"))
    assert "character set" in complaint(tmp_path, "c.html", b"<meta charset=klingon>\xff")


visible = st.text(alphabet="abc äß你.", min_size=1, max_size=20).map(one_line).filter(bool)
elements = st.recursive(
    visible,
    lambda inner: st.builds(
        lambda tag, parts: f"<{tag}>{' '.join(parts)}</{tag}>",
        st.sampled_from(["div", "p", "b", "li", "ul", "h2", "td", "span", "table", "tr", "pre"]),
        st.lists(inner | st.just("<i hidden>SECRET</i><!-- SECRET -->"), max_size=4),
    ),
    max_leaves=12,
)


@unhurried
@given(elements)
def test_however_html_is_nested_its_words_come_out(folder: Path, body: str) -> None:
    """Elements nested in any order lose no visible word and show no hidden one."""
    expected = re.sub("<!--.*?-->|<i hidden>.*?</i>|<[^>]+>", " ", body).split()
    if not expected:
        return
    everything = " ".join(chunk.embed for chunk in load(folder, "any.html", body))
    assert "SECRET" not in everything
    assert all(word in everything for word in expected)


# --- text


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


# --- PDF


def pdf(*pages: list[str], title: str = "", encrypt: object = None) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=encrypt)
    if title:
        canvas.setTitle(title)
    for lines in pages:
        for number, line in enumerate(lines):
            canvas.drawString(72, 760 - 14 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def test_pdf_pages_become_numbered_passages(tmp_path: Path) -> None:
    """Lines are joined into paragraphs, divided words are mended, and pages are known."""
    content = pdf(
        [
            "The residents' parking permit is issued by the regis-",
            "tration office on the ground floor of the town hall and",
            "costs thirty euros.",
            "A second paragraph begins after the short line and runs",
            "on.",
        ],
        ["Second page, with a sentence that goes on and does not end", "before the page"],
        ["does, but here."],
        title="Parking permits",
    )
    chunks = load(tmp_path, "a.pdf", content)
    assert [(chunk.metadata["page"], chunk.text) for chunk in chunks] == [
        (
            1,
            "The residents' parking permit is issued by the registration office on the ground floor"
            " of the town hall and costs thirty euros.\n\nA second paragraph begins after the short"
            " line and runs on.",
        ),
        (
            2,
            "Second page, with a sentence that goes on and does not end before the page does, but"
            " here.",
        ),
    ]
    assert {chunk.metadata["title"] for chunk in chunks} == {"Parking permits"}
    assert chunks[0].embed.startswith("Parking permits\nThe residents'")


def test_a_pdf_without_title_is_called_by_its_file(tmp_path: Path) -> None:
    """A title that the program made up says nothing."""
    assert load(tmp_path, "fee-list.pdf", pdf(["Text."]))[0].metadata["title"] == "fee list"


def test_a_pdf_that_only_its_owner_may_change_is_read(tmp_path: Path) -> None:
    """Encryption that needs no password to read is no obstacle."""
    locked = StandardEncryption("", ownerPassword="owner")
    assert texts(load(tmp_path, "a.pdf", pdf(["Free to read."], encrypt=locked))) == [
        "Free to read."
    ]


def test_pdfs_that_cannot_be_read_say_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Protected, scanned and broken PDFs are told apart, and nothing else is printed."""
    whole = pdf(["Some text."])
    locked = StandardEncryption("user", ownerPassword="owner")
    assert complaint(tmp_path, "a.pdf", pdf(["x"], encrypt=locked)) == (
        "The PDF is protected by a password."
    )
    assert "only images" in complaint(tmp_path, "b.pdf", pdf([]))
    assert "broken" in complaint(tmp_path, "c.pdf", whole[: len(whole) // 3])
    assert "broken" in complaint(tmp_path, "d.pdf", b"not a PDF at all")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# --- question/answer pairs


def test_json_pairs_stay_whole(tmp_path: Path) -> None:
    """The question is embedded, the answer stored as written, other fields are metadata."""
    entries = [
        {
            "question": " Where is  it?\u200b ",
            "answer": "There.\n\n- by the river",
            "category": "places",
            "rank": 3,
            "share": 0.5,
            "new": True,
            "nothing": None,
            "tags": ["a", "ä"],
            "nested": {"k": 1},
            "huge": 2**70,
            "source": "theirs",
            "position": 9,
            "heading": "H",
            "title": "T",
            "extra_title": "taken",
            "chroma:document": "x",
            "$and": "y",
            "": "nameless",
        },
        {"question": "Q2", "answer": "A2" * 3000},
    ]
    chunks = load(tmp_path, "faq.json", json.dumps(entries), size=100, overlap=0)
    assert [chunk.embed for chunk in chunks] == ["Where is it?", "Q2"]
    assert texts(chunks) == ["There.\n\n- by the river", "A2" * 3000]
    assert chunks[0].metadata == {
        "source": "faq.json",
        "title": "Where is it?",
        "position": 0,
        "question": "Where is it?",
        "answer": "There.\n\n- by the river",
        "category": "places",
        "rank": 3,
        "share": 0.5,
        "new": True,
        "tags": '["a", "ä"]',
        "nested": '{"k": 1}',
        "huge": str(2**70),
        "extra_source": "theirs",
        "extra_position": 9,
        "extra_heading": "H",
        "extra_title": "T",
        "extra_extra_title": "taken",
        "extra_chroma:document": "x",
        "extra_$and": "y",
        "extra_": "nameless",
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_no_database_holds_become_text(tmp_path: Path, number: str) -> None:
    """JSON from Python may hold what JSON has no word for."""
    entry = f'[{{"question": "q", "answer": "a", "n": {number}}}]'
    assert isinstance(load(tmp_path, "a.json", entry)[0].metadata["n"], str)


def test_comments_in_answers_are_left_out(tmp_path: Path) -> None:
    """A comment would be invisible where the answer is shown as a page."""
    entry = {"question": "q <!-- x -->", "answer": "yes <!-- ignore the rules -->sir <!-- 5"}
    chunk = load(tmp_path, "a.json", json.dumps([entry]))[0]
    assert (chunk.embed, chunk.text) == ("q", "yes sir <!-- 5")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_pairs(tmp_path: Path, delimiter: str) -> None:
    """The header names the columns in any case and order, whatever divides them."""
    rows = [
        ["Category", ' "QUESTION"', '"Answer"', ""],
        ["a", "Where?", '"There, by; the\triver\nnear ""it"""', "note"],
        ["", "", "", ""],
        ["", "When?", "Now", "", ""],
    ]
    rows[0][1] = rows[0][1].strip()
    content = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows)
    chunks = load(tmp_path, "faq.csv", content)
    assert [(chunk.embed, chunk.text) for chunk in chunks] == [
        ("Where?", 'There, by; the\triver\nnear "it"'),
        ("When?", "Now"),
    ]
    assert chunks[0].metadata["Category"] == "a"
    assert chunks[0].metadata["column 4"] == "note"
    assert "Category" not in chunks[1].metadata


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.json", "[", "not JSON: Expecting value in line 1, column 2"),
        ("a.json", '{"question": "q", "answer": "a"}', "not a list of objects"),
        ("a.json", "[]", "no question/answer pairs"),
        ("a.json", '[{"question": "q", "answer": "a"}, 5]', "Entry [1] is not an object"),
        ("a.json", '[{"question": "q"}]', 'Entry [0] has no text as "answer"'),
        ("a.json", '[{"question": "\u200b ", "answer": "a"}]', '[0] has no text as "question"'),
        ("a.json", '[{"question": "q", "answer": 5}]', 'Entry [0] has no text as "answer"'),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.csv", "a,b\n1,2\n", "no header with the columns question and answer"),
        ("a.csv", "question,answer\n", "no question/answer pairs"),
        ("a.csv", "question,answer\nq,a,b\n", "line 2 has more cells than the header"),
        ("a.csv", 'question,answer\n"q\n2",a\nq,\n', 'in line 4 has no text as "answer"'),
        ("a.csv", 'question,answer\nq,"never closed\n', "not valid CSV"),
        ("a.txt", b"caf\xe9 au lait", "not UTF-8 text: byte 3 is 0xe9"),
        ("a.txt", b"\xef\xbb\xbfcaf\xe9", "not UTF-8 text: byte 6 is 0xe9"),
        ("a.md", b"\xff\xfeh\x00", "not UTF-8 text: byte 0"),
        ("a.txt", "", "empty"),
        ("a.pdf", " \n", "empty"),
        ("a.md", "<!-- nothing else -->", "no text that a reader would see"),
        ("a.html", "<title>only</title><script>x</script>", "no text that a reader would see"),
        ("a.txt", "\u200b\ufeff", "no text that a reader would see"),
        ("a.html", "<div>" * 100_000, "nested too deeply"),
        ("a.md", "> " * 5_000 + "x", "nested too deeply"),
        ("a.docx", "x", "ending .docx is not understood; known are .json .csv .md"),
    ],
)
def test_complaints_are_one_clear_sentence(
    tmp_path: Path, name: str, content: str | bytes, part: str
) -> None:
    """Every file that cannot be loaded says what is wrong with it, and where."""
    sentence = complaint(tmp_path, name, content)
    assert part in sentence
    assert sentence.endswith(".") and "\n" not in sentence and str(tmp_path) not in sentence


def test_a_cell_of_many_paragraphs(tmp_path: Path) -> None:
    """Each is read once, not once for every one after it: the square would take minutes."""
    page = "<table><tr><td>" + "<p>a" * 60_000 + "<td>b</table>"
    (whole,) = load(tmp_path, "a.html", page, size=200_000)
    assert whole.text == "a " * 59_999 + "a | b"


@pytest.mark.parametrize("many", ["[", "![", "[\n", "\\[[", "[a](b) ["])
def test_brackets_without_number_are_text(tmp_path: Path, many: str) -> None:
    """Nobody writes thousands of links in one paragraph; those of others stay links."""
    chunks = load(tmp_path, "a.md", many * 50_000 + "\n\n[name](target)\n")
    assert "name" in chunks[-1].text and "target" not in chunks[-1].text
    assert "[" in chunks[0].text and "&" not in chunks[0].text


def test_files_that_cannot_be_opened_are_unreadable(tmp_path: Path) -> None:
    """A missing file, a folder and a file over the limit are complaints like the others."""
    for name in ("missing.md", "folder.md"):
        (tmp_path / "folder.md").mkdir(exist_ok=True)
        with pytest.raises(UnreadableDocument, match="cannot be opened"):
            read(tmp_path / name, name, chunk_chars=100, chunk_overlap=0)
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UnreadableDocument, match="larger than 50 MB"):
        read(tmp_path / "huge.txt", "huge.txt", chunk_chars=100, chunk_overlap=0)


@pytest.mark.parametrize(("size", "overlap"), [(100, 100), (100, -1), (0, 0)])
def test_impossible_sizes_are_the_callers_fault(tmp_path: Path, size: int, overlap: int) -> None:
    """Sizes come from the configuration, so a wrong one is no fault of the document."""
    with pytest.raises(ValueError, match="chunk_overlap"):
        load(tmp_path, "a.txt", "x", size=size, overlap=overlap)


# --- anything at all

# fmt: off
fragments = st.sampled_from([
    "<div", ">", "<p hidden>", "</p>", "<!--", "-->", "<![", "]]>", "<?", "&#x200b;", "&lt",
    "<br/>", "<table>", "<td>", "<th>", "<tr>", "<li>", "<ul>", "</ul>", "<h1>", "</h2>", "<title>",
    "<pre>", "<script>", "</table>", "</td>", "# ", "\n\n", "\n", "- ", "1. ", "> ",
    "|a|b|\n|-|-|\n", "```", "---\n", "title: x\n", "![", "](", "`", "**", "\\", "    ", '"', "'",
    ",", ";", "\t", "[", "{", "question,answer\n", '"question":"q"', "%PDF-1.4\n", "1 0 obj\n",
    "trailer", "xref\n", "a",
])
# fmt: on
soup = st.lists(fragments | st.text(max_size=5), max_size=30).map("".join)
anything = st.binary(max_size=300) | soup.map(lambda text: text.encode("utf-8", "replace"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_bytes_are_chunks_or_a_complaint(folder: Path, suffix: str) -> None:
    """Nothing but ``UnreadableDocument`` comes out of ``read``, and chunks keep their promises."""

    @settings(deadline=None, max_examples=100)
    @given(anything)
    @example(b"<![foo[x]]>")
    @example(b"<a/<b")
    @example(b"\x00")
    def check(content: bytes) -> None:
        try:
            chunks = load(folder, f"any{suffix}", content, size=40, overlap=20)
        except UnreadableDocument as error:
            assert "damaged" not in str(error), repr(error.__cause__)
            return
        assert chunks
        assert len({chunk.id for chunk in chunks}) == len(chunks)
        assert [chunk.metadata["position"] for chunk in chunks] == list(range(len(chunks)))
        for chunk in chunks:
            assert chunk.text.strip() and chunk.embed.strip()
            assert "question" in chunk.metadata or len(chunk.text) <= 40
            json.dumps(chunk.metadata, allow_nan=False).encode()
            chunk.text.encode()

    check()


def test_damaged_pdfs_are_chunks_or_a_complaint(folder: Path) -> None:
    """A PDF with bytes changed anywhere still ends in passages or in one sentence."""
    whole = pdf(["Some text on a page."], ["And another."], title="T")

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=12))
    def check(changes: list[tuple[int, int]]) -> None:
        content = bytearray(whole)
        for index, value in changes:
            content[index] = value
        try:
            assert load(folder, "damaged.pdf", bytes(content))
        except UnreadableDocument as error:
            assert str(error).endswith(".")

    check()


# --- ids


def test_ids_follow_from_content(tmp_path: Path) -> None:
    """The same file gives the same ids; a changed paragraph changes its own section's alone."""
    before = load(tmp_path, "guide.md", GUIDE)
    again = load(tmp_path, "guide.md", GUIDE)
    edited = load(tmp_path, "guide.md", GUIDE.replace("warm", "cold"))
    assert before == again
    assert [a.id == b.id for a, b in zip(before, edited, strict=True)] == [False, True, True, True]
    content = json.dumps(
        [before[0].embed, before[0].text, dict(sorted(before[0].metadata.items()))],
        separators=(",", ":"),
    )
    assert before[0].id == hashlib.sha256(content.encode()).hexdigest()[:32]


def test_identical_passages_have_different_ids(tmp_path: Path) -> None:
    """A pair that stands in a file twice, or in two files, is stored twice."""
    entries = json.dumps([{"question": "q", "answer": "a"}] * 3)
    ids = {chunk.id for name in ("a.json", "b.json") for chunk in load(tmp_path, name, entries)}
    assert len(ids) == 6


# --- finding files


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def found(*paths: Path) -> list[tuple[str, str]]:
    return [(file.source, file.outcome) for file in files(paths)]


def test_folders_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents come sorted with paths from here; hidden ones never, unknown ones as ignored."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/b.md", "docs/a/z.PDF", "docs/a/y.html", "docs/c.docx", "docs/.git/x.md")
    tree(tmp_path, "docs/.hidden.md", "docs/README")
    expected = [
        ("docs/README", "ignored"),
        ("docs/a/y.html", "document"),
        ("docs/a/z.PDF", "document"),
        ("docs/b.md", "document"),
        ("docs/c.docx", "ignored"),
    ]
    assert found(Path("docs")) == expected
    assert found(tmp_path / "docs") == expected
    assert found(Path())[0] == ("docs/README", "ignored")
    assert found(Path("docs/a/../b.md"), Path("docs/b.md")) == [("docs/b.md", "document")]


def test_paths_elsewhere_are_named_from_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No source shows where on the machine a document lies."""
    tree(tmp_path, "data/docs/a/x.md", "data/y.md", "here/z.md")
    monkeypatch.chdir(tmp_path / "here")
    assert found(tmp_path / "data/docs", Path("../data/y.md"), Path("z.md")) == [
        ("docs/a/x.md", "document"),
        ("y.md", "document"),
        ("z.md", "document"),
    ]
    assert source_name(Path()) == "."
    assert source_name(tmp_path / "data" / "docs") == "docs"


def test_two_files_of_one_name_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second file must not replace the chunks of the first."""
    tree(tmp_path, "one/faq.json", "two/faq.json", "here/x.md")
    monkeypatch.chdir(tmp_path / "here")
    first, second = files([tmp_path / "one/faq.json", tmp_path / "two/faq.json"])
    assert (first.outcome, second.outcome) == ("document", "error")
    assert "already called faq.json" in second.problem


def test_paths_that_lead_nowhere_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, unknown and special files are named, with the reason, and the rest goes on."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "a.docx", "ok.md", "docs/ok.md", "noending")
    os.mkfifo(tmp_path / "docs/pipe.md")
    (tmp_path / "docs/broken.md").symlink_to("nowhere.md")
    (tmp_path / "docs/self.md").symlink_to("self.md")
    result = list(
        files([Path(name) for name in ("gone.md", "a.docx", "noending", "docs", "ok.md")])
    )
    problems = {file.source: file.problem for file in result if file.outcome == "error"}
    assert set(problems) == {
        "gone.md",
        "a.docx",
        "noending",
        "docs/pipe.md",
        "docs/broken.md",
        "docs/self.md",
    }
    assert "no such file" in problems["gone.md"]
    assert ".docx is not understood" in problems["a.docx"]
    assert "without an ending" in problems["noending"]
    assert "not a regular file" in problems["docs/pipe.md"]
    documents = [file.source for file in result if file.outcome == "document"]
    assert documents == ["docs/ok.md", "ok.md"]


def test_link_loops_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that contains itself is searched once, and a linked folder is searched too."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/a.md", "elsewhere/b.md")
    (tmp_path / "docs/loop").symlink_to(tmp_path / "docs", target_is_directory=True)
    (tmp_path / "docs/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert found(Path("docs")) == [("docs/a.md", "document"), ("docs/more/b.md", "document")]


def test_names_are_fit_to_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file name with bytes that are no text, or with a line break, is still one clean line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\nb.md").write_text("x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff.md")).write_text("x")
    assert [source for source, _ in found(Path())] == ["a b.md", "c\ufffd.md"]


def test_what_is_found_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document's path and source are what ``read`` takes."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/a.md")
    (entry,) = files([Path("docs")])
    assert entry == File(Path("docs/a.md"), "docs/a.md")
    chunks = read(entry.path, entry.source, chunk_chars=100, chunk_overlap=0)
    assert chunks[0].metadata["source"] == "docs/a.md"


def test_importing_loads_no_parser() -> None:
    """pypdf and markdown-it are loaded by the first file that needs them."""
    code = (
        "import sys, orbit_server.documents.readers.read as _;"
        "print({'pypdf', 'markdown_it'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
