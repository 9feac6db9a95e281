"""Texts are compared in one form, whatever they are dressed in."""

from hypothesis import given
from hypothesis import strategies as st

from orbit_server.safety.normalize import fold, plain


def test_what_nobody_sees_is_nothing_or_a_blank() -> None:
    """Invisible characters inside of a word go; who asks for it gets a blank in their place."""
    assert plain("Bo\u200bmb") == fold("Bo\u200bmb") == "bomb"
    assert plain("a\u3164\u2800bomb", unseen=" ") == fold("ä\u3164bömb", unseen=" ") == "a bomb"


@given(st.text(max_size=50))
def test_folding_is_stable(text: str) -> None:
    """Folded text is left alone by folding, so that entries and texts meet."""
    assert fold(fold(text)) == fold(text)
