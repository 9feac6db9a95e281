"""CSV as people have it: any delimiter, headings in their language, rows that are broken."""

from pathlib import Path

import pytest

from orbit_server.documents.readers.delimited import Row, table
from orbit_server.documents.readers.read import read

from ...support.documents import complaint, load, texts

HEAD = ["Name", "Room", "Hours"]
BODY = ["Ann Lee", "3, left", "9 to 5"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("named", [False, True])
def test_any_delimiter(delimiter: str, named: bool) -> None:
    """It is found, or named as spreadsheet programs do; a comma in a cell does not mislead."""
    body = [f'"{cell}"' if delimiter in cell else cell for cell in BODY]
    lines = [delimiter.join(HEAD), delimiter.join(body), delimiter.join(body)]
    text = "\r\n".join([f"sep={delimiter}"] * named + lines)
    columns, rows = table(text)
    assert columns == HEAD
    assert [row.cells for row in rows if isinstance(row, Row)] == [
        dict(zip(HEAD, BODY, strict=True))
    ] * 2


def test_rows_are_passages_with_the_names_of_their_columns(tmp_path: Path) -> None:
    """A table of anything answers questions, not only one of questions and answers."""
    content = "Office;Phone;Room\nRegistry;555 01;12\nTaxes;;14\n;;\nParking;555 03;\n"
    for name in ("offices.csv", "offices.tsv"):
        chunks = load(tmp_path, name, content, size=45, overlap=0)
        assert texts(chunks) == [
            "Office: Registry | Phone: 555 01 | Room: 12",
            "Office: Taxes | Room: 14",
            "Office: Parking | Phone: 555 03",
        ]
        assert chunks[0].embed == f"offices\n{chunks[0].text}"


@pytest.mark.parametrize(
    "header",
    ["Frage;Antwort", "QUESTION;Answer", "Question;Réponse", "Pregunta;Respuesta", "問題;答案"],
)
def test_questions_in_many_languages(tmp_path: Path, header: str) -> None:
    """The heading tells that these are questions and their answers."""
    [chunk] = load(tmp_path, "a.csv", f"{header};x\nWhere?;Here.;1\n")
    assert (chunk.embed, chunk.text, chunk.metadata["x"]) == ("Where?", "Here.", "1")
    assert (chunk.metadata["question"], chunk.metadata["answer"]) == ("Where?", "Here.")


def test_columns_may_be_named(tmp_path: Path) -> None:
    """Other headings are for whoever loads the file to say; a wrong one lists those there are."""
    path = tmp_path / "a.csv"
    path.write_text("Thema,Antwort,Frage\nOpening,Nine,When?\n")
    options = {"chunk_chars": 100, "chunk_overlap": 0}
    [chunk] = read(path, "a.csv", question_column="thema", **options).chunks  # type: ignore[arg-type]
    assert (chunk.embed, chunk.text) == ("Opening", "Nine")
    with pytest.raises(Exception, match=r"no column 'theme'; the columns are Thema, Antwort"):
        read(path, "a.csv", question_column="theme", **options)  # type: ignore[arg-type]


def test_malformed_rows_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    """Of ten rows with three mistakes seven are there."""
    path = tmp_path / "a.csv"
    huge = "x" * 200_000
    path.write_text(f'sep=,\na,b\n1,2\n"3"x,4\n5,6,7\n8,{huge}\n9,10\n')
    found = read(path, "a.csv", chunk_chars=1000, chunk_overlap=0)
    assert texts(found.chunks) == ["a: 1 | b: 2\n\na: 9 | b: 10"]
    assert [said.split(":")[0] for said in found.left_out] == [
        "The row that ends in line 4 is malformed",
        "The row that ends in line 5 has more cells than the header.",
        "The row that ends in line 6 is malformed",
    ]


def test_columns_without_a_name_or_with_the_same() -> None:
    """Each has a name of its own."""
    columns, _ = table("a,,a,b\n")
    assert columns == ["a", "column 2", "a 3", "b"]


def test_no_header(tmp_path: Path) -> None:
    """It is one sentence."""
    assert "no header" in complaint(tmp_path, "a.csv", '"x"y,z\n1,2\n')
