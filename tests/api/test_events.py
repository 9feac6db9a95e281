"""``events``: the bytes of a stream, one line an event whatever the text holds."""

import json

import pytest

from orbit_server.api.events import ChatFormat, done_event, event, to_json
from orbit_server.errors import ModelInterrupted


def test_an_event_and_the_last_one() -> None:
    """Both keys in every event, ``data: `` with a space, a blank line behind."""
    assert event("At nine.") == b'data: {"text": "At nine.", "done": false}\n\n'
    assert done_event(sources=[]) == b'data: {"text": "", "done": true, "sources":[]}\n\n'
    assert event("x", error="e") == b'data: {"text": "x", "done": false, "error":"e"}\n\n'


@pytest.mark.parametrize(
    "text", ["a\nb\r\nc", "\x85 \u2028 \u2029", "“„\0\x1f", "\ud800", '"}\n\ndata: {', "😀é", ""]
)
def test_a_text_is_one_line_and_comes_back(text: str) -> None:
    """No reader, whatever it takes for a line end, can be made to see two."""
    data = to_json({"text": text})
    assert len(data.decode().splitlines()) == 1
    assert json.loads(data) == {"text": text}


def test_how_a_broken_answer_ends() -> None:
    """A sentence for the reader, below what there is, and the same code twice."""
    written, error = ChatFormat(), ModelInterrupted("secret.example fell silent")
    assert written.error_text(error, "") == error.detail
    assert written.error_text(error, "At") == f"\n\n{error.detail}"
    ends = written.end({"sources": [], "finish_reason": "stop"}, error, "It broke.")
    first, last = (json.loads(line[6:]) for line in ends.decode().strip().split("\n\n"))
    assert first == {"text": "It broke.", "done": False, "error": error.code}
    assert last == {
        "text": "",
        "done": True,
        "sources": [],
        "error": error.code,
        "finish_reason": "error",
    }
    assert b"secret" not in ends
