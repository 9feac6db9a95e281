"""Spreadsheets: rows behind the names of their columns, or questions and answers."""

from pathlib import Path

from orbit_server.documents.readers.read import read

from ....support.documents import complaint, load
from ....support.office import xlsx


def test_rows_stand_under_the_name_of_their_sheet(tmp_path: Path) -> None:
    """The header is the first row that names more than one column; hidden sheets are not read."""
    content = xlsx(
        {
            "Offices": [
                ["All offices"],
                ["Office", "", "Phone"],
                ["Registry", "", 555.0],
                [],
                ["Taxes", 1.5, ""],
            ],
            "Secret": [["Name", "Salary"], ["Ann", 1]],
            "Notes": [["Closed on Fridays."], ["Ring twice."]],
            "Empty": [],
        },
        hidden=["Secret"],
    )
    chunks = load(tmp_path, "town.xlsx", content, size=60, overlap=0)
    assert [(chunk.metadata["heading"], chunk.text) for chunk in chunks] == [
        ("Offices", "All offices\n\nOffice: Registry | Phone: 555"),
        ("Offices", "Office: Taxes | column 2: 1.5"),
        ("Notes", "Closed on Fridays.: Ring twice."),
    ]


def test_sheets_of_questions(tmp_path: Path) -> None:
    """They are pairs as in CSV; other sheets are named and left out."""
    content = xlsx(
        {
            "FAQ": [["Frage", "Antwort"], ["Wo?", "Hier."], ["Wann?"], ["Wie viel?", 37.0]],
            "Other": [["a", "b"], ["c", "d"]],
        }
    )
    path = tmp_path / "faq.xlsx"
    path.write_bytes(content)
    found = read(path, "faq.xlsx", chunk_chars=100, chunk_overlap=0)
    assert [(chunk.embed, chunk.text) for chunk in found.chunks] == [
        ("Wo?", "Hier."),
        ("Wie viel?", "37"),
    ]
    assert found.left_out == [
        'Row 3 of sheet FAQ has no text as "Antwort".',
        "Sheet Other has no columns of questions and answers.",
    ]


def test_a_book_without_text(tmp_path: Path) -> None:
    """It is one sentence."""
    assert "no visible text" in complaint(tmp_path, "a.xlsx", xlsx({"A": [], "B": [["", ""]]}))
