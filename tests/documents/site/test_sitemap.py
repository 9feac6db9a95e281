"""Sitemaps as anybody may write them: what they list, and what they would do to a reader."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit_server.documents.site import sitemap
from orbit_server.errors import UnreadableDocument

SITES = [["https://town.example/", "/"]]
SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
Read = Callable[[str | bytes], list[str]]
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 10}">' for n in range(10))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(content: str | bytes) -> list[str]:
        file = tmp_path / "sitemap"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        found: list[str] = sitemap.read(
            file, "https://town.example/sitemap.xml", sites=SITES
        ).facts["pages"]
        return found

    return read


def listed(*places: str, head: str = "") -> str:
    found = "".join(f"<url><loc>{each}</loc></url>" for each in places)
    return f'<?xml version="1.0"?>{head}<urlset {SPACE}>{found}</urlset>'


def test_its_pages_are_those_of_the_site(read: Read) -> None:
    """Packed or not, once each; those of pictures are none, nor are other hosts or schemes."""
    content = listed(
        "https://town.example/a",
        "\n https://town.example/a#top ",
        "http://town.example/b",
        "https://other.example/c",
        "file:///etc/passwd",
        "http://127.0.0.1/",
    )
    content = content.replace(
        "<url>", "<url><image><loc>https://town.example/picture</loc></image>", 1
    )
    pages = ["https://town.example/a", "https://town.example/b"]
    assert read(content) == read(gzip.compress(content.encode())) == pages
    assert read("https://town.example/a\r\n\r\nhttps://town.example/b\n") == pages
    assert read(content.encode("utf-16").replace(b"utf-8", b"")) == pages


@pytest.mark.parametrize(
    "head",
    [
        f"<!DOCTYPE urlset [{LAUGHS}]>",
        '<!DOCTYPE urlset [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE urlset [<!ENTITY l9 SYSTEM "http://127.0.0.1:9/">]>',
        '<!DOCTYPE urlset [<!ENTITY % l9 SYSTEM "http://127.0.0.1:9/"> %l9;]>',
        '<!DOCTYPE urlset [<!ENTITY l9 "a">]>',
    ],
    ids=["billion laughs", "file", "address", "parameter", "any"],
)
def test_entities_are_refused(read: Read, head: str) -> None:
    """None is read, whatever it stands for."""
    with pytest.raises(UnreadableDocument):
        read(listed("https://town.example/&l9;", head=head))


def test_a_bomb_is_refused(read: Read) -> None:
    """50 kB that unpack to more than 50 MB, and a file that is not whole."""
    with pytest.raises(UnreadableDocument, match="too large"):
        read(gzip.compress(b"<urlset>" + b" " * 51_000_000))
    with pytest.raises(UnreadableDocument, match="damaged"):
        read(b"\x1f\x8b\x08 this is not packed")


def test_what_is_broken_off_counts_as_far_as_it_goes(read: Read) -> None:
    """A sitemap that ends early lists what came before; one that is a page lists nothing."""
    whole = listed("https://town.example/a", "https://town.example/b")
    assert read(whole[:-20]) == ["https://town.example/a"]  # the second may be longer
    with pytest.raises(UnreadableDocument, match="not XML"):
        read("<!doctype html><p>Not found<br>")
