"""Answers that somebody wrote to questions that found none: pairs of a source of their own."""

import hashlib
from collections.abc import Sequence

from .cleaning import clean, one_line
from .model import Chunk

ANSWERS = "answers"
"""The source of these pairs. No file is called so: one that can be read has an ending."""


def answer_pairs(questions: Sequence[str], answer: str) -> list[Chunk]:
    """Return the pairs of ``answer`` with each wording of its question.

    The id follows from the question: another answer to it replaces the one before.
    """
    pairs = []
    for question in dict.fromkeys(map(one_line, questions)):
        metadata: dict[str, str | int | float | bool] = {
            "source": ANSWERS,
            "title": question,
            "position": 0,
            "question": question,
            "answer": clean(answer),
        }
        id = hashlib.sha256(f"{ANSWERS}\n{question}".encode()).hexdigest()[:32]
        pairs.append(Chunk(id, question, clean(answer), metadata))
    return pairs
