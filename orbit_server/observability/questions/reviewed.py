"""What was decided about questions that found nothing, so that nobody decides it again."""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

from ...config import make_private_folder

Decision = Literal["answered", "ignored"]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A question that was ignored, or answered at ``time``, as the log writes times."""

    collection: str
    text: str
    decision: Decision
    time: str

    def covers(self, last: str) -> bool:
        """Tell whether it settles a question that was asked at ``last`` and found nothing.

        An answer does not, where the question came again since and still found nothing.
        """
        return self.decision == "ignored" or last <= self.time


class ReviewedFile:
    """The decisions, a line each, in ``questions-reviewed.jsonl`` beside the chat log.

    It is of this host, and readable for the server's user alone, as the chat log is.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "questions-reviewed.jsonl"

    def of(self, collection: str) -> list[Reviewed]:
        """Return the decisions about the questions of a collection; of one text the latest."""
        found: dict[str, Reviewed] = {}
        with suppress(FileNotFoundError):
            for line in self.path.read_bytes().splitlines():
                with suppress(orjson.JSONDecodeError, TypeError):  # torn by a kill
                    reviewed = Reviewed(**orjson.loads(line))
                    if reviewed.collection == collection:
                        found[reviewed.text] = reviewed
        return list(found.values())

    def add(self, *reviewed: Reviewed) -> None:
        """Write decisions down. Raises ``OSError``."""
        make_private_folder(self.path.parent)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            os.write(file, b"".join(orjson.dumps(asdict(each)) + b"\n" for each in reviewed))
        finally:
            os.close(file)
