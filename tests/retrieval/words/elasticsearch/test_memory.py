"""What was learned of words helps to guess, until the passages are others or it is old."""

from orbit_server.retrieval.words.elasticsearch.memory import Known, Memory


def learned(memory: Memory, passages: int = 9) -> Known:
    """Return what one question has learned, and left to others."""
    known = Known(memory, "town")
    known.frequencies({"pool", "libary"})
    known.learn(passages, {"pool": 4, "libary": 0})
    known.suggested("libary", {"library": 2, "librarian": 1})
    known.keep()
    return known


def test_a_first_question_takes_its_words_for_known() -> None:
    """What it lacks is wanted; other words are taken for unknown ones."""
    known = Known(Memory(), "town")
    assert known.frequencies({"pool"}) == (1, {"pool": 1})
    assert known.frequencies(["pools", "poola"])[1] == {"pools": 0, "poola": 0}
    assert known.wanted == {"pool", "pools", "poola"}
    assert list(known.endings) == ["pools", "poola"]
    assert known.similar("pool", distance=1) == []


def test_a_second_question_knows() -> None:
    """How many passages have a word, and what is spelt like it, within so many edits."""
    memory = Memory()
    learned(memory)
    known = Known(memory, "town")
    assert known.frequencies({"pool", "libary"}) == (9, {"pool": 4, "libary": 0})
    assert known.similar("libary", distance=1) == ["library"]
    assert known.has_similar("libary")
    assert not known.wanted
    other = Known(memory, "village")
    assert other.frequencies({"pool"}) == (1, {"pool": 1})


def test_it_is_of_no_use_when_the_passages_are_others() -> None:
    """Another number of them, or a write of our own."""
    memory = Memory()
    learned(memory)
    known = Known(memory, "town")
    known.learn(10, {})
    assert not known.has_similar("libary")
    memory.forget("town")
    assert Known(memory, "town").passages is None


def test_it_grows_old() -> None:
    """After a while nothing is known any more; and the memory is bounded."""
    now = 0.0
    memory = Memory(most=3, seconds=60, clock=lambda: now)
    learned(memory)
    assert Known(memory, "town").passages == 9
    now = 61
    assert Known(memory, "town").passages is None
    known = Known(memory, "town")
    known.learn(5, {f"word{n}": 1 for n in range(50)})
    known.keep()
    assert len(memory.counts) <= 3
