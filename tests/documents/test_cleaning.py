"""What a reader cannot see goes, letters and what scripts need stay."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_server.documents.cleaning import clean, unwrapped

unhurried = settings(deadline=None, max_examples=150)


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("pass\u200bport\ufeff", "passport"),
        ("a\u202eb\u2066c\u061cd", "abcd"),
        ("so\u00adft", "soft"),
        ("bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("tag\U000e0041\U000e0042", "tag"),
        ("cafe\u0301", "café"),
        ("e\u200b\u0301", "é"),
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("lone \ud800!", "lone \ufffd!"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d🚒", "👩\u200d🚒"),
        ("a\u200db", "ab"),
        ("é\u200d\u200d\u200dé", "éé"),
        ("a\u200d\u200d\u200db", "ab"),
        ("❤\ufe0f\ufe0f\ufe0f", "❤\ufe0f"),
        ("tab\tstays", "tab\tstays"),
        ("opens\u2800at\u3164nine", "opens at nine"),
    ],
)
def test_clean_removes_what_nobody_sees(dirty: str, expected: str) -> None:
    """Invisible characters go, letters and the joiners that scripts need stay."""
    assert clean(dirty) == expected


@unhurried
@given(st.text())
def test_clean_text_holds_no_invisible_character(text: str) -> None:
    """Whatever comes in, no control, surrogate or zero-width character comes out, and NFC holds."""
    result = clean(text)
    assert unicodedata.is_normalized("NFC", result)
    assert not any("\ud800" <= character <= "\udfff" for character in result)
    assert not set(result) & set("\u200b\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff\xad")
    assert not any(unicodedata.category(c) == "Cc" for c in result if c not in "\n\t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo", "one two"),
        ("窓口は九時に開きま\nす。電話は", "窓口は九時に開きます。電話は"),
        ("平日\n  9時", "平日   9時"),
        ("图书馆，\n开放", "图书馆，开放"),
        ("한국어\n문장", "한국어 문장"),
        ("日本\nJapan", "日本 Japan"),
    ],
)
def test_a_line_that_wraps_is_a_space_where_words_have_one(text: str, expected: str) -> None:
    """Chinese and Japanese go on without a gap; Korean has blanks."""
    assert unwrapped(text) == expected
