"""What a page says about itself, and which of its links count."""

from pathlib import Path
from typing import Any

import pytest

from orbit_server.documents.site import page
from orbit_server.errors import UnreadableDocument

HERE = "https://town.example/a/page"


def facts(folder: Path, markup: str, *, canonical: bool = True) -> dict[str, Any]:
    file = folder / "page.html"
    file.write_text(markup)
    sites = [["https://town.example/", "/"]]
    read = page.read(
        *(file, HERE),
        sites=sites,
        charset="utf-8",
        canonical=canonical,
        chunk_chars=600,
        chunk_overlap=0,
    )
    return {"texts": [chunk.text for chunk in read.chunks], **read.facts}


@pytest.mark.parametrize(
    ("markup", "links"),
    [
        ('<a href="b">b</a><area href="/c#d"><a href="b#e">b</a>', ["/a/b", "/c"]),
        ('<base href="/deep/"><a href="b">b</a>', ["/deep/b"]),
        ('<base href="https://other.example/"><a href="b">b</a>', []),
        ('<a rel="noopener NOFOLLOW" href="b">b</a>', []),
        ('<meta name="robots" content="nofollow"><a href="b">b</a>', []),
        ('<meta name="orbit-server" content="none"><a href="b">b</a>', []),
        ('<meta name="googlebot" content="nofollow"><a href="b">b</a>', ["/a/b"]),
        ('<meta http-equiv="Refresh" content="0; URL=\'/new\'">', ["/new"]),
        ('<a href="javascript:x()">x</a><a href="mailto:a@b">x</a><a href="data:,">x</a>', []),
        ('<a href="file:///etc/passwd">x</a><a href="//127.0.0.1/">x</a><a href="">x</a>', []),
        (
            '<a href="http://[::1">x</a><a href="http://a:99999/">x</a><a href="\\0">x</a>',
            ["/a/%5C0"],
        ),
        ('<a href="https://town.example@evil.example/">x</a>', []),
        ('<a href="https://town.example.evil.example/">x</a>', []),
        ('<a href="https:\\\\\\\\evil.example/">x</a>', None),
    ],
)
def test_links(tmp_path: Path, markup: str, links: list[str] | None) -> None:
    """Those within the site, once each, in the one spelling that a page has."""
    found = facts(tmp_path, f"<html><body><p>Text.</p>{markup}</body></html>")["links"]
    if links is None:  # whatever it is, it is no other host
        assert all(each.startswith("https://town.example/") for each in found)
    else:
        assert found == [f"https://town.example{each}" for each in links]


@pytest.mark.parametrize(
    ("href", "canonical"),
    [
        ("/b", "https://town.example/b"),
        (HERE, None),
        ("/", None),  # many a system says so of each page
        ("https://other.example/a/page", None),
        ("", None),
    ],
)
def test_the_canonical_address(tmp_path: Path, href: str, canonical: str | None) -> None:
    """Another page of the site is believed, and no other host."""
    markup = f'<head><link rel="canonical" href="{href}"></head><p>Text of the page.</p>'
    found = facts(tmp_path, markup)
    assert found.get("canonical") == canonical
    assert bool(found["texts"]) is (canonical is None)
    assert facts(tmp_path, markup, canonical=False)["texts"]


def test_more_links_than_any_page_has(tmp_path: Path) -> None:
    """The first five thousand count."""
    markup = "<p>Text.</p>" + "".join(f'<a href="{n}">a</a>' for n in range(9000))
    assert len(facts(tmp_path, markup)["links"]) == 5000


def test_a_page_of_depth_alone_is_refused(tmp_path: Path) -> None:
    """No browser shows it either."""
    with pytest.raises(UnreadableDocument, match="too deep"):
        facts(tmp_path, "<div>" * 20_000 + "<p>Deep.</p>")
