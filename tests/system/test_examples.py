"""The sample documents and the questions about them are what the demo and the figures rely on."""

import json
import re
from collections import Counter
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
QUESTIONS = ROOT / "tests" / "questions.json"
DOCUMENTS = ("building-in-town.md", "swimming-pool.md", "waste-and-recycling.md")
KINDS = {"qa": 40, "document": 20, "foreign": 20, "municipal": 20, "near_miss": 20}

Entry = dict[str, Any]


def load(path: Path) -> list[Entry]:
    """Return the list of objects in a JSON file."""
    entries: list[Entry] = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(entries, list)
    return entries


def sections(name: str) -> list[tuple[int, str, str]]:
    """Return (level, heading, text up to the next heading) for every heading of a Markdown file."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    parts = re.split(r"^(#{1,6}) (.+)$", text, flags=re.MULTILINE)
    assert parts[0].strip() == "", "text before the first heading"
    return [(len(parts[i]), parts[i + 1], parts[i + 2]) for i in range(1, len(parts), 3)]


def passages() -> dict[tuple[str, str], str]:
    """Return every passage of the samples by source and stored question or heading."""
    found = {("town-qa.json", pair["question"]): pair["answer"] for pair in PAIRS}
    for name in DOCUMENTS:
        found |= {(name, heading): text for _, heading, text in sections(name)}
    return found


def words(text: str) -> str:
    """Return a text without case, punctuation and spacing, to find doubles."""
    return " ".join(re.findall(r"\w+", text.lower()))


PAIRS = load(EXAMPLES / "town-qa.json")
ASKED = load(QUESTIONS)
ANSWERABLE = [entry for entry in ASKED if entry["answerable"]]


def test_examples_hold_nothing_else() -> None:
    """Everything in the folder is ingested by the demo, so nothing may lie about."""
    found = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*")}
    assert found == {"town-qa.json", *DOCUMENTS}


def test_there_are_some_sixty_pairs() -> None:
    """The list is about as long as the documentation says."""
    assert 55 <= len(PAIRS) <= 70


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["question"])
def test_pair_is_complete(pair: Entry) -> None:
    """Every pair has a question, an answer of one to four sentences, a category and a date."""
    assert set(pair) == {"question", "answer", "category", "updated"}
    assert all(isinstance(value, str) and value == value.strip() != "" for value in pair.values())
    assert pair["question"].endswith("?")
    assert pair["answer"].endswith(".")
    assert 1 <= len(re.split(r"(?<=[.!?]) ", pair["answer"])) <= 4
    assert date.fromisoformat(pair["updated"])


def test_no_pair_is_there_twice() -> None:
    """Neither a question nor an answer repeats another one."""
    for key in ("question", "answer"):
        counts = Counter(words(pair[key]) for pair in PAIRS)
        assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_has_structure(name: str) -> None:
    """Every document has one title, several levels without a gap, a list and one table."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    levels = [level for level, _, _ in sections(name)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert 3 <= len(set(levels)) <= 4
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(re.findall(r"^\| -", text, flags=re.MULTILINE)) == 1
    assert re.search(r"^(- |1\. )", text, flags=re.MULTILINE)
    assert 700 <= len(text.split()) <= 1300


def test_headings_name_one_place() -> None:
    """A heading occurs once in all documents, so that it says where a passage stands."""
    counts = Counter(words(heading) for name in DOCUMENTS for _, heading, _ in sections(name))
    assert [heading for heading, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", ["town-qa.json", *DOCUMENTS])
def test_contacts_are_invented(name: str) -> None:
    """Telephone numbers are of the range kept for fiction, and mail goes to example.org."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert all(number.startswith("555-01") for number in re.findall(r"\b\d{3}-\d{4}\b", text))
    assert set(re.findall(r"@([\w.-]*\w)", text)) <= {"example.org"}
    assert "://" not in text


def test_questions_are_half_answerable() -> None:
    """There are 120 questions, 60 of them with an answer, in the proportions of their kinds."""
    assert Counter(entry["kind"] for entry in ASKED) == KINDS
    assert len(ANSWERABLE) == len(ASKED) - len(ANSWERABLE) == 60


def test_no_question_is_asked_twice() -> None:
    """No question repeats another one, and none is a stored question word for word."""
    counts = Counter(words(text) for text in [entry["question"] for entry in ASKED + PAIRS])
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_passage_is_asked_for_twice() -> None:
    """Sixty questions are about sixty places."""
    counts = Counter((entry["source"], entry["matches"]) for entry in ANSWERABLE)
    assert [place for place, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("entry", ASKED, ids=lambda entry: entry["question"])
def test_question_is_complete(entry: Entry) -> None:
    """Every question has the six fields; those that point to an answer are empty without one."""
    pointers = {"source", "answer_contains", "matches"}
    assert set(entry) == {"question", "kind", "answerable"} | pointers
    assert entry["answerable"] is (entry["kind"] in {"qa", "document"})
    assert (entry["source"] == "town-qa.json") is (entry["kind"] == "qa")
    assert {key for key in pointers if entry[key]} == (pointers if entry["answerable"] else set())


@pytest.mark.parametrize("entry", ANSWERABLE, ids=lambda entry: entry["question"])
def test_answer_is_in_one_place(entry: Entry) -> None:
    """What the right passage must contain is in the named place and nowhere else."""
    places = [place for place, text in passages().items() if entry["answer_contains"] in text]
    assert places == [(entry["source"], entry["matches"])]
