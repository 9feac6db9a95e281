"""reStructuredText and RTF."""

from pathlib import Path

from ...support.documents import complaint, load, texts


def test_restructured_text(tmp_path: Path) -> None:
    """Sections, lists and tables; nothing is included from other files, and no HTML passed on."""
    (tmp_path / "secret.txt").write_text("SECRET")
    content = (
        "Town hall\n=========\n\nPay **here**.\n\n- cash\n- card\n\nHours\n-----\n\n"
        "Nine to five.\n\n.. include:: secret.txt\n\n.. raw:: html\n\n   <p>RAW</p>\n\n"
        ".. comment\n"
    )
    chunks = load(tmp_path, "a.rst", content)
    assert texts(chunks) == ["Pay here.\n\n- cash\n- card", "Nine to five."]
    assert chunks[0].metadata["title"] == "Town hall"
    assert chunks[1].metadata["heading"].endswith("Hours")  # type: ignore[union-attr]


def test_rtf(tmp_path: Path) -> None:
    """Escapes are letters of the encoding that the document names; paragraphs stay apart."""
    content = (
        r"{\rtf1\ansi\ansicpg1252{\fonttbl\f0 Arial;}\f0 Geb\'fchren f\u252?r P\'e4sse\par"
        "\n"
        r"{\b 37} Euro\par}"
    )
    assert texts(load(tmp_path, "a.rtf", content)) == ["Gebühren für Pässe\n\n37 Euro"]
    assert "not RTF" in complaint(tmp_path, "b.rtf", "plain text")
