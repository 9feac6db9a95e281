"""``orbit questions --review``: answers are stored and found, what is ignored stays away."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Result, command, environment, server

from .conftest import EVIL, NOW, line, write_log

pytestmark = [pytest.mark.anyio, pytest.mark.process]

CAR = "Where can I charge my car?"
ANSWER = "Behind the town hall,\nat two columns."


async def review(folder: Path, *typed: str, **more: Any) -> Result:
    """Review the gaps of the town, with these lines typed."""
    lines = "".join(f"{each}\n" for each in typed)
    return await command(
        folder, "questions", "--collection", "town", "--review", typed=lines, **more
    )


async def gaps(folder: Path) -> list[str]:
    """Return the questions that are still open."""
    result = await command(folder, "questions", "--collection", "town", "--json")
    return [gap["question"] for gap in json.loads(result.out)["gaps"]]


async def test_an_answer_is_found_at_once(town: Path) -> None:
    """In other words too, and in several lines; its question does not come again."""
    result = await review(town, "a", *ANSWER.splitlines(), "", "s", "q")
    assert result.code == 0
    assert f"1 of 4: {CAR}" in result.out
    assert "also: charge my car where" in result.out
    assert "asked 3 times" in result.out and "nearest: town.md, 0.20" in result.out
    assert "the question finds it" in result.err
    assert "1 of 4 done." in result.err
    for question in (CAR, "charge my car where"):
        asked = await command(town, "ask", "--collection", "town", question)
        assert "Behind the town hall" in asked.out, question
    assert len(await gaps(town)) == 3
    # Another wording of it is known by its company.
    write_log(town, [line("where can my car charge", days=1.5)])
    assert len(await gaps(town)) == 3


async def test_an_answer_that_does_not_help_comes_again(town: Path) -> None:
    """Asked after it was answered and found nothing, a question is open again, and its next
    answer takes the place of the first.
    """
    await review(town, "a", "At the old mill.", "", "q")
    later = datetime.now(UTC) + timedelta(milliseconds=2)  # the log tells no shorter time apart
    write_log(town, [line(CAR, days=(NOW - later) / timedelta(days=1))])
    assert (await gaps(town))[0] == CAR
    await review(town, "a", "Behind the town hall.", "", "q")
    shown = await command(town, "collections", "show", "town")
    assert ["answers", "2"] in shown.cells
    asked = await command(town, "ask", "--collection", "town", CAR)
    assert "Behind the town hall" in asked.out and "old mill" not in asked.out


async def test_a_running_server_answers_it(town: Path) -> None:
    """It holds the collection, takes the answer, and gives it to the next who asks."""
    async with server(town):
        result = await review(town, "a", "Behind the town hall.", "", "q")
        assert (result.code, "the question finds it" in result.err) == (0, True)
        asked = await command(town, "ask", "--collection", "town", CAR)
        assert "Behind the town hall." in asked.out


async def test_ignored_questions_stay_away(town: Path) -> None:
    """Also in the report, which says so."""
    result = await review(town, "i", "nonsense", "i", "", "s", "i")
    assert result.code == 0
    assert "3 of 4 done." in result.err
    assert len(await gaps(town)) == 1
    report = await command(town, "questions", "--collection", "town")
    assert "3 groups that were answered or ignored are not shown." in report.err
    kept = (town / "logs" / "questions-reviewed.jsonl").read_text().splitlines()
    assert [json.loads(each)["decision"] for each in kept] == ["ignored"] * 4


async def test_export(town: Path) -> None:
    """Each is added at once; with its answer filled in, the file is loaded as it is."""
    result = await review(town, "e", "s", "s", "e")
    assert "Added to questions-town.csv." in result.err
    with (town / "questions-town.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["question"] for row in rows] == [CAR, (await gaps(town))[3]]
    text = (town / "questions-town.csv").read_text()
    (town / "filled.csv").write_text(text.replace(f"{CAR},,", f"{CAR},Behind the town hall.,"))
    await command(town, "ingest", "filled.csv", "--collection", "town")
    asked = await command(town, "ask", "--collection", "town", CAR)
    assert "Behind the town hall." in asked.out


async def test_the_end_of_the_input_ends_it(town: Path) -> None:
    """Also in the middle of an answer, which is stored if there is any."""
    assert (await review(town)).code == 0
    assert len(await gaps(town)) == 4
    assert "No answer: skipped." in (await review(town, "a")).err
    await review(town, "a", "Behind the town hall.")
    assert len(await gaps(town)) == 3


async def test_strangers_cannot_steer_the_terminal(town: Path) -> None:
    """What they wrote is shown without anything that a terminal obeys."""
    result = await review(town, "s", "s", "s", "s")
    assert EVIL.replace("\x1b", "\ufffd") in result.out
    assert "\x1b" not in result.out + result.err


async def test_nothing_to_review(town: Path) -> None:
    """It says so, and asks nothing."""
    await review(town, "i", "i", "i", "i")
    result = await review(town)
    assert result.out == ""
    assert "Nothing to review" in result.err


def reviewing(folder: Path, terminal: int) -> subprocess.Popen[bytes]:
    """Start the review in a process of its own, on a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "orbit_server", "questions", "--collection", "town", "--review"],
        cwd=folder,
        env=environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )


async def test_ctrl_c_keeps_what_was_done(town: Path) -> None:
    """On a terminal, in the middle of an answer: what was decided before is written."""
    ours, theirs = pty.openpty()
    process = reviewing(town, theirs)
    os.close(theirs)
    try:
        shown = b""

        def until(text: bytes) -> None:
            nonlocal shown
            while text not in shown:
                shown += os.read(ours, 4096)
            shown = shown.split(text, 1)[1]

        until(b"[q]uit: ")
        os.write(ours, b"i\n")
        until(b"[q]uit: ")
        os.write(ours, b"a\n")
        until(b"> ")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert CAR not in await gaps(town)
    assert len(await gaps(town)) == 3
