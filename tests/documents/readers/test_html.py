"""HTML: what a browser shows is read, what it hides is not."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_server.documents.cleaning import one_line

from ...support.documents import complaint, load, texts

unhurried = settings(deadline=None, max_examples=150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give properties one folder for all their examples."""
    return tmp_path_factory.mktemp("documents")


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


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ("<title>Page</title><h1>Pool</h1>text", "Page"),
        ("<h1>Pool</h1>text<title>Page</title>", "Page"),
        ("<h1>Pool</h1>text", "Pool"),
        ("<h1>Pool</h1>text<h1>Library</h1>text", "a"),
        ("<table><tr><td>Menu<td><h1>Pool</h1>text</table>", "a"),
    ],
)
def test_html_title(tmp_path: Path, body: str, title: str) -> None:
    """The title is the page's own, else its single first level-1 heading, else the file's name."""
    assert load(tmp_path, "a.html", body)[0].metadata["title"] == title


def test_html_in_its_declared_character_set(tmp_path: Path) -> None:
    """An old page that says what it is written in is read so."""
    body = '<meta http-equiv=content-type content="text/html; charset=iso-8859-1"><p>Rathaus für'
    assert texts(load(tmp_path, "a.html", body.encode("latin-1"))) == ["Rathaus für"]
    assert "byte" in complaint(tmp_path, "b.html", b"<meta charset=utf-16><p>f\xfcr")
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


def test_japanese_lines_are_joined_without_a_gap(tmp_path: Path) -> None:
    """A line that ends in the middle of a word is no end of the word."""
    chunks = load(tmp_path, "a.html", "窓口は九時に開きま\nす。\nOpen from\nnine.")
    assert texts(chunks) == ["窓口は九時に開きます。 Open from nine."]


def test_japanese_links_stay_apart(tmp_path: Path) -> None:
    """A line between two elements is a blank, as a browser shows it."""
    assert page(tmp_path, "<a>動漫</a>\n<a>読書</a>") == "動漫 読書"


@pytest.mark.parametrize("tag", ["div", "section", "center", "form", "p", "span", "li", "h2"])
@pytest.mark.parametrize("around", ["", "<div>", "<center><form><section>"])
def test_stray_end_tags_in_cells_leave_the_table_whole(
    tmp_path: Path, tag: str, around: str
) -> None:
    """An end tag without a beginning in its cell ends nothing, as in a browser."""
    page = f"{around}<table><tr><td>Passport</{tag}></td><td>37</td></tr><tr><td>ID</td><td>20"
    assert texts(load(tmp_path, "a.html", page + "</table><p>After.")) == [
        "Passport | 37\nID | 20\n\nAfter."
    ]


def test_a_row_that_ends_within_its_cell(tmp_path: Path) -> None:
    """The end of a row or table inside of a cell ends both."""
    page = "<table><tr><td><ul><li>a</td><td>b</tr><tr><td>c</td></table>d"
    assert texts(load(tmp_path, "a.html", page)) == ["a | b\nc\n\nd"]
