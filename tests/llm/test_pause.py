"""A step that keeps timing out is left out for a while, and the log says so."""

import logging

import pytest

from orbit_server.llm.pause import Pause


def test_three_timeouts_in_a_row_are_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    """Success in between starts the count again; after the pause one more timeout is enough."""
    now = 100.0
    caplog.set_level(logging.WARNING)
    pause = Pause("rerank", limit=3, seconds=60, clock=lambda: now)
    for timed_out in (True, True, False, True, True):
        pause.note(timed_out=timed_out)
    assert not pause.is_active()
    assert caplog.messages == []
    pause.note(timed_out=True)
    assert pause.is_active()
    pause.note(timed_out=True)  # a question that had begun before the pause
    assert caplog.messages == ["rerank is skipped for 60 s, because it timed out 3 times in a row"]
    now = 160.0
    assert not pause.is_active()
    pause.note(timed_out=True)
    assert pause.is_active()
    now = 220.0
    pause.note(timed_out=False)
    assert not pause.is_active()
    assert caplog.messages[-1] == "rerank works again"
    pause.note(timed_out=True)
    assert not pause.is_active()
