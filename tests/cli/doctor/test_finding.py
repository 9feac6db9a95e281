"""The result of a check: its status, one line for a terminal, and the worst of several."""

from orbit_server.cli.doctor.finding import Finding, fail, ok, warn, worst


def test_the_worst_counts() -> None:
    """A set-up is as good as its worst finding; without any it is well."""
    passed, warning, failed = ok("a", "Fine."), warn("b", "Hm.", "Do."), fail("c", "No.", "Do.")
    assert worst([]) == "ok"
    assert worst([passed, warning]) == "warn"
    assert worst([failed, warning, passed]) == "fail"
    assert passed == Finding("a", "ok", "Fine.", "")


def test_a_finding_is_one_harmless_line() -> None:
    """It may quote other programs: no line break, nothing a terminal obeys, no password."""
    found = fail("database", "a\nb\x1b[31m\u202e", "See postgresql://ann:Pa55word@db.example/orbit")
    assert found.message == "a b\ufffd[31m\ufffd"
    assert "Pa55word" not in found.remedy and "db.example" in found.remedy
