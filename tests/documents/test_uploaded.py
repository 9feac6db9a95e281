"""What clients call their files becomes sources."""

from pathlib import Path

import pytest

from orbit_server.documents.uploaded import ReceivedFile, uploaded_files

ON_DISK = Path("1.md")


def sources(*names: str, prefix: str = "") -> list[tuple[str, str]]:
    """Return source and problem of files that were received under these names."""
    files = uploaded_files([ReceivedFile(name, ON_DISK, 1) for name in names], prefix)
    return [(file.source, file.problem) for file in files]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fees.md", "fees.md"),
        ("town/deep/fees.md", "town/deep/fees.md"),
        ("../../etc/passwd.md", "etc/passwd.md"),
        ("/etc/passwd.md", "etc/passwd.md"),
        ("a//./b/../c.md", "a/b/c.md"),
        ("nul\x00 and\r\nline\u202e.md", "nul and line.md"),
        ("a\\b.md", "a\\b.md"),
        (" spaced  out .md", "spaced out .md"),
        ("Gr\u0075\u0308\u00dfe.md", "Gr\u00fc\u00dfe.md"),
    ],
)
def test_a_name_becomes_a_source(name: str, source: str) -> None:
    """It is relative, and holds nothing that a reader does not see."""
    assert sources(name) == [(source, "")]


@pytest.mark.parametrize(
    ("prefix", "source"),
    [
        ("https://town.example/files", "https://town.example/files/a.md"),
        ("docs/", "docs/a.md"),
        (" \x00", "a.md"),
    ],
)
def test_a_prefix_goes_before(prefix: str, source: str) -> None:
    """So that sources may be links."""
    assert sources("a.md", prefix=prefix) == [(source, "")]


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "no name"), ("../..", "no name"), ("\x00", "no name"), ("x" * 501 + ".md", "longer")],
)
def test_a_name_that_is_none_is_refused(name: str, says: str) -> None:
    """The file is named as far as it can be, and the others are taken."""
    (shown, problem), fine = sources(name, "fine.md")
    assert says in problem
    assert len(shown) < 100
    assert fine == ("fine.md", "")


def test_of_equal_names_the_first_counts() -> None:
    """Also when they were different ways to the same."""
    found = sources("a.md", "./a.md", "b.md")
    assert found[0] == ("a.md", "")
    assert "already called a.md" in found[1][1]
    assert found[2] == ("b.md", "")


def test_what_is_not_on_disk_has_a_reason() -> None:
    """It was not understood, or too large."""
    files = uploaded_files([ReceivedFile("a.exe", None, 5), ReceivedFile("b.md", None, 10**9)])
    assert [file.outcome for file in files] == ["error", "error"]
    assert ".exe is not understood" in files[0].problem
    assert "larger than 50 MB" in files[1].problem


def test_an_empty_field_of_a_form_is_no_file() -> None:
    """Browsers send one where nothing was chosen."""
    assert uploaded_files([ReceivedFile("", None, 0)]) == []
