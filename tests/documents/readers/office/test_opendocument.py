"""OpenDocument texts keep their headings, lists and tables."""

from pathlib import Path

from ....support.documents import complaint, load, texts
from ....support.office import odt


def test_headings_lists_and_tables(tmp_path: Path) -> None:
    """Notes of editors and deleted text are left out."""
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="1">Fees</text:h>'
        '<text:p>Pay <text:span>at</text:span><text:s text:c="3"/>the<text:line-break/>desk.'
        "<office:annotation><text:p>really?</text:p></office:annotation></text:p>"
        "<text:list><text:list-item><text:p>cash</text:p></text:list-item>"
        "<text:list-item><text:p>card</text:p></text:list-item></text:list>"
        '<text:h text:outline-level="2">Prices</text:h>'
        "<table:table><table:table-row><table:table-cell><text:p>Passport</text:p>"
        "</table:table-cell><table:table-cell><text:p>37</text:p></table:table-cell>"
        "</table:table-row></table:table>"
    )
    chunks = load(tmp_path, "a.odt", odt(body, title="Ignored"))
    assert texts(chunks) == ["Pay at the desk.\n\n- cash\n- card", "Passport | 37"]
    assert [chunk.metadata["heading"] for chunk in chunks] == ["Fees", "Fees > Prices"]
    assert chunks[0].metadata["title"] == "Fees"


def test_the_title_is_that_of_the_properties(tmp_path: Path) -> None:
    """Where there is no heading."""
    [chunk] = load(tmp_path, "a.odt", odt("<text:p>Text.</text:p>", title="Fees 2026"))
    assert chunk.metadata["title"] == "Fees 2026"


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """Nothing overflows."""
    deep = 100_000
    body = "<text:list>" * deep + "</text:list>" * deep
    assert "nested too deeply" in complaint(tmp_path, "a.odt", odt(body))
