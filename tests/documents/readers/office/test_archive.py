"""Archives come from strangers: bounded in entries, size and ratio, and without entities."""

from pathlib import Path

import pytest

from ....support.documents import complaint, load, texts
from ....support.office import archive, docx, odt, paragraph, xlsx

ENTITIES = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.docx", b"no archive at all", "broken: it is not an archive"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(600), "protected by a password, or of an Office"),
        ("a.docx", archive({"a.txt": "x"}), "broken"),
        ("a.docx", docx(paragraph("&b;"), prefix=ENTITIES), "declares XML entities"),
        ("a.odt", archive({"content.xml": ENTITIES.encode("utf-16")}), "declares XML entities"),
        ("a.xlsx", archive({"xl/workbook.xml": ENTITIES}), "declares XML entities"),
        ("a.odt", archive({"content.xml": bytes(30_000_000)}), "compressed more densely"),
        ("a.xlsx", archive({f"{n}.txt": "" for n in range(10_001)}), "more than 10000 entries"),
        ("a.xlsx", archive({"a.txt": "x"}), "broken"),
        ("a.odt", archive({"mimetype": "x"}), "it has no content.xml"),
        ("a.odt", archive({"content.xml": "<a>"}), "damaged"),
        ("a.pptx", archive({"content.xml": "<a/>"}), "it has no ppt/presentation.xml"),
        ("a.epub", archive({"content.xml": "<a/>"}), "it has no META-INF/container.xml"),
    ],
)
def test_what_is_no_document_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, part: str
) -> None:
    """Bombs, entities, passwords, and what only has the ending of a document."""
    sentence = complaint(tmp_path, name, content)
    assert part in sentence
    assert sentence.endswith(".") and "\n" not in sentence


def test_an_encrypted_archive_is_said_to_be_so(tmp_path: Path) -> None:
    """The flag in the header of an entry tells."""
    content = bytearray(odt("<text:p>x</text:p>"))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + place] |= 1
            start = content.find(mark, start + 1)
    assert "password" in complaint(tmp_path, "a.odt", bytes(content))


def test_long_tables_are_dense_and_read(tmp_path: Path) -> None:
    """The same few words in thousands of cells are packed well, and still a document."""
    rows = [["Name", "Room"], *(["somebody", "somewhere"] for _ in range(20_000))]
    assert len(" ".join(texts(load(tmp_path, "a.xlsx", xlsx({"A": rows})))).split("|")) > 20_000
