"""A small town with a chat log: what people asked, and what of it found nothing."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import command, configure
from tests.support.town import write_town

NOW = datetime.now(UTC)
POOL = {"id": "2", "source": "town.md", "score": 0.5, "relevance": 0.1}
EVIL = "<script>alert(1)</script>\x1b[2J where is the mayor"
FORMULA = "=HYPERLINK(mayor)"


def line(query: str, *, days: float = 1, kind: str = "exchange", **more: Any) -> dict[str, Any]:
    """Return the record of a question that found nothing, some days ago."""
    time = (NOW - timedelta(days=days)).isoformat(timespec="milliseconds")
    return {
        "timestamp": time.replace("+00:00", "Z"),
        "id": f"{query}-{days}-{kind}",
        "kind": kind,
        "collection": "town",
        "query": query,
        "response": "Nothing was found.",
        "outcome": "completed",
        "result": "not_found",
        "blocked": False,
        "sources": [],
        "considered": [POOL],
        **more,
    }


RECORDS = [
    line("Where can I charge my car?", days=3),
    line("charge my car where", days=2, considered=[POOL | {"relevance": 0.2}]),
    line("Where can I charge my car?"),
    line("Is there a zoo?", days=5),
    line("Is there a zoo?", days=40),
    line(EVIL, days=2.5),
    line(FORMULA, days=2.6),
    line(
        "When does the library open?",
        result="found",
        answer_id="a",
        sources=[POOL],
        considered=[POOL | {"relevance": 1.5}],
    ),
    line("Hello!", result="small_talk", considered=[]),
    line("bad words", result="refused", blocked=True, considered=[]),
    {
        **{name: line("-", kind="feedback")[name] for name in ("timestamp", "id", "kind")},
        "collection": "town",
        "answer_id": "a",
        "rating": -1,
        "comment": "It <b>opens</b> at ten.",
    },
]


def write_log(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Add records to the chat log of the day that is theirs."""
    (folder / "logs").mkdir(exist_ok=True)
    for record in records:
        path = folder / "logs" / f"chat-{record['timestamp'][:10]}.log"
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")


@pytest.fixture
async def town(tmp_path: Path) -> Path:
    """A folder with a loaded collection and the chat log of ``RECORDS``."""
    configure(tmp_path)
    write_town(tmp_path)
    (tmp_path / "unused.txt").write_text("Nobody asks for this.")
    loaded = await command(tmp_path, "ingest", "town.md", "unused.txt", "--collection", "town")
    assert loaded.code == 0
    write_log(tmp_path, RECORDS)
    return tmp_path
