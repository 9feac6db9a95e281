"""Web origins: how sites are named, and which pages are theirs."""

import pytest

from orbit_server.auth.origins import is_one_of, parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://town.example", "https://town.example"),
        (" HTTPS://Town.Example/ ", "https://town.example"),
        ("https://town.example:443", "https://town.example"),
        ("http://town.example:80", "http://town.example"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://*.town.example", "https://*.town.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(text: str, origin: str) -> None:
    """So that it can be compared letter by letter."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "town.example",
        "https://",
        "https://town.example/contact",
        "https://user@town.example",
        "https://*",
        "https://*.example",
        "https://a.*.example",
        "https://*town.example",
        "ftp://town.example",
        "https://town.example:port",
        "https://a b.example",
        "https://" + "ü" * 70 + ".example",
    ],
)
def test_what_is_no_site(text: str) -> None:
    """It is refused with a sentence, and no star opens a whole top-level domain."""
    with pytest.raises(ValueError, match=r"is not a web site|too many sites|invalid host name"):
        parse_origin(text)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://town.example", True),
        ("https://town.example:8443", False),
        ("http://town.example", False),
        ("https://town.example.evil.example", False),
        ("https://evil-town.example", False),
        ("https://www.harbour.example", True),
        ("https://a.b.harbour.example", True),
        ("https://harbour.example", False),
        ("https://.harbour.example", False),
        ("https://evilharbour.example", False),
        ("https://www.harbour.example:8443", False),
        ("https://evil.example/.harbour.example", False),
        ("https://evil.example:1@www.harbour.example", False),
        ("https://*.harbour.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_scheme_host_and_port_count_exactly(origin: str, allowed: bool) -> None:
    """A star stands for what comes before its domain, and for nothing else."""
    assert is_one_of(origin, ("https://town.example", "https://*.harbour.example")) is allowed
