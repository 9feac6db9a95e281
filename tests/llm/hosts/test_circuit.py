"""``Circuit``: when a host is out, and when it is tried again."""

from orbit_server.llm.hosts.circuit import Circuit

from ...support.timing import Clock


def circuit(clock: Clock, jitter: float = 1.0) -> Circuit:
    return Circuit(limit=3, first_pause=1, longest_pause=5, clock=clock, jitter=lambda *_: jitter)


def is_out(tested: Circuit) -> bool:
    return tested.is_out


def test_it_is_out_after_three_failures_in_a_row() -> None:
    """A success in between starts the count anew; the last failure says that it is out now."""
    tested = circuit(Clock(100.0))
    assert [tested.failed(), tested.failed()] == [False, False]
    assert not tested.succeeded()
    assert [tested.failed(), tested.failed(), tested.failed(), tested.failed()] == [
        *(False, False, True, False)
    ]
    assert is_out(tested)
    assert tested.succeeded()
    assert not is_out(tested)
    assert tested.failures == 0


def test_one_long_silence_is_enough() -> None:
    """Three of them would be three people who wait for their whole limit."""
    tested = circuit(Clock(100.0))
    assert tested.failed(silent=True)
    assert tested.is_out


def test_pauses_grow_and_begin_anew_after_a_success() -> None:
    """1, 2, 4, then 5 s at most; a burst of failures while it is out makes none longer."""
    clock = Clock(100.0)
    tested = circuit(clock)
    tested.failed(silent=True)
    pauses = [tested.next_trial - clock.now]
    for _ in range(4):
        tested.failed()
        clock.now = tested.next_trial
        tested.trial_failed()
        pauses.append(tested.next_trial - clock.now)
    assert pauses == [1, 2, 4, 5, 5]
    tested.succeeded()
    tested.failed(silent=True)
    assert tested.next_trial - clock.now == 1


def test_pauses_differ() -> None:
    """So that many servers do not try one host in the same moment."""
    clock = Clock(100.0)
    seen = set()
    for _ in range(20):
        tested = Circuit(clock=clock)
        tested.failed(silent=True)
        seen.add(tested.next_trial - clock.now)
    assert len(seen) > 10
    assert min(seen) >= 0.5
    assert max(seen) <= 1.5


def test_after_a_failure_others_come_first_for_a_while() -> None:
    """One failure is no reason to leave a host out, but to ask others before it."""
    clock = Clock(100.0)
    tested = circuit(clock)
    doubts = [tested.is_doubtful]
    tested.failed()
    doubts.append(tested.is_doubtful)
    clock.now += 5
    doubts.append(tested.is_doubtful)
    tested.doubt()
    doubts.append(tested.is_doubtful)
    assert tested.failures == 1
    tested.succeeded()
    doubts.append(tested.is_doubtful)
    assert doubts == [False, True, False, True, False]
