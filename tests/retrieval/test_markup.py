"""``plain``: stored answers that hold HTML, as text; everything else word for word."""

import time

import pytest

from orbit_server.retrieval.markup import plain


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>9&ndash;17</p>", "9–17"),
        ("<p>One.</p><p>Two.</p>", "One.\n\nTwo."),
        ("<P class='x'>One.</P>\n<p>Two.</p>\n", "One.\n\nTwo."),
        ("One.<br>Two.<br/>Three.", "One.\nTwo.\nThree."),
        ("Bring:<ul><li>a key</li><li>a <b>card</b></li></ul>", "Bring:\n\n- a key\n- a card"),
        (
            'See <a href="https://a.example/x?y=1&amp;z=2">the page</a>.',
            "See the page (https://a.example/x?y=1&z=2).",
        ),
        ('See <a href="https://a.example">https://a.example</a>.', "See https://a.example."),
        ('See <a href="#top">above</a>.', "See above."),
        ('<a href="javascript:alert(1)">Click</a>', "Click"),
        ("Open<!-- not --> now.<script>alert(1)</script><style>p {}</style>", "Open now."),
        ("<table><tr><td>Mon</td><td>9&ndash;17</td></tr></table>", "Mon 9–17"),
        ("Q&amp;A at 9&#8211;17&nbsp;Uhr", "Q&A at 9–17\u00a0Uhr"),
        ("<p>a &lt; b</p>", "a < b"),
        ("İİ<SCRIPT>x</SCRIPT>İ<!-- x -->.", "İİİ."),
    ],
)
def test_html_becomes_text(markup: str, text: str) -> None:
    """Paragraphs, lists and links keep what they say."""
    assert plain(markup) == text


@pytest.mark.parametrize(
    "text",
    [
        "The library opens at nine.",
        "  two leading, two trailing  \n\n",
        "a < b and c > d, List<String>, <name@example.com>, <https://a.example>",
        "https://example.com/?a=1&copy=2&reg=3",
        "Write `<br>` for a line break, or\n```html\n<p>this &amp; that</p>\n```\n",
        "Type &lt;p&gt; literally.",
        "AT&T; R&D; &unknown;",
        "",
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    """Code in a text is a text about code."""
    assert plain(text) == text


@pytest.mark.parametrize("part", ["<p ", "<p>", "<!--", "<script>", "&#", "`<br>", "<a href='"])
def test_time_is_linear(part: str) -> None:
    """A passage may be a megabyte that somebody else wrote."""
    started = time.process_time()
    plain(part * 50_000)
    plain(part * 50_000 + "</p></style>")
    assert time.process_time() - started < 2
