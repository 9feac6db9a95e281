"""The chat log: a line for every exchange, whatever else happens to the disk."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import orjson
import pytest

from orbit_server.observability.chatlog import ChatLog
from orbit_server.observability.redaction import redactor

from ..support.server import lexical, running

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
DAY = "2026-03-01"


def lines(folder: Path, day: str = DAY) -> list[dict[str, Any]]:
    """Return the records of one day's file; every line must be one."""
    data = (folder / f"chat-{day}.log").read_bytes()
    assert data.endswith(b"\n")
    return [orjson.loads(line) for line in data.splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def record(number: int = 0, *, day: str = DAY, **more: Any) -> dict[str, Any]:
    """Return a record of ``day``: a timestamp in a record is kept."""
    return {"timestamp": f"{day}T12:00:00.000Z", "number": number, **more}


async def test_a_record_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    """The line can be read the moment ``write`` is done, in today's file, with its time first."""
    before = datetime.now(UTC)
    async with ChatLog(tmp_path / "logs", max_wait=30) as log:
        await log.write("exchange", query="q", response="a\nb")
        [path] = (tmp_path / "logs").iterdir()
        [written] = map(orjson.loads, path.read_bytes().splitlines())
    assert list(written) == ["timestamp", "id", "kind", "query", "response"]
    assert before.replace(microsecond=0) <= datetime.fromisoformat(written["timestamp"])
    assert path.name == f"chat-{written['timestamp'][:10]}.log"
    assert written["timestamp"].endswith("Z")


async def test_text_is_kept_exactly(tmp_path: Path) -> None:
    """Line breaks of all kinds, controls and other scripts come back as they were."""
    text = "a\r\nb\u2028c\x00d\u0085 “ö” \U0001f9ea</script>"
    async with ChatLog(tmp_path, max_wait=30) as log:
        await log.write("exchange", **record(query=text, deep={"list": [text]}))
        await log.write("exchange", **record(query="half a pair: \ud83d"))
    first, second = lines(tmp_path)
    assert (first["query"], first["deep"]["list"]) == (text, [text])
    assert second["query"] == "half a pair: ?"


async def test_each_day_has_its_file(tmp_path: Path) -> None:
    """A record goes to the file of its own day, also when an earlier day comes late."""
    async with ChatLog(tmp_path, max_wait=30) as log:
        for number, day in enumerate(["2026-03-01", "2026-03-02", "2026-03-01", "2026-03-02"]):
            await log.write("exchange", **record(number, day=day))
    assert [line["number"] for line in lines(tmp_path, "2026-03-01")] == [0, 2]
    assert [line["number"] for line in lines(tmp_path, "2026-03-02")] == [1, 3]


async def test_a_torn_line_is_closed(tmp_path: Path) -> None:
    """What a process left half-written stays a line of its own; the next one is whole."""
    path = tmp_path / f"chat-{DAY}.log"
    path.write_bytes(b'{"number": 1}\n{"number": 2, "resp')
    async with ChatLog(tmp_path, max_wait=30) as log:
        await log.write("exchange", **record(3))
        await log.write("exchange", **record(4))
    torn = path.read_bytes().splitlines()
    assert torn[:2] == [b'{"number": 1}', b'{"number": 2, "resp']
    assert [orjson.loads(line)["number"] for line in torn[2:]] == [3, 4]


async def test_the_log_is_not_for_everybody(tmp_path: Path) -> None:
    """Others on the machine cannot read what was asked."""
    async with ChatLog(tmp_path, max_wait=30) as log:
        await log.write("exchange", **record())
    assert (tmp_path / f"chat-{DAY}.log").stat().st_mode & 0o007 == 0


WRITER = """
import asyncio, sys
from pathlib import Path
from orbit_server.observability.chatlog import ChatLog
from orbit_server.observability.redaction import redactor

async def write(folder, writer):
    async with ChatLog(folder) as log:
        for number in range(500):
            record = {"timestamp": "2026-03-01T12:00:00.000Z", "writer": writer, "number": number}
            await log.write("exchange", **record, response="word " * (number % 200))

asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    """Four processes write 500 lines each to one file, and every line is whole."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(writer)], cwd=ROOT)
        for writer in range(4)
    ]
    assert [process.wait(60) for process in writers] == [0] * 4
    written = lines(tmp_path)
    for writer in range(4):
        own = [line["number"] for line in written if line["writer"] == writer]
        assert own == list(range(500))
    assert len(written) == 2000


async def test_leaving_writes_what_is_queued(tmp_path: Path) -> None:
    """A hundred records handed over without waiting are all in the file at the end."""
    async with ChatLog(tmp_path, max_wait=0) as log:
        await asyncio.gather(*(log.write("exchange", **record(number)) for number in range(100)))
    assert [line["number"] for line in lines(tmp_path)] == list(range(100))


async def test_a_full_disk_loses_lines_and_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed write is counted and said, raises nothing, and the next write tries anew."""
    path = tmp_path / f"chat-{DAY}.log"
    path.symlink_to("/dev/full")
    async with ChatLog(tmp_path, max_wait=30) as log:
        await log.write("exchange", **record(1))
        await log.write("exchange", **record(2))
        assert log.lost == 2
        path.unlink()
        await log.write("exchange", **record(3))
        assert log.lost == 2
    assert [line["number"] for line in lines(tmp_path)] == [3]
    assert "2 lines were lost" in caplog.text


async def test_a_record_that_is_no_json_harms_no_other(tmp_path: Path) -> None:
    """A record that cannot be written down is lost alone."""
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    async with ChatLog(tmp_path, max_wait=30) as log:
        await log.write("exchange", **record(1, **circle))
        await log.write("exchange", **record(2))
        assert log.lost == 1
    assert [line["number"] for line in lines(tmp_path)] == [2]


async def test_a_folder_that_cannot_be_made_does_not_stop_the_chat(tmp_path: Path) -> None:
    """Where the log folder should be stands a file: questions are answered, losses counted."""
    (tmp_path / "logs").write_text("not a folder")
    async with running(lexical(tmp_path)) as server, aiohttp.ClientSession() as http:
        await server.pairs("town", {"When does the library open?": "At nine."})
        key = await server.key("town")
        for body in ({"message": "library open?"}, {"message": "library?", "stream": False}):
            async with http.post(f"{server.url}/chat", json=body, headers=key) as response:
                assert response.status == 200
                assert "nine." in await response.text()
        assert server.services.chatlog.lost == 3  # the record of the start too


async def test_a_full_file_goes_on_in_the_next(tmp_path: Path) -> None:
    """At the size limit the day goes on in .1, .2 …; a second writer joins where the first is."""
    async with (
        ChatLog(tmp_path, max_wait=30, max_bytes=2000) as log,
        ChatLog(tmp_path, max_wait=30, max_bytes=2000) as other,
    ):
        for number in range(30):
            await (log if number % 2 else other).write("exchange", **record(number, text="x" * 300))
    files = contents(tmp_path)
    assert len(files) > 3
    assert {f"chat-{DAY}.log", f"chat-{DAY}.1.log", f"chat-{DAY}.2.log"} <= set(files)
    assert all(len(data) < 3000 for data in files.values())
    numbers = [
        orjson.loads(line)["number"] for data in files.values() for line in data.splitlines()
    ]
    assert sorted(numbers) == list(range(30))


async def test_old_files_go_by_the_date_in_their_name(tmp_path: Path) -> None:
    """Only chat logs older than the retention go, and none that is still to be shipped."""
    for name in (
        "chat-2026-02-01.log",
        "chat-2026-02-01.1.log",
        "chat-2026-02-02.log",
        "chat-2026-02-15.log",
        "server.log",
        "chat-notes.log",
    ):
        (tmp_path / name).write_text("{}\n")
    kept = tmp_path / "chat-2026-02-02.log"
    async with ChatLog(
        tmp_path, max_wait=30, retention_days=14, keep=lambda path: path == kept
    ) as log:
        await log.write("exchange", **record())
    assert set(contents(tmp_path)) == {
        "chat-2026-02-02.log",
        "chat-2026-02-15.log",
        "server.log",
        "chat-notes.log",
        f"chat-{DAY}.log",
    }


async def test_the_day_begins_where_the_operator_lives(tmp_path: Path) -> None:
    """The file is that of the local day; the time in it is UTC."""
    vienna = ZoneInfo("Europe/Vienna")
    async with ChatLog(tmp_path, max_wait=30, timezone=vienna) as log:
        await log.write("exchange", timestamp="2026-03-01T23:30:00.000Z")
    [line] = lines(tmp_path, "2026-03-02")
    assert line["timestamp"] == "2026-03-01T23:30:00.000Z"


async def test_a_removed_file_is_made_anew(tmp_path: Path) -> None:
    """Whoever deletes today's file loses what was in it and nothing after."""
    async with ChatLog(tmp_path, max_wait=30) as log:
        await log.write("exchange", **record(1))
        (tmp_path / f"chat-{DAY}.log").unlink()
        await log.write("exchange", **record(2))
    assert [line["number"] for line in lines(tmp_path)] == [2]


async def test_personal_data_is_redacted_before_it_is_written(tmp_path: Path) -> None:
    """Redaction reaches question and answer, and nothing else."""
    async with ChatLog(tmp_path, max_wait=30, redact=redactor(["email"])) as log:
        await log.write(
            "exchange", **record(query="I am a@b.example", response="Hello a@b.example", id="a@b.c")
        )
    [line] = lines(tmp_path)
    assert (line["query"], line["response"]) == ("I am [email]", "Hello [email]")
    assert line["id"] == "a@b.c"


async def test_midnight_passes(tmp_path: Path) -> None:
    """A server that runs over midnight goes on in the new day's file."""
    clock = iter(
        [datetime(2026, 3, 1, 23, 59, 59, 999_000, UTC), datetime(2026, 3, 2, 0, 0, 0, 0, UTC)]
    )
    async with ChatLog(tmp_path, max_wait=30, now=lambda: next(clock)) as log:
        await log.write("exchange", number=1)
        await log.write("exchange", number=2)
    assert [line["number"] for line in lines(tmp_path, "2026-03-01")] == [1]
    assert [line["number"] for line in lines(tmp_path, "2026-03-02")] == [2]
