"""``Tally``: what became of the questions of one collection."""

from collections.abc import Iterable
from typing import Any

from orbit_server.observability.questions.tally import RatedDown, Tally

HOURS = {"id": "1", "source": "hours.md", "score": 0.9, "relevance": 1.2}
POOL = {"id": "2", "source": "pool.md", "score": 0.5, "relevance": 0.3}
NUMBER = iter(range(10**6))


def exchange(query: Any = "When?", **more: Any) -> dict[str, Any]:
    """Return the record of an answered question, a millisecond after the one before."""
    return {
        "timestamp": f"2026-03-01T12:{next(NUMBER):09}Z",
        "kind": "exchange",
        "collection": "town",
        "query": query,
        "response": "At nine.",
        "outcome": "completed",
        "result": "found",
        "blocked": False,
        "sources": [HOURS],
        "considered": [HOURS, POOL],
        **more,
    }


def missing(query: str, *considered: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the record of a question that found nothing."""
    return exchange(query, result="not_found", sources=[], considered=[*considered], **more)


def rating(id: str, value: Any, time: str = "2026-03-02T00:00:00Z", **more: Any) -> dict[str, Any]:
    """Return the record of a rating."""
    return {"timestamp": time, "collection": "town", "answer_id": id, "rating": value, **more}


def tally(*records: dict[str, Any], ratings: Iterable[dict[str, Any]] = (), **more: Any) -> Tally:
    """Return what is counted of these records."""
    made = Tally("town", enough=0.6, **more)
    for each in ratings:
        made.rate(each)
    for each in records:
        made.add(each)
    return made


def test_what_became_of_questions() -> None:
    """Each is counted once; small talk is no question, and other collections do not matter."""
    made = tally(
        exchange(),
        exchange(outcome="disconnected"),
        exchange(outcome="failed", result=None, sources=[]),
        exchange(blocked=True, result="refused", sources=[], considered=[]),
        missing("Where is the moon?", POOL),
        exchange("Hello!", result="small_talk", sources=[], considered=[]),
        exchange(collection="elsewhere"),
    )
    assert dict(made.fates) == dict.fromkeys(
        ["answered", "left", "failed", "blocked", "refused"], 1
    )
    assert (made.questions, made.small_talk) == (5, 1)


def test_what_found_nothing_or_little() -> None:
    """Words that differ in case and punctuation are the same; the best of all scores counts."""
    made = tally(
        missing("Where is the Moon?", POOL),
        missing("where is  the moon", POOL | {"relevance": 0.4, "source": "sky.md"}),
        missing("WHERE IS THE MOON!!", outcome="disconnected"),
        exchange("How warm is the pool?", considered=[POOL], sources=[POOL]),
        exchange("Is it just enough?", considered=[POOL | {"relevance": 0.6}]),
        missing("???"),
    )
    moon, pool, signs = made.missing.values()
    assert (moon.text, moon.count) == ("WHERE IS THE MOON!!", 3)
    assert (moon.score, moon.source) == (0.4, "sky.md")
    assert (pool.text, pool.count, pool.score) == ("How warm is the pool?", 1, 0.3)
    assert (signs.text, signs.score, signs.source) == ("???", None, None)


def test_the_latest_rating_of_an_answer_counts() -> None:
    """Whenever it is written down; with the question, the answer and the comment."""
    first, second = exchange("When?", answer_id="a"), exchange("Where?", answer_id="b")
    made = tally(
        first,
        second,
        exchange(answer_id="c"),
        ratings=[
            rating("a", -1, "2026-03-03T00:00:00Z", comment="It closes at one."),
            rating("a", 1, "2026-03-02T00:00:00Z"),
            rating("b", 1),
            rating("b", 0),
            rating("gone", -1),
            rating("c", -1, collection="elsewhere"),
            {"timestamp": "2026-03-02T00:00:00Z", "collection": "town", "rating": -1},
        ],
    )
    assert (made.rated_up, made.rated_down) == (1, 1)
    down = RatedDown("When?", "At nine.", "It closes at one.", first["timestamp"])
    assert list(made.down) == [down]


def test_the_sources_that_answers_used() -> None:
    """Each once for an answer; records of earlier versions do not name them."""
    made = tally(
        exchange(sources=[HOURS, HOURS | {"id": "3"}, POOL]),
        exchange(sources=[HOURS]),
        exchange(sources=[{"id": "1", "score": 0.9}]),
        missing("Where?"),
    )
    assert made.sources == {"hours.md": 2, "pool.md": 1}
    assert made.unnamed == 1


def test_records_of_an_earlier_version() -> None:
    """Without what was considered, the best of the used passages stands for it, where any is."""
    found = exchange("A?", sources=[POOL])
    refused = missing("B?")
    del found["considered"], refused["considered"]
    made = tally(found, refused)
    assert [(each.text, each.score) for each in made.missing.values()] == [
        ("A?", 0.3),
        ("B?", None),
    ]


def test_memory_is_bounded() -> None:
    """Further texts are counted, long ones are cut, and of ratings the latest are kept."""
    made = tally(
        *(missing(f"question {number}?") for number in range(5)),
        missing("question 0?"),
        missing("x" * 5000),
        *(exchange(f"{number}?", answer_id=str(number)) for number in range(4)),
        ratings=[rating(str(number), -1) for number in range(4)],
        most_texts=3,
        most_rated=2,
    )
    assert [each.count for each in made.missing.values()] == [2, 1, 1]
    assert made.uncollected == 3
    assert (made.rated_down, [each.question for each in made.down]) == (4, ["2?", "3?"])
    assert len(tally(missing("x" * 5000)).missing.popitem()[1].text) == 1000


def test_hostile_records() -> None:
    """Fields of another type than ours are read as if they were not there."""
    made = tally(
        exchange(sources="x", considered=None),
        exchange(query=None, considered=[1, {"source": None, "relevance": "high"}]),
        missing("half \ud83d"),
    )
    assert made.questions == 3
    assert [each.text for each in made.missing.values()] == ["half \ufffd"]
