"""Where sentences end, and where they only seem to."""

import pytest

from orbit_server.documents.chunking import split
from orbit_server.documents.model import Block
from orbit_server.documents.readers.sentences import sentences


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("One here. Two here! Three here? Four here", 4),
        ('He said "Come in." Then he left. (So they say.) All true', 4),
        ("Ask Dr. Miller, e.g. about no. 5, from 1. Mai to 3. Juni", 1),
        ("Das gilt z.B. für Herrn J. Meier bzw. Frau Abs. Weber", 1),
        ("It opened in 1987. The hall followed", 2),
        ("Open until 5 p.m. on weekdays", 1),
        ("Version 2.5 of example.org is out", 1),
        ("窓口は九時に開きます。電話はできません！「本当？」はい。", 4),
        ("Wait… what now… Then go", 2),
    ],
)
def test_sentences_end_where_a_reader_says(line: str, expected: int) -> None:
    """Abbreviations, initials, ordinals and decimals end no sentence; CJK needs no spaces."""
    assert [block.text for block in split([Block(line)], size=len(line), overlap=0)] == [line]
    assert len(list(sentences(line))) == expected
