"""PDF: pages, lines joined to paragraphs, and complaints that say why."""

import io
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from orbit_server.documents.readers.read import read

from ...support.documents import complaint, load, texts

pytestmark = pytest.mark.process


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


def drawn(*lines: list[tuple[float, str]]) -> bytes:
    """Return a PDF of one page whose lines consist of texts, each drawn by itself at its x."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for number, line in enumerate(lines):
        for x, text in line:
            canvas.drawString(x, 700 - 14 * number, text)
    canvas.save()
    return buffer.getvalue()


def mapped(*lines: str) -> bytes:
    """Return a PDF of one page with each character drawn by itself, of any script.

    Its font is Courier with a table that says which characters its codes stand for.
    """
    characters = sorted(set("".join(lines)))
    code = {character: 33 + number for number, character in enumerate(characters)}
    table = "".join(
        f"<{code[character]:02x}> <{character.encode('utf-16-be').hex()}>\n" for character in code
    )
    cmap = (
        "begincmap 1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"{len(code)} beginbfchar\n{table}endbfchar endcmap"
    )
    drawing = "BT /F 15 Tf " + "".join(
        f"1 0 0 1 {72 + 9 * column} {700 - 18 * row} Tm <{code[character]:02x}> Tj "
        for row, line in enumerate(lines)
        for column, character in enumerate(line)
    )
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 5 0 R"
        "/Resources<</Font<</F 4 0 R>>>>>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Courier/ToUnicode 6 0 R>>",
        f"<</Length {len(drawing) + 3}>>stream\n{drawing} ET\nendstream",
        f"<</Length {len(cmap)}>>stream\n{cmap}\nendstream",
    ]
    body = "".join(f"{n} 0 obj\n{each}\nendobj\n" for n, each in enumerate(objects, start=1))
    return f"%PDF-1.7\n{body}trailer<</Root 1 0 R/Size 7>>\n%%EOF".encode()


def only_text(folder: Path, content: bytes) -> str:
    return "\n\n".join(texts(load(folder, "a.pdf", content)))


def test_words_that_are_drawn_apart_stay_apart(tmp_path: Path) -> None:
    """Gaps between words are spaces, though the file holds none."""
    words = [(72.0, "What"), (103.0, "is"), (115.0, "Earth"), (149.0, "Science?")]
    assert only_text(tmp_path, drawn(words)) == "What is Earth Science?"


def test_type_that_is_drawn_twice_to_look_bold_is_read_once(tmp_path: Path) -> None:
    """Neither letters nor lines are doubled."""
    twice = [(72.0, "Opening hours"), (72.3, "Opening hours")]
    letters = [(72.0 + 9 * n + more, c) for n, c in enumerate("FEES") for more in (0, 0.3)]
    assert only_text(tmp_path, drawn(twice, letters)) == "Opening hours FEES"


def test_scripts_without_spaces_get_none(tmp_path: Path) -> None:
    """Japanese whose signs are drawn one by one is lines of text, joined without a gap."""
    lines = ("窓口は九時に開きま", "す。電話はできない。")
    assert only_text(tmp_path, mapped(*lines)) == "".join(lines)


def test_ligatures_are_letters(tmp_path: Path) -> None:
    """The words that a reader sees can be searched for."""
    assert only_text(tmp_path, mapped("o\ufb03ce \ufb01nds")) == "office finds"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["It is an open-", "domain answer."], "an open-domain answer"),
        (["Open or closed domain: it is an open-", "domain answer."], "an open-domain answer"),
        (["open-domain is best. It is an open-", "domain answer."], "an open-domain answer"),
        (["Registration: the regis-", "tration office."], "the registration office"),
        (["The regis-", "tration office."], "The registration office"),
        (["The ELE-", "MENT of an element."], "The ELEMENT of"),
        (["A state-of-the-", "art pool, the best."], "A state-of-the-art pool"),
        (["Since COVID-", "19 it is closed."], "Since COVID-19 it"),
        (["Open 9-", "12 daily."], "Open 9-12 daily"),
        (["Die Haupt-", "und Nebenstraße."], "Die Haupt- und Nebenstraße"),
        (["The Anglo-", "Saxon church."], "The Anglo-Saxon church"),
        (["Wide -", "and open."], "Wide - and open"),
    ],
)
def test_hyphens_at_line_ends(tmp_path: Path, lines: list[str], expected: str) -> None:
    """A divided word is whole again, a compound keeps its hyphen: the document's words decide."""
    assert expected in only_text(tmp_path, pdf(lines))


@pytest.mark.parametrize(
    "title",
    [
        "Microsoft Word - agenda 2016.doc",
        "10811.exe",
        "annual report.indd",
        "C:\\Users\\me\\report",
        "file:///tmp/x",
        "untitled",
        "(anonymous)",
        "Untitled-1",
        "PowerPoint Presentation",
        "88300 162..177",
        "\x00",
    ],
)
def test_titles_that_programs_make_up_are_not_used(tmp_path: Path, title: str) -> None:
    """The name of the file says more."""
    content = pdf(["Text."], title=title)
    assert load(tmp_path, "fee-list.pdf", content)[0].metadata["title"] == "fee list"


@pytest.mark.parametrize("title", ["Eliquis, INN-apixaban", "2024 Budget", "1984", "Node.js guide"])
def test_titles_that_people_write_are_used(tmp_path: Path, title: str) -> None:
    """Numbers and dots alone make no title junk."""
    expected = "fee list" if title.isdigit() else title
    content = pdf(["Text."], title=title)
    assert load(tmp_path, "fee-list.pdf", content)[0].metadata["title"] == expected


def picture(canvas: Canvas) -> None:
    canvas.rect(72, 72, 300, 300, fill=1)
    canvas.showPage()


def test_pages_without_text_are_said(tmp_path: Path) -> None:
    """What was scanned is counted, an empty page is not, and the rest is loaded."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.drawString(72, 700, "One page of text.")
    canvas.showPage()
    canvas.showPage()
    picture(canvas)
    picture(canvas)
    canvas.save()
    path = tmp_path / "a.pdf"
    path.write_bytes(buffer.getvalue())
    found = read(path, "a.pdf", chunk_chars=1000, chunk_overlap=0)
    assert texts(found.chunks) == ["One page of text."]
    assert list(found.notes) == ["No text on pages 3–4 of 4: scanned? --ocr reads them."]


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
