"""Word documents keep their headings, lists and tables."""

from pathlib import Path

from ....support.documents import load, texts
from ....support.office import docx, paragraph


def test_headings_paragraphs_and_tables(tmp_path: Path) -> None:
    """A passage stands under its headings; rows of a table are lines."""
    cells = [["Passport", "37 euros"], ["Dog licence", "20 euros"]]
    rows = "".join(
        f"<w:tr>{''.join(f'<w:tc>{paragraph(cell)}</w:tc>' for cell in row)}</w:tr>"
        for row in cells
    )
    body = (
        paragraph("Town hall", "Title")
        + paragraph("Fees", "Heading1")
        + paragraph("Pay at the desk.")
        + f"<w:tbl>{rows}</w:tbl>"
        + paragraph("Hours", "Heading2")
        + paragraph("Nine to five.")
    )
    chunks = load(tmp_path, "a.docx", docx(body, title="ignored: the document names itself"))
    assert texts(chunks) == [
        "Pay at the desk.\n\nPassport | 37 euros\nDog licence | 20 euros",
        "Nine to five.",
    ]
    assert [chunk.metadata["heading"] for chunk in chunks] == ["Fees", "Fees > Hours"]


def test_the_title_is_that_of_the_properties(tmp_path: Path) -> None:
    """Where no paragraph is one."""
    [chunk] = load(tmp_path, "a-1.docx", docx(paragraph("Text."), title="Fees  2026"))
    assert chunk.metadata["title"] == "Fees 2026"
    [chunk] = load(tmp_path, "a-1.docx", docx(paragraph("Text.")))
    assert chunk.metadata["title"] == "a 1"


def test_deleted_text_is_no_text(tmp_path: Path) -> None:
    """What a tracked change deletes is not read, what it inserts is."""
    body = (
        "<w:p><w:r><w:t>The fee is </w:t></w:r>"
        '<w:del w:id="1"><w:r><w:delText>30</w:delText></w:r></w:del>'
        '<w:ins w:id="2"><w:r><w:t>37</w:t></w:r></w:ins><w:r><w:t> euros.</w:t></w:r></w:p>'
    )
    assert texts(load(tmp_path, "a.docx", docx(body))) == ["The fee is 37 euros."]
