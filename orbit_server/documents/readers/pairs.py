"""Question/answer pairs in JSON and tables, which stay whole whatever their length."""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UnreadableDocument
from ..cleaning import clean, one_line
from ..model import OF_LOAD, Chunk, Scalar
from .delimited import Table
from .pair_text import plain

_KEYS = ("question", "answer")
# The headings that people give them. fmt: off
_NAMES = {
    "question": {
        "question",
        "questions",
        "frage",
        "fragen",
        "pregunta",
        "domanda",
        "pergunta",
        "vraag",
        "fråga",
        "spørgsmål",
        "spørsmål",
        "kysymys",
        "pytanie",
        "otázka",
        "kérdés",
        "întrebare",
        "soru",
        "вопрос",
        "питання",
        "ερώτηση",
        "سؤال",
        "السؤال",
        "שאלה",
        "问题",
        "問題",
        "质询",
        "質問",
        "質問文",
        "질문",
    },
    "answer": {
        "answer",
        "answers",
        "antwort",
        "antworten",
        "réponse",
        "reponse",
        "respuesta",
        "risposta",
        "resposta",
        "antwoord",
        "svar",
        "vastaus",
        "odpowiedź",
        "odpověď",
        "válasz",
        "răspuns",
        "cevap",
        "yanıt",
        "ответ",
        "відповідь",
        "απάντηση",
        "إجابة",
        "الإجابة",
        "جواب",
        "תשובה",
        "答案",
        "回答",
        "答え",
        "답변",
        "답",
    },
}
# fmt: on


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A question, its answer, and the author's own fields beside them."""

    question: str
    answer: str
    extras: Mapping[str, Any]

    @classmethod
    def of(
        cls, entry: Mapping[str, Any], name: str, question: str, answer: str
    ) -> "QuestionAnswer | str":
        """Return the pair that ``entry`` holds under these keys, or what is wrong, by ``name``."""
        texts = []
        for key in (question, answer):
            value = entry.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = str(value)
            texts.append(plain(value) if isinstance(value, str) else "")
            if not texts[-1]:
                return f'{name} has no text as "{key}".'
        extras = {key: value for key, value in entry.items() if key not in (question, answer)}
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
            yield f"Entry [{index}] is not an object; expected {expected}."
        else:
            names = [_column(list(entry), {key}, None) or key for key in _KEYS]
            yield QuestionAnswer.of(entry, f"Entry [{index}]", *names)


def pair_columns(
    columns: Sequence[str], question: str | None = None, answer: str | None = None
) -> tuple[str, str] | None:
    """Return which columns hold questions and answers, if any do.

    ``question`` and ``answer`` name them; case does not matter. Raises ``UnreadableDocument`` when
    a column of that name is missing.
    """
    found = [
        _column(columns, {each} if each else _NAMES[key], each)
        for key, each in zip(_KEYS, (question, answer), strict=True)
    ]
    return (found[0], found[1]) if found[0] and found[1] else None


def _column(columns: Sequence[str], names: Collection[str], wanted: str | None) -> str | None:
    known = {name.casefold() for name in names}
    column = next((each for each in columns if each.casefold() in known), None)
    if wanted and column is None:
        raise UnreadableDocument(
            f"There is no column {wanted!r}; the columns are {', '.join(columns)}."
        )
    return column


def of_tables(
    tables: Mapping[str, Table], question: str | None = None, answer: str | None = None
) -> Iterator[QuestionAnswer | str] | None:
    """Return the pairs that tables hold, ``None`` when no table has columns for them.

    Of a row that holds no pair, and of another table, it is said what is wrong. Raises as
    ``pair_columns`` does.
    """
    named = {name: pair_columns(table.columns, question, answer) for name, table in tables.items()}
    return _of_tables(tables, named) if any(named.values()) else None


def _of_tables(
    tables: Mapping[str, Table], named: Mapping[str, tuple[str, str] | None]
) -> Iterator[QuestionAnswer | str]:
    for name, table in tables.items():
        if (columns := named[name]) is None:
            yield f"Sheet {name} has no columns of questions and answers."
            continue
        for row in table.rows:
            yield row if isinstance(row, str) else QuestionAnswer.of(row.cells, row.name, *columns)


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
                reserved = name.startswith(("chroma:", "$", OF_LOAD))
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
