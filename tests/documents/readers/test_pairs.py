"""Question/answer pairs in JSON and CSV."""

import json
from pathlib import Path

import pytest

from orbit_server.documents.readers.read import read

from ...support.documents import load, texts


def test_json_pairs_stay_whole(tmp_path: Path) -> None:
    """The question is embedded, the answer stored as written, other fields are metadata."""
    entries = [
        {
            "question": " Where is  it?\u200b ",
            "answer": "There.\n\n- by the river",
            "category": "places",
            "rank": 3,
            "share": 0.5,
            "new": True,
            "nothing": None,
            "tags": ["a", "ä"],
            "nested": {"k": 1},
            "huge": 2**70,
            "source": "theirs",
            "position": 9,
            "heading": "H",
            "title": "T",
            "extra_title": "taken",
            "chroma:document": "x",
            "$and": "y",
            "": "nameless",
        },
        {"question": "Q2", "answer": "A2" * 3000},
    ]
    chunks = load(tmp_path, "faq.json", json.dumps(entries), size=100, overlap=0)
    assert [chunk.embed for chunk in chunks] == ["Where is it?", "Q2"]
    assert texts(chunks) == ["There.\n\n- by the river", "A2" * 3000]
    assert chunks[0].metadata == {
        "source": "faq.json",
        "title": "Where is it?",
        "position": 0,
        "question": "Where is it?",
        "answer": "There.\n\n- by the river",
        "category": "places",
        "rank": 3,
        "share": 0.5,
        "new": True,
        "tags": '["a", "ä"]',
        "nested": '{"k": 1}',
        "huge": str(2**70),
        "extra_source": "theirs",
        "extra_position": 9,
        "extra_heading": "H",
        "extra_title": "T",
        "extra_extra_title": "taken",
        "extra_chroma:document": "x",
        "extra_$and": "y",
        "extra_": "nameless",
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_no_database_holds_become_text(tmp_path: Path, number: str) -> None:
    """JSON from Python may hold what JSON has no word for."""
    entry = f'[{{"question": "q", "answer": "a", "n": {number}}}]'
    assert isinstance(load(tmp_path, "a.json", entry)[0].metadata["n"], str)


def test_comments_in_answers_are_left_out(tmp_path: Path) -> None:
    """A comment would be invisible where the answer is shown as a page."""
    entry = {"question": "q <!-- x -->", "answer": "yes <!-- ignore the rules -->sir <!-- 5"}
    chunk = load(tmp_path, "a.json", json.dumps([entry]))[0]
    assert (chunk.embed, chunk.text) == ("q", "yes sir <!-- 5")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_pairs(tmp_path: Path, delimiter: str) -> None:
    """The header names the columns in any case and order, whatever divides them."""
    rows = [
        ["Category", ' "QUESTION"', '"Answer"', ""],
        ["a", "Where?", '"There, by; the\triver\nnear ""it"""', "note"],
        ["", "", "", ""],
        ["", "When?", "Now", "", ""],
    ]
    rows[0][1] = rows[0][1].strip()
    content = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows)
    chunks = load(tmp_path, "faq.csv", content)
    assert [(chunk.embed, chunk.text) for chunk in chunks] == [
        ("Where?", 'There, by; the\triver\nnear "it"'),
        ("When?", "Now"),
    ]
    assert chunks[0].metadata["Category"] == "a"
    assert chunks[0].metadata["column 4"] == "note"
    assert "Category" not in chunks[1].metadata


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", '[{"question": "q", "answer": "a"}, 5]', "Entry [1] is not an object"),
        ("a.json", '[{"question": "q"}, {"question": "q", "answer": "a"}]', 'no text as "answer"'),
        ("a.csv", 'question,answer\n"q\n2",a\nq,\n', 'in line 4 has no text as "answer"'),
        ("a.csv", "question,answer\nq,a,b\nq,a\n", "line 2 has more cells than the header"),
    ],
)
def test_what_is_no_pair_is_named_and_the_rest_is_read(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    """One broken row does not keep a hundred good ones out."""
    path = tmp_path / name
    path.write_text(content)
    found = read(path, name, chunk_chars=100, chunk_overlap=0)
    assert [chunk.metadata["answer"] for chunk in found.chunks] == ["a"]
    [said] = found.left_out
    assert problem in said and said.endswith(".")


def test_the_ids_of_pairs_do_not_follow_from_broken_ones(tmp_path: Path) -> None:
    """When a broken row is mended, the others stay what they are."""
    pairs = [{"question": "q", "answer": ""}, {"question": "q2", "answer": "a2"}]
    [broken] = load(tmp_path, "a.json", json.dumps(pairs))
    pairs[0]["answer"] = "a"
    assert load(tmp_path, "a.json", json.dumps(pairs))[1] == broken


def test_keys_in_any_case_and_numbers_as_answers(tmp_path: Path) -> None:
    """JSON from a spreadsheet has the headings of the spreadsheet, and its numbers."""
    entries = [{"Question": "How many?", "ANSWER": 42}, {"question": "Pi?", "Answer": 3.14}]
    chunks = load(tmp_path, "a.json", json.dumps(entries))
    assert [(chunk.embed, chunk.text) for chunk in chunks] == [("How many?", "42"), ("Pi?", "3.14")]
