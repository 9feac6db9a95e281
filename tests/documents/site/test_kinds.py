"""Which ending a fetched file gets: never one that an address makes up."""

from pathlib import Path

import pytest

from orbit_server.documents.site import kinds

PAGE, PACKED = b"<!doctype html><p>Hello.</p>", b"PK\x03\x04 and so on"


@pytest.mark.parametrize(
    ("content", "kind", "address", "suffix"),
    [
        (PAGE, "text/html", "https://a.example/", ".html"),
        (PAGE, "text/plain", "https://a.example/a.txt", ".html"),
        (b"%PDF-1.7", "text/html", "https://a.example/minutes", ".pdf"),
        (PACKED, "application/octet-stream", "https://a.example/plot.docx", ".docx"),
        (PACKED, "text/html", "https://a.example/plot.docx", ".docx"),
        (PACKED, "text/html", "https://a.example/plot.zip", ""),
        (PACKED, "text/html", "https://a.example/plot.a%00b", ""),
        (PACKED, "text/html", f"https://a.example/plot.{'a' * 1000}", ""),
        (PACKED, "text/html", "https://a.example/plot.a%2F..%2Fb", ""),
    ],
)
def test_the_ending(tmp_path: Path, content: bytes, kind: str, address: str, suffix: str) -> None:
    """By the first bytes, the type and the address; it can always be given to the file."""
    file = tmp_path / "1"
    file.write_bytes(content)
    assert kinds.suffix(file, kind, address) == suffix
    assert file.rename(file.with_suffix(suffix)).exists()
