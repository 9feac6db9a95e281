"""``report``: gaps are named, counted, put in order, and left out once they are settled."""

from orbit_server.observability.questions.report import Report, report, texts_to_group
from orbit_server.observability.questions.reviewed import Decision, Reviewed
from orbit_server.observability.questions.tally import Tally

from .test_tally import HOURS, POOL, exchange, missing

NOON = "2026-03-01T12:00:00.000Z"


def reported(tally: Tally, groups: list[list[int]], *decided: Reviewed) -> Report:
    """Return the report of ``tally`` in these groups."""
    return report(
        tally,
        texts_to_group(tally, decided),
        groups,
        decided,
        since="2026-02-01T00:00:00.000Z",
        until="2026-03-03T00:00:00.000Z",
        threshold=0.55,
        sources=["hours.md", "unused.md", "answers"],
        damaged=2,
    )


def three() -> Tally:
    """Return questions about the moon in two wordings and one about the sun."""
    made = Tally("town", enough=0.6)
    for day, record in enumerate(
        [
            missing("Where is the moon?", POOL),
            missing("Moon?", POOL | {"relevance": 0.5, "source": "sky.md"}),
            missing("Where is the moon?", POOL),
            missing("Where is the sun?"),
            exchange(),
        ],
        1,
    ):
        made.add(record | {"timestamp": f"2026-03-{day:02}T12:00:00.000Z"})
    return made


def test_a_group_is_one_row() -> None:
    """Named by its most frequent wording; with the sum of counts and the best of all scores."""
    tally = three()
    assert [each.text for each in texts_to_group(tally, [])] == [
        "Where is the moon?",
        "Where is the sun?",
        "Moon?",
    ]
    made = reported(tally, [[1], [0, 2]])
    moon, sun = made.gaps
    assert (moon.question, moon.wordings, moon.count) == ("Where is the moon?", ["Moon?"], 3)
    assert (moon.score, moon.source, moon.last[:10]) == (0.5, "sky.md", "2026-03-03")
    assert (sun.question, sun.count, sun.score, sun.source) == ("Where is the sun?", 1, None, None)


def test_the_newest_of_equally_frequent_wordings_names_the_group() -> None:
    """Words change; what people say now is what they will search for."""
    tally = Tally("town", enough=0.6)
    for day, query in enumerate(["Wi-Fi?", "WLAN?"], 1):
        tally.add(missing(query, timestamp=f"2026-03-{day:02}T12:00:00.000Z"))
    [gap] = reported(tally, [[0, 1]]).gaps
    assert (gap.question, gap.wordings) == ("WLAN?", ["Wi-Fi?"])


def test_settled_groups_are_left_out() -> None:
    """Also other wordings of what was decided; an answer that did not help settles nothing."""

    def left(text: str, decision: Decision, time: str) -> tuple[list[str], int]:
        decided = Reviewed("town", text, decision, time)
        made = reported(three(), [[0, 2, 3], [1]], decided)
        return [gap.question for gap in made.gaps], made.reviewed

    assert left("the moon where", "ignored", "2026-01-01") == (["Where is the sun?"], 1)
    assert left("the moon where", "answered", "2026-03-09") == (["Where is the sun?"], 1)
    both = ["Where is the moon?", "Where is the sun?"]
    assert left("the moon where", "answered", "2026-03-02") == (both, 0)
    # Where the model refuses a text, it is in no company, and still known by itself.
    ignored = Reviewed("town", "Where is the sun?", "ignored", NOON)
    made = reported(three(), [[0, 2], [1], [3]], ignored)
    assert ([gap.question for gap in made.gaps], made.reviewed) == (["Where is the moon?"], 1)


def test_the_whole_as_json() -> None:
    """The counts, the ratings, and which sources were used."""
    whole = reported(three(), [[0, 2], [1]]).json()
    assert whole["counts"] == {
        "questions": 5,
        "answered": 1,
        "refused": 4,
        "blocked": 0,
        "failed": 0,
        "left": 0,
    }
    assert (whole["used"], whole["unused"]) == ({HOURS["source"]: 1}, ["answers", "unused.md"])
    assert (whole["damaged"], whole["ratings"]) == (2, {"up": 0, "down": 0})
    assert [gap["count"] for gap in whole["gaps"]] == [3, 1]
