"""What is blotted out of questions and answers, and what is not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.observability.redaction import PATTERNS, redactor

everything = redactor(PATTERNS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jo.doe+x@mail.example.org.", "write to [email]."),
        ("card 4111 1111 1111 1111 please", "card [card] please"),
        ("card 4111-1111-1111-1111", "card [card]"),
        ("5555555555554444", "[card]"),
        ("number 4111 1111 1111 1112 is no card", "number 4111 1111 1111 1112 is no card"),
        ("IBAN GB82 WEST 1234 5698 7654 32 is mine", "IBAN [iban] is mine"),
        ("AT611904300234573201", "[iban]"),
        ("AT611904300234573202", "AT611904300234573202"),
        ("call +43 1 234 56 78 now", "call [phone] now"),
        ("call (555) 010-0199", "call [phone]"),
        ("0043/1/2345678", "[phone]"),
        ("open 9:00-17:00 on 2026-11-23", "open 9:00-17:00 on 2026-11-23"),
        ("on 23.11.2026 it costs 1.250,00", "on 23.11.2026 it costs 1.250,00"),
        ("section 12, page 345", "section 12, page 345"),
    ],
)
def test_the_built_in_patterns(text: str, expected: str) -> None:
    """Each pattern finds its kind, with the check digit where there is one, and leaves the rest."""
    assert everything(text) == expected


def test_only_what_was_asked_for_is_taken_out() -> None:
    """A pattern that was not named changes nothing."""
    assert redactor(["card"])("a@b.example 4111111111111111") == "a@b.example [card]"


def test_own_expressions() -> None:
    """An expression between slashes is a pattern too; a broken or unknown one is an error."""
    assert redactor([r"/case-\d+/"])("my case-4711") == "my [redacted]"
    with pytest.raises(re.error):
        redactor(["/(/"])
    with pytest.raises(ValueError, match="none of email"):
        redactor(["mail"])


@given(st.text(alphabet="0123456789 +-()/.@aAbé", max_size=200))
def test_any_text_is_taken(text: str) -> None:
    """Redaction never fails, and doing it twice changes nothing more."""
    once = everything(text)
    assert everything(once) == once or len(once) < len(text)
