"""One spelling for each page, and what belongs to a site."""

import pytest

from orbit_server.documents.site.address import Site, normalised, pattern, trap
from orbit_server.errors import InvalidRequest


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("HTTPS://Town.Example:443", "https://town.example/"),
        ("http://town.example:8080/a/../b/./c#d", "http://town.example:8080/b/c"),
        ("http://u:p@town.example./", "http://town.example/"),
        ("http://town.example/%7euser/%c3%a4?x=%2f", "http://town.example/~user/%C3%A4?x=%2F"),
        ("http://town.example/ä b", "http://town.example/%C3%A4%20b"),
        ("http://müller.example/", "http://xn--mller-kva.example/"),
        ("http://town.example/?utm_source=a&b=1&PHPSESSID=x&c=", "http://town.example/?b=1&c="),
        ("http://town.example/a;jsessionid=12", "http://town.example/a"),
        ("http://town.example/100%", "http://town.example/100%25"),
        ("http://town.example/../../etc/passwd", "http://town.example/etc/passwd"),
        (" ht\ntp://town.example/\t", "http://town.example/"),
        *((wrong, None) for wrong in ("", "town.example", "ftp://a/", "file:///a", "http://")),
        *(
            (wrong, None)
            for wrong in ("http://a:0/", "http://a:99999/", "http://a:x/", "http://[a/")
        ),
        *((wrong, None) for wrong in ("http://a b/", "http://-a/", "http://a..é/")),
        (f"http://town.example/{'a' * 2000}", None),
    ],
)
def test_the_spelling(address: str, found: str | None) -> None:
    """It stays as it is when it is spelled again; what is no address is none."""
    assert normalised(address) == found
    if found is not None:
        assert normalised(found) == found


@pytest.mark.parametrize(
    ("typed", "address", "owned"),
    [
        ("https://town.example", "http://town.example/a", "https://town.example/a"),
        ("https://town.example/library", "https://town.example/library/a", None),
        ("https://town.example/library", "https://town.example/library", None),
        ("https://town.example/library/", "https://town.example/librarian", "none"),
        ("https://town.example/library/", "https://town.example/", "none"),
        ("https://town.example/a/index.html", "https://town.example/a/b", None),
        ("https://town.example", "https://www.town.example/", "none"),
        ("https://town.example", "https://town.example.evil.example/", "none"),
        ("https://town.example", "https://town.example:8443/", "none"),
    ],
)
def test_what_belongs_to_a_site(typed: str, address: str, owned: str | None) -> None:
    """The pages of its host and port, at and below the path."""
    expected = {"none": None, None: address}.get(owned, owned)
    assert Site.of(typed).own(address) == expected


def test_a_password_is_in_no_error() -> None:
    """Nor in the address by which a site is known."""
    assert "s3cret" not in Site.of("https://mayor:s3cret@town.example/").start
    with pytest.raises(InvalidRequest) as caught:
        Site.of("https://mayor:s3cret@/")
    assert "s3cret" not in str(caught.value)


def test_traps_and_kinds() -> None:
    """Paths that repeat themselves or are too deep; pages that differ in numbers only."""
    assert trap("http://a/b/c/b/c/b") is None
    assert trap("http://a" + "/b" * 4)
    assert trap("http://a/" + "/".join(map(str, range(17))))
    assert pattern("http://a/2024/01") == pattern("http://a/1999/12") == ("a/#/#", False)
    assert pattern("http://a/b?c=1") == ("a/b", True)
