"""Citations: which markers of an answer refer to a passage, and what only looks like one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.answering.citations import cited


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("It opens at nine [1].", [1]),
        ("[1]", [1]),
        ("[ 1 ]", [1]),
        ("First [2], then [1], again [2].", [2, 1]),
        ("It opens at nine.[1]", [1]),
        ("**[1]** and (see [2])", [1, 2]),
        ("**nine**[1]", [1]),
        ("(see the fees)[1]", [1]),
        ("[[1]]", [1]),
        ("- nine [1]\n- ten [3]", [1, 3]),
        ("    an indented paragraph [1]", [1]),
        ("As [1] says: nine.", [1]),
        ("As in [1]: nine.", [1]),
        # several in a row
        ("[1][2]", [1, 2]),
        ("[3] [2]", [3, 2]),
        ("[1, 3]", [1, 3]),
        ("[3,1;2]", [3, 1, 2]),
        ("[1],[2], and [3]", [1, 2, 3]),
        # ranges
        ("[1-3]", [1, 2, 3]),
        ("[2–3]", [2, 3]),
        ("[1, 2 - 3]", [1, 2, 3]),
        ("[1-2][2-3]", [1, 2, 3]),
        ("[3-1]", []),
        # full width
        ("图书馆九点开门【1】。", [1]),
        ("图书馆九点开门[1]。", [1]),
        ("【1，3】【2】", [1, 3, 2]),
        ("［2］", [2]),
        ("【1]", []),
        # straight after a word
        ("It opens at nine[1].", [1]),
        ("It opens at nine[1][2]. Then", [1, 2]),
        ("9am[1] and 17:00[2] and 5 €[3]", [1, 2, 3]),
        # out of range, or no number of a passage
        ("[4]", []),
        ("[0]", []),
        ("[1-9]", []),
        ("[1, 9]", [1]),
        ("[01]", []),
        ("[-1]", []),
        ("[1.5]", []),
        ("[99999999999999999999]", []),
        ("[one]", []),
        ("[٣]", []),
        ("[1", []),
        ("1]", []),
        (r"\[1]", []),
        ("", []),
    ],
)
def test_markers(text: str, passages: list[int]) -> None:
    """Numbers in brackets cite the passages of these numbers, in order, each once."""
    assert cited(text, 3) == passages


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        # inline code
        ("`a [1]`", []),
        ("``a ` [1]`` [2]", [2]),
        ("`grep`[1]", [1]),
        ("a lone ` is no code [1]", [1]),
        ("one ` here [1]\n\nand ` there", [1]),
        # code blocks
        ("```\n[1]\n```\n[2]", [2]),
        ("```python\nx = [1]\n```", []),
        ("```\nnever closed [1]", []),
        ("~~~\n[1]\n```\n[1]\n~~~\n[3]", [3]),
        ("````\n```\n[1]\n````\n[2]", [2]),
        ("- so:\n  ```\n  [1]\n  ```\n- [2]", [2]),
        ("> ```\n> [1]\n> ```\n> [2]", [2]),
        ("[1]\r\n```\r\n[2]\r\n```\r\n[3]", [1, 3]),
        # links
        ("[1](http://example.org)", []),
        ("[1](http://example.org/(a) 'Hours') [3]", [3]),
        ("[1](http://exam", []),
        ("![1](plan.png)", []),
        ("[see [1]](http://example.org)", []),
        ("[hours][1]", []),
        ("[1] (see below)", [1]),
        ("[1](see page three)", [1]),
        ("https://example.org/x[1]", []),
        ("https://example.org/x [1]", [1]),
        # definitions
        ("Nine [1].\n\n[1]: http://example.org\n[2]: Fees", [1]),
        ("> [1]: Hours", []),
        ("[^1]: Hours", []),
        ("[^1]", []),
        # indexes
        ("a[1]", []),
        ("a[1].", []),
        ("rows[1] = 5", []),
        ("rows[1].name", []),
        ("my_rows[1][2]", []),
        ("m[0][1]", []),
        ("rows()[1]", []),
    ],
)
def test_what_only_looks_like_a_marker(text: str, passages: list[int]) -> None:
    """Brackets that mean something else in Markdown or code cite nothing; those beside them do."""
    assert cited(text, 3) == passages


def test_without_passages_nothing_is_cited() -> None:
    """An answer cannot cite what was not given."""
    assert cited("[1]", 0) == []
    assert cited("[10] [11]", 10) == [10]


PIECES = ["[", "]", "(", ")", "`", "```", "~~~", "\n", " ", "1", "2", "9", ",", "-", ":", "a", "é"]
PIECES += ["【", "】", "^", "\\", "<", ">", "http://", "[1]", "\r", "\0", ".", "_", '"', "中"]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join), st.integers(-1, 12))
def test_any_text_is_read(text: str, count: int) -> None:
    """No text is an error, and only passages that were given are cited, each once."""
    found = cited(text, count)
    assert all(1 <= number <= count for number in found)
    assert len(set(found)) == len(found)


@given(st.lists(st.integers(0, 15)), st.sampled_from([" ", "", ", ", ".\n", " and "]))
def test_markers_in_plain_text_are_all_found(numbers: list[int], between: str) -> None:
    """The citations are the markers' numbers within range, by first appearance."""
    text = between.join(f"[{number}]" for number in numbers)
    if between or 0 not in numbers:
        assert cited(text, 9) == list(dict.fromkeys(n for n in numbers if 1 <= n <= 9))


@given(st.text(alphabet=st.characters(exclude_characters="`")), st.integers(1, 3))
def test_nothing_in_code_is_cited(code: str, number: int) -> None:
    """Between the lines of a code block there are no citations, and after it there are again."""
    text = f"```\n{code} [1] {code}\n```\n[{number}]"
    assert cited(text, 3) == [number]
    if not re.search(r"\n\s*\n", code):
        assert cited(f"`{code[:900]}[1]`", 3) == []
