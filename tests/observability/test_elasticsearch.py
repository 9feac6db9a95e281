"""What the Elasticsearch client makes of refusals."""

from typing import Any

import pytest

from orbit_server.observability.elasticsearch import sentence


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"type": "a_type", "reason": "a reason"}, "status": 400}, "a_type: a reason"),
        ({"error": {"type": "a_type", "reason": None}}, "a_type: None"),
        ({"error": "Incorrect HTTP method for uri [/x]", "status": 405}, "Incorrect HTTP method"),
        ("<html><h1>502 Bad\nGateway</h1></html>", "502 Bad Gateway"),
        ("upstream connect error", "upstream connect error"),
        ({}, "it refuses without a reason"),
        ({"error": []}, "it refuses without a reason"),
        ("", "it refuses without a reason"),
        (None, "it refuses without a reason"),
    ],
)
def test_a_refusal_in_one_line(body: Any, said: str) -> None:
    """Objects, texts and pages of a proxy are all told, in at most 300 characters."""
    assert sentence(body).startswith(said)
    assert "\n" not in sentence(body) and "<" not in sentence(body)
    assert len(sentence({"error": "x" * 1000})) == 300
