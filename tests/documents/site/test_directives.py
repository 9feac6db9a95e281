"""What headers and ``meta`` elements say to us, and what only to others."""

import pytest

from orbit_server.documents.site.directives import directives


@pytest.mark.parametrize(
    ("value", "noindex"),
    [
        ("noindex", True),
        ("NoIndex, nofollow", True),
        ("none", True),
        ("orbit-server: noindex", True),
        ("robots: max-snippet:-1, noindex", True),
        ("max-snippet: 50, noindex", True),
        ("max-image-preview:large,noindex", True),
        ("unavailable_after: 25 Jun 2040 15:00:00 PST, noindex", True),
        ("googlebot: noindex", False),
        ("description: noindex", False),
        ("all", False),
        ("max-snippet: 50", False),
        ("", False),
    ],
)
def test_noindex(value: str, noindex: bool) -> None:
    """It counts behind limits of snippets too, and for other programs not."""
    assert ("noindex" in directives([value])) is noindex
