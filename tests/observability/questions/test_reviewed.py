"""``ReviewedFile``: what was decided about a question is decided once."""

from pathlib import Path

from orbit_server.observability.questions.reviewed import Decision, Reviewed, ReviewedFile

EARLIER, TIME, LATER = "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"


def reviewed(text: str, decision: Decision = "ignored", collection: str = "town") -> Reviewed:
    """Return a decision at ``TIME``."""
    return Reviewed(collection, text, decision, TIME)


def test_decisions_are_kept_by_collection(tmp_path: Path) -> None:
    """Each in a line, at once; nobody but the server's user and group may read them."""
    folder = tmp_path / "logs"
    file = ReviewedFile(folder)
    assert file.of("town") == []
    file.add(reviewed("Where is the moon?"), reviewed("Elsewhere?", collection="elsewhere"))
    file.add(reviewed("Where is the sun?", "answered"))
    kept = ReviewedFile(folder).of("town")
    assert kept == [reviewed("Where is the moon?"), reviewed("Where is the sun?", "answered")]
    assert file.path.parent == folder
    assert file.path.stat().st_mode & 0o007 == 0


def test_the_latest_decision_counts(tmp_path: Path) -> None:
    """A line that a kill has torn spoils no other."""
    file = ReviewedFile(tmp_path)
    file.add(reviewed("Where?"))
    with file.path.open("a") as opened:
        opened.write('{"collection": "town", "te\n[1]\n{"collection": "town"}\n')
    file.add(reviewed("Where?", "answered"))
    assert file.of("town") == [reviewed("Where?", "answered")]


def test_what_a_decision_settles() -> None:
    """Ignored is ignored; an answer is none where the question came again and found nothing."""
    assert reviewed("?").covers(EARLIER) and reviewed("?").covers(LATER)
    assert reviewed("?", "answered").covers(EARLIER)
    assert not reviewed("?", "answered").covers(LATER)
