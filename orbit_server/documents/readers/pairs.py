"""Question/answer pairs in JSON and CSV, which stay whole whatever their length."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UnreadableDocument
from ..cleaning import clean, one_line
from ..model import Chunk, Scalar
from .pair_text import plain

_KEYS = ("question", "answer")


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A question, its answer, and the author's own fields beside them."""

    question: str
    answer: str
    extras: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Mapping[str, Any], name: str) -> "QuestionAnswer | str":
        """Return the pair that ``entry`` is, or what is wrong with it, by ``name``."""
        texts = []
        for key in _KEYS:
            value = entry.get(key)
            texts.append(plain(value) if isinstance(value, str) else "")
            if not texts[-1]:
                return f'{name} has no text as "{key}".'
        extras = {key: value for key, value in entry.items() if key not in _KEYS}
        return cls(one_line(texts[0]), texts[1], extras)


def read_json(text: str) -> Iterator[QuestionAnswer | str]:
    """Yield the pairs of a JSON list; of an entry that is none, what is wrong with it.

    Raises ``UnreadableDocument`` where it is no such list.
    """
    expected = 'a list of objects with "question" and "answer"'
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableDocument(
            f"The file is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    if not isinstance(entries, list):
        raise UnreadableDocument(f"The JSON is not {expected}.")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            yield f"Entry [{index}] is not an object; expected is {expected}."
        else:
            yield QuestionAnswer.of(entry, f"Entry [{index}]")


def read_csv(text: str) -> Iterator[QuestionAnswer | str]:
    """Yield the pairs of a CSV file; of a row that is none, what is wrong with it.

    Raises ``UnreadableDocument`` where the header or the quoting is wrong.
    """
    try:
        delimiter, columns = _header(text)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        next(rows)
        for row in rows:
            name = f"The row that ends in line {rows.line_num}"
            if any(cell.strip() for cell in row[len(columns) :]):
                yield f"{name} has more cells than the header."
            elif cells := {
                name: cell for name, cell in zip(columns, row, strict=False) if cell.strip()
            }:
                yield QuestionAnswer.of(cells, name)
    except csv.Error as error:
        raise UnreadableDocument(f"The file is not valid CSV: {error}.") from error


def _header(text: str) -> tuple[str, list[str]]:
    for delimiter in ",;\t":
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        columns = [
            one_line(name) or f"column {number}" for number, name in enumerate(names, start=1)
        ]
        columns = [name.lower() if name.lower() in _KEYS else name for name in columns]
        if all(key in columns for key in _KEYS):
            return delimiter, columns
    raise UnreadableDocument("The CSV has no header with the columns question and answer.")


def chunks(pairs: Iterable[QuestionAnswer | str], source: str) -> tuple[list[Chunk], Sequence[str]]:
    """Return one chunk a pair, and what is wrong with the others.

    The question is embedded, everything else is kept beside it. Raises ``UnreadableDocument`` when
    there is no pair.
    """
    made: list[Chunk] = []
    problems: list[str] = []
    for position, pair in enumerate(pairs):
        if isinstance(pair, str):
            problems.append(pair)
            continue
        metadata: dict[str, Scalar] = {
            "source": source,
            "title": pair.question,
            "position": position,
            "question": pair.question,
            "answer": pair.answer,
        }
        for key, value in pair.extras.items():
            if value is not None:
                name = one_line(key)
                reserved = name.startswith(("chroma:", "$"))
                while name in metadata or name in ("", "heading") or reserved:
                    name, reserved = f"extra_{name}", False
                metadata[name] = _scalar(value)
        made.append(Chunk.of(pair.question, pair.answer, metadata))
    if not made:
        raise UnreadableDocument(*problems[:1] or ["The file holds no question/answer pairs."])
    return made, problems


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return clean(json.dumps(value, ensure_ascii=False))
