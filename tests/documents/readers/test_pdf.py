"""PDF: pages, lines joined to paragraphs, and complaints that say why."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from orbit_server.errors import UnreadableDocument

from ...support.documents import complaint, load, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give properties one folder for all their examples."""
    return tmp_path_factory.mktemp("documents")


def pdf(*pages: list[str], title: str = "", encrypt: object = None) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=encrypt)
    if title:
        canvas.setTitle(title)
    for lines in pages:
        for number, line in enumerate(lines):
            canvas.drawString(72, 760 - 14 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def test_pdf_pages_become_numbered_passages(tmp_path: Path) -> None:
    """Lines are joined into paragraphs, divided words are mended, and pages are known."""
    content = pdf(
        [
            "The residents' parking permit is issued by the regis-",
            "tration office on the ground floor of the town hall and",
            "costs thirty euros.",
            "A second paragraph begins after the short line and runs",
            "on.",
        ],
        ["Second page, with a sentence that goes on and does not end", "before the page"],
        ["does, but here."],
        title="Parking permits",
    )
    chunks = load(tmp_path, "a.pdf", content)
    assert [(chunk.metadata["page"], chunk.text) for chunk in chunks] == [
        (
            1,
            "The residents' parking permit is issued by the registration office on the ground floor"
            " of the town hall and costs thirty euros.\n\nA second paragraph begins after the short"
            " line and runs on.",
        ),
        (
            2,
            "Second page, with a sentence that goes on and does not end before the page does, but"
            " here.",
        ),
    ]
    assert {chunk.metadata["title"] for chunk in chunks} == {"Parking permits"}
    assert chunks[0].embed.startswith("Parking permits\nThe residents'")


def test_a_pdf_without_title_is_called_by_its_file(tmp_path: Path) -> None:
    """A title that the program made up says nothing."""
    assert load(tmp_path, "fee-list.pdf", pdf(["Text."]))[0].metadata["title"] == "fee list"


def test_a_pdf_that_only_its_owner_may_change_is_read(tmp_path: Path) -> None:
    """Encryption that needs no password to read is no obstacle."""
    locked = StandardEncryption("", ownerPassword="owner")
    assert texts(load(tmp_path, "a.pdf", pdf(["Free to read."], encrypt=locked))) == [
        "Free to read."
    ]


def test_pdfs_that_cannot_be_read_say_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Protected, scanned and broken PDFs are told apart, and nothing else is printed."""
    whole = pdf(["Some text."])
    locked = StandardEncryption("user", ownerPassword="owner")
    assert complaint(tmp_path, "a.pdf", pdf(["x"], encrypt=locked)) == (
        "The PDF is protected by a password."
    )
    assert "only images" in complaint(tmp_path, "b.pdf", pdf([]))
    assert "broken" in complaint(tmp_path, "c.pdf", whole[: len(whole) // 3])
    assert "broken" in complaint(tmp_path, "d.pdf", b"not a PDF at all")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_damaged_pdfs_are_chunks_or_a_complaint(folder: Path) -> None:
    """A PDF with bytes changed anywhere still ends in passages or in one sentence."""
    whole = pdf(["Some text on a page."], ["And another."], title="T")

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=12))
    def check(changes: list[tuple[int, int]]) -> None:
        content = bytearray(whole)
        for index, value in changes:
            content[index] = value
        try:
            assert load(folder, "damaged.pdf", bytes(content))
        except UnreadableDocument as error:
            assert str(error).endswith(".")

    check()
