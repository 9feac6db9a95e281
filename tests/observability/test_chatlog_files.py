"""The files of the chat log: who they are, how old, and what is left of a killed process."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from orbit_server.observability.chatlog import ChatLog
from orbit_server.observability.chatlog_files import (
    ends_torn,
    expired_files,
    file_path,
    log_files,
    split_torn,
)

pytestmark = pytest.mark.anyio


def day_of_log(folder: Path, day: date, written: date | None = None) -> Path:
    """Write a file of ``day``, last written on ``written``."""
    path = file_path(folder, day.isoformat())
    path.write_text("{}\n")
    moment = datetime.combine(written or day, datetime.min.time(), UTC) + timedelta(hours=12)
    os.utime(path, (moment.timestamp(), moment.timestamp()))
    return path


def test_files_are_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    """By day, then by part as a number; other files, and no folder at all, are no chat log."""
    names = ["chat-2026-02-28.log", "chat-2026-03-01.log"]
    names += [f"chat-2026-03-01.{part}.log" for part in (1, 2, 10)]
    for name in [*reversed(names), "chat-notes.log", "rejected.log", "chat-2026-03-01.log.gz"]:
        (tmp_path / name).touch()
    assert [file.path.name for file in log_files(tmp_path)] == names
    assert [file_path(tmp_path, file.day, file.part) for file in log_files(tmp_path)] == [
        tmp_path / name for name in names
    ]
    assert log_files(tmp_path / "nowhere") == []


def test_old_files_expire(tmp_path: Path) -> None:
    """More than the retention ago, where every day was logged."""
    today = date(2026, 3, 31)
    for before in range(1, 31):
        day_of_log(tmp_path, today - timedelta(days=before))
    expired = expired_files(tmp_path, today, 14)
    assert [path.name for path in expired] == [f"chat-2026-03-{day:02}.log" for day in range(1, 17)]


def test_a_clock_that_is_ahead_makes_nothing_old(tmp_path: Path) -> None:
    """On the first day after a jump, the days that were logged are as young as before."""
    today = date(2026, 3, 31)
    for before in range(1, 14):
        day_of_log(tmp_path, today - timedelta(days=before))
    assert expired_files(tmp_path, today + timedelta(days=20), 14) == []
    day_of_log(tmp_path, today + timedelta(days=20))
    assert expired_files(tmp_path, today + timedelta(days=20), 14) == []


def test_a_file_newer_than_its_name_is_not_old(tmp_path: Path) -> None:
    """What was written to lately stays, whatever day a wrong clock has put into its name."""
    today = date(2026, 3, 31)
    day_of_log(tmp_path, today - timedelta(days=1))
    late = day_of_log(tmp_path, date(2020, 1, 1), written=today - timedelta(days=3))
    old = day_of_log(tmp_path, date(2020, 1, 2))
    assert expired_files(tmp_path, today, 14) == [old]
    assert late.exists()


async def test_the_chat_log_survives_a_clock_that_jumps_and_returns(tmp_path: Path) -> None:
    """A server whose clock is 20 days ahead for some hours deletes none of the current log."""
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    for before in range(1, 14):
        day_of_log(tmp_path, now.date() - timedelta(days=before))
    earlier = {file.path for file in log_files(tmp_path)}
    async with ChatLog(tmp_path, max_wait=30, retention_days=14, now=lambda: now) as log:
        for days in (0, 20, 0, -20, 1):
            now += timedelta(days=days)
            await log.write("exchange", query="q")
    assert earlier <= {file.path for file in log_files(tmp_path)}


def test_a_torn_line_and_what_follows_it(tmp_path: Path) -> None:
    """A record behind the half line of a killed process is found; quoted starts are not."""
    torn = b'{"timestamp":"2026-03-01","query":"say {\\"timestamp\\"'
    record = b'{"timestamp":"2026-03-01","id":"1"}\n'
    assert list(split_torn(record)) == [(b"", record)]
    assert list(split_torn(torn + record)) == [(b"", torn + record), (torn, record)]
    path = tmp_path / "chat-2026-03-01.log"
    for content, expected in ((b"", False), (record, False), (record + torn, True)):
        path.write_bytes(content)
        with path.open("rb") as file:
            assert ends_torn(file.fileno()) is expected
