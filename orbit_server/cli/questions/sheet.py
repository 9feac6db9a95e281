"""Questions that found nothing as CSV, for a table program or whoever writes the documents."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ...observability.questions.report import Gap
from ..console import on_one_line

_COLUMNS = ("question", "answer", "count", "last", "score", "source", "wordings")
# A table program would take what begins so for a formula and compute it: strangers wrote it.
_FORMULA = ("=", "+", "-", "@")


def write_gaps(file: TextIO, gaps: Sequence[Gap], *, head: bool = True) -> None:
    """Write a line a gap, below the names of the columns; the answer is left for the reader.

    With its answers filled in, ``orbit ingest`` loads the file as questions and answers.
    """
    writer = csv.writer(file, lineterminator="\n")
    if head:
        writer.writerow(_COLUMNS)
    for gap in gaps:
        score = "" if gap.score is None else f"{gap.score:.2f}"
        wordings = " | ".join(_cell(each) for each in gap.wordings)
        question, source = _cell(gap.question), _cell(gap.source or "")
        writer.writerow((question, "", gap.count, gap.last, score, source, wordings))


def append_gap(path: Path, gap: Gap) -> None:
    """Add one gap to the file at ``path``, which is made where there is none."""
    with path.open("a", encoding="utf-8", newline="") as file:
        write_gaps(file, [gap], head=file.tell() == 0)


def _cell(text: str) -> str:
    line = on_one_line(text, None)
    return f"'{line}" if line.startswith(_FORMULA) else line
