"""``orbit questions``: what was asked, as tables, CSV and JSON, from files and elsewhere."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from orbit_server.cli.questions.command import beginning
from orbit_server.config.loader import load
from orbit_server.observability import build_shipper
from tests.support.elasticsearch_standin import ElasticsearchStandIn
from tests.support.ollama_standin import OllamaStandIn
from tests.support.program import command, configure

from .conftest import EVIL, FORMULA, RECORDS, line, write_log

pytestmark = [pytest.mark.anyio, pytest.mark.process]


async def test_tables(town: Path) -> None:
    """Counts, gaps with other wordings in their row, ratings, and what was used and never."""
    result = await command(town, "questions", "--collection", "town")
    assert result.code == 0
    out = result.out
    assert "8 questions to 'town' since" in out
    assert [" ".join(each.split()) for each in out.splitlines()[1:6]] == [
        "answered 1 12 %",
        "found nothing 6 75 %",
        "refused by the safety check 1 12 %",
        "failed 0 0 %",
        "left before the end 0 0 %",
    ]
    assert "rated up, down" in out and " 0, 1" in out
    gaps = result.cells[:4]
    assert [row[0] for row in gaps] == ["3", "1", "1", "1"]
    assert gaps[0][2:] == [
        "0.20",
        "Where can I charge my car?  (+1 in other words)",
        "town.md",
    ]
    assert "It <b>opens</b> at ten." in out
    assert "Never used: unused.txt" in out
    assert "Small talk, not counted: 1." in result.err
    assert not set("\x1b\x07") & set(out)


async def test_since(town: Path) -> None:
    """Older questions count when they are asked for; a time that is none is refused."""
    questions = ["questions", "--collection", "town", "--json", "--since"]
    counts = []
    for since in ("60d", "30d", "36h", "1w", "2020-01-01"):
        result = await command(town, *questions, since)
        counts.append(json.loads(result.out)["counts"]["questions"])
    assert counts == [9, 8, 3, 8, 9]
    wrong = await command(town, *questions, "yesterday")
    assert (wrong.code, "30d, 12h, 2w, or a date" in wrong.err) == (2, True)


@pytest.mark.parametrize("text", ["", "d", "-1d", "9" * 30 + "d", "30", "²d", "2026-13-01"])
def test_times_that_are_none(text: str) -> None:
    """They are a wrong call, not a traceback."""
    with pytest.raises(typer.BadParameter):
        beginning(text, datetime.now(UTC))


def test_the_beginning() -> None:
    """Days and the like before now, or a date in UTC."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert beginning("2w", now) == now - timedelta(days=14)
    assert beginning("2026-02-01", now) == datetime(2026, 2, 1, tzinfo=UTC)
    assert beginning("2026-02-01T00:00+01:00", now) == datetime(2026, 1, 31, 23, tzinfo=UTC)


async def test_csv(town: Path) -> None:
    """A row a group; what a table program would compute is text."""
    result = await command(town, "questions", "--collection", "town", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["count"] for row in rows] == ["3", "1", "1", "1"]
    assert rows[0]["wordings"] == "charge my car where"
    assert {row["answer"] for row in rows} == {""}
    assert f"'{FORMULA}" in {row["question"] for row in rows}
    assert "\x1b" not in result.out


async def test_json(town: Path) -> None:
    """All of it, as the log has it."""
    result = await command(town, "questions", "--collection", "town", "--json")
    made = json.loads(result.out)
    assert made["gaps"][0]["count"] == 3
    assert EVIL in {gap["question"] for gap in made["gaps"]}
    assert made["rated_down"][0]["question"] == "When does the library open?"
    assert (made["used"], made["unused"]) == ({"town.md": 1}, ["unused.txt"])


async def test_damaged_lines_are_said(town: Path) -> None:
    """They are counted, and the rest is read."""
    day = RECORDS[0]["timestamp"][:10]
    with (town / "logs" / f"chat-{day}.log").open("a") as file:
        file.write('{"timestamp": torn\n')
    result = await command(town, "questions", "--collection", "town")
    assert "8 questions" in result.out
    assert "1 damaged line of the log was left out." in result.err


async def test_nothing_asked_and_nothing_there(town: Path) -> None:
    """Without a log there were no questions; without the collection there is a sentence."""
    for path in (town / "logs").iterdir():
        path.unlink()
    result = await command(town, "questions", "--collection", "town")
    assert "0 questions" in result.out and "Every question found something." in result.out
    missing = await command(town, "questions", "--collection", "twon")
    assert (missing.code, "There are: town." in missing.sentence) == (1, True)
    (town / "logs" / f"chat-{RECORDS[0]['timestamp'][:10]}.log").mkdir(parents=True)
    unreadable = await command(town, "questions", "--collection", "town")
    assert "the chat log cannot be read" in unreadable.sentence


async def test_from_elasticsearch(town: Path) -> None:
    """What all hosts have sent is the same report, read a page at a time."""
    from_files = await command(town, "questions", "--collection", "town", "--json")
    write_log(town, [line(f"Number {number}?", collection="other") for number in range(700)])
    async with ElasticsearchStandIn() as elasticsearch:
        checkpoint = str(town / "checkpoint")
        there = {"enabled": True, "node": elasticsearch.url, "checkpoint": checkpoint}
        configure(town, elasticsearch=there)
        config = load(town / "config.yaml")
        shipper = build_shipper(config.elasticsearch, str(town / "logs"))
        assert (await shipper.ship_once()).documents == len(RECORDS) + 700
        ask = ["questions", "--json", "--from", "elasticsearch", "--collection"]
        made = json.loads((await command(town, *ask, "town")).out)
        expected = json.loads(from_files.out)
        for report in (made, expected):
            del report["since"], report["until"]
        assert made == expected
        await command(town, "ingest", "town.md", "--collection", "other")
        other = json.loads((await command(town, *ask, "other")).out)
        assert other["counts"]["questions"] == 700
        pages = [each for each in elasticsearch.requests if each.path.endswith("/_search")]
        assert sum(b"search_after" in each.body for each in pages) == 1
        elasticsearch.denied.add("read")
        refused = await command(town, *ask, "town")
        assert (refused.code, "cannot be read" in refused.sentence) == (1, True)


async def test_elasticsearch_must_be_configured(town: Path) -> None:
    """Asked for where there is none, it says which setting is missing."""
    result = await command(town, "questions", "--collection", "town", "--from", "elasticsearch")
    assert (result.code, "elasticsearch.enabled" in result.sentence) == (1, True)


async def test_the_embedder_is_asked_in_batches(tmp_path: Path, town: Path) -> None:
    """Where a model embeds, it embeds the questions, not one a request; nobody else is asked."""
    write_log(town, [line(f"What is number {number}?") for number in range(300)])
    async with OllamaStandIn() as ollama:
        ollama.models["embedder:latest"] = ["embedding"]
        configure(
            town,
            embedding={"provider": "ollama", "batch_size": 64},
            ollama={"base_url": ollama.url, "embed_model": "embedder"},
            chroma={"path": "other"},
            retrieval={"path": "words"},
        )
        assert (await command(town, "ingest", "town.md", "--collection", "town")).code == 0
        before = len(ollama.bodies("/api/embed"))
        result = await command(town, "questions", "--collection", "town", "--json")
        assert json.loads(result.out)["counts"]["questions"] == 308
        assert len(ollama.bodies("/api/embed")) - before < 15
        assert ollama.bodies("/api/chat") == []
