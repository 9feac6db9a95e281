"""``orbit logs``: what an operator sees of the chat log, and sends on."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orbit_server.config.loader import load
from orbit_server.observability import build_shipper

from ..support.elasticsearch_standin import ElasticsearchStandIn, Refuse
from ..support.ports import free_port
from ..support.program import command, configure, environment

pytestmark = [pytest.mark.anyio, pytest.mark.process]


DAY = "2026-03-01"
TORN = f'{{"timestamp":"{DAY}T12:00:00.000Z","id":"torn","query":"half a que'


def record(number: int, **more: Any) -> str:
    """Return a line of the log."""
    fields = {"timestamp": f"{DAY}T12:00:{number:02}.000Z", "id": f"id-{number}"}
    usual = {"kind": "exchange", "outcome": "completed", "collection": "town"}
    usual |= {"query": f"question {number}?", "response": f"answer {number}"}
    return json.dumps({**fields, **usual, **more}) + "\n"


def write(folder: Path, *lines: str, name: str = f"chat-{DAY}.log") -> None:
    """Append lines to a file of the log in ``folder``."""
    (folder / "logs").mkdir(exist_ok=True)
    with (folder / "logs" / name).open("a") as file:
        file.write("".join(lines))


def elasticsearch(folder: Path, node: str, **more: Any) -> None:
    """Write a configuration that sends to ``node``."""
    configure(folder, elasticsearch={"enabled": True, "node": node, **more})


# -- tail ----------------------------------------------------------------------------------


async def test_tail_shows_the_latest(tmp_path: Path) -> None:
    """The last records of all kinds and files, a line each, in plain text."""
    configure(tmp_path)
    write(tmp_path, *(record(number) for number in range(5)), name="chat-2026-02-28.log")
    os.utime(tmp_path / "logs" / "chat-2026-02-28.log", (1, 1))
    write(
        tmp_path,
        record(6, query="two\nlines [bold]?", response="x" * 500),
        record(7, blocked=True),
        record(8, outcome="failed"),
        record(9, kind="error", code="model_unavailable", cause="it is gone"),
        record(10, kind="status", event="started"),
        record(11, kind="feedback", collection="town", rating=-1, comment="It closes at one."),
    )
    result = await command(tmp_path, "logs", "tail", "--no-follow", "-n", "7")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) == 7
    assert [line.split()[2] for line in lines] == [
        *("completed", "completed", "blocked", "failed", "error", "status", "rated")
    ]
    assert lines[0].startswith("2026-03-01 12:00:04  completed    town  question 4?  answer 4")
    assert "two lines [bold]?" in lines[1] and lines[1].endswith("…")
    assert "model_unavailable" in lines[4] and "it is gone" in lines[4]
    assert "event=started" in lines[5]
    assert lines[6].endswith("town  -1    It closes at one.")
    assert (await command(tmp_path, "logs", "tail", "--no-follow", "-n", "0")).out == ""


async def test_tail_shows_what_was_rated(tmp_path: Path) -> None:
    """The question, wherever in the files it is; a rating whose answer is gone is shown alone."""
    configure(tmp_path)
    write(
        tmp_path, record(1, answer_id="a", query="Is it\x1b[2J open?"), name="chat-2026-02-28.log"
    )
    os.utime(tmp_path / "logs" / "chat-2026-02-28.log", (1, 1))
    write(
        tmp_path,
        record(2, answer_id="b"),
        record(3, kind="feedback", answer_id="a", rating=-1, comment="No."),
        record(4, kind="feedback", answer_id="gone", rating=1, comment=None),
    )
    result = await command(tmp_path, "logs", "tail", "--no-follow", "-n", "2")
    down, up = result.out.splitlines()
    assert down.endswith("town  -1  Is it\ufffd[2J open?  No.")
    assert up.rstrip().endswith("town  +1")


async def test_tail_of_nothing(tmp_path: Path) -> None:
    """Before the first record there is nothing to show, and that is no failure."""
    configure(tmp_path)
    result = await command(tmp_path, "logs", "tail", "--no-follow")
    assert (result.code, result.out, result.err) == (0, "", "")


async def test_tail_survives_strange_lines(tmp_path: Path) -> None:
    """Torn lines are left out, and what another process wrote behind one is shown."""
    configure(tmp_path)
    write(tmp_path, TORN, "\n", '"no object"\n', "\n", TORN, record(1), TORN)
    result = await command(tmp_path, "logs", "tail", "--no-follow")
    assert result.code == 0
    [line] = result.out.splitlines()
    assert line.endswith("question 1?  answer 1")


async def test_tail_cannot_be_made_to_steer_the_terminal(tmp_path: Path) -> None:
    """A question with control characters does not reach the operator's terminal as such."""
    configure(tmp_path)
    write(tmp_path, record(1, query="\x1b[2J\x1b]0;owned\x07 \x9b2Jhello\u202e"))
    result = await command(tmp_path, "logs", "tail", "--no-follow")
    assert "hello" in result.out
    assert not set("\x1b\x07\x9b\u202e") & set(result.out)


async def test_tail_of_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A folder in the place of a file is a sentence, not a traceback."""
    configure(tmp_path)
    (tmp_path / "logs" / f"chat-{DAY}.log").mkdir(parents=True)
    result = await command(tmp_path, "logs", "tail", "--no-follow")
    assert (result.code, result.out) == (1, "")
    assert "the chat log cannot be read" in result.err


def tailing(folder: Path, stdout: int, **variables: str) -> subprocess.Popen[bytes]:
    """Start ``logs tail`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orbit_server", "logs", "tail"],
        cwd=folder,
        env=environment() | {"PYTHONUNBUFFERED": "1", **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def test_tail_follows(tmp_path: Path) -> None:
    """New records appear as they are written, in new files too, until Ctrl-C."""
    configure(tmp_path)
    write(tmp_path, record(1))
    process = tailing(tmp_path, subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().endswith(b"question 1?  answer 1\n")
        half, rest = record(2)[:40], record(2)[40:]
        write(tmp_path, half)
        write(tmp_path, record(3), name=f"chat-{DAY}.1.log")
        assert process.stdout.readline().endswith(b"question 3?  answer 3\n")
        write(tmp_path, rest)
        assert process.stdout.readline().endswith(b"question 2?  answer 2\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout.read() == b""
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_tail_is_coloured_on_terminals_only(tmp_path: Path) -> None:
    """Escape sequences go to a terminal, and never into a pipe."""
    configure(tmp_path)
    write(tmp_path, record(1))
    ours, theirs = pty.openpty()
    on_terminal = tailing(tmp_path, theirs, TERM="xterm-256color")
    in_pipe = tailing(tmp_path, subprocess.PIPE, TERM="xterm-256color")
    os.close(theirs)
    try:
        shown = b""
        while b"answer 1" not in shown:
            shown += os.read(ours, 4096)
        assert b"\x1b[32mcompleted" in shown  # green
        assert in_pipe.stdout is not None
        assert b"\x1b" not in in_pipe.stdout.readline()
    finally:
        for process in (on_terminal, in_pipe):
            process.kill()
            process.communicate()
        os.close(ours)


# -- status and ship -----------------------------------------------------------------------


async def test_ship_sends_all(tmp_path: Path) -> None:
    """What status says is to be sent, ship sends; then there is nothing left."""
    async with ElasticsearchStandIn() as elastic:
        elasticsearch(tmp_path, elastic.url)
        lines = [record(number) for number in range(7)]
        write(tmp_path, *lines, "not a record\n")
        size = sum(map(len, lines)) + 13
        result = await command(tmp_path, "logs", "status")
        assert (result.code, result.err) == (0, "")
        assert f"to be sent     8 lines, {size} bytes\n" in result.out

        result = await command(tmp_path, "logs", "ship")
        assert result.code == 0
        assert result.out == "7 records are in Elasticsearch now, 1 rejected.\n"
        assert set(elastic.ids()) == {f"id-{number}" for number in range(7)}

        result = await command(tmp_path, "logs", "status")
        assert result.out == (
            "Elasticsearch  enabled\nto be sent     0 lines, 0 bytes\n"
            "rejected       1 lines, in logs/rejected.log\n"
        )
        result = await command(tmp_path, "logs", "ship")
        assert (result.code, result.out.split()[0]) == (0, "0")


async def test_elasticsearch_is_away(tmp_path: Path) -> None:
    """Ship gives up with a sentence; status then says why, and what is still to be sent."""
    node = f"http://127.0.0.1:{free_port()}"
    elasticsearch(tmp_path, node)
    write(tmp_path, record(1))
    result = await command(tmp_path, "logs", "ship")
    assert (result.code, result.out) == (1, "")
    assert f"Elasticsearch at {node}: it cannot be reached" in result.err
    result = await command(tmp_path, "logs", "status")
    assert result.code == 0
    assert result.out.startswith("Elasticsearch  unavailable: it cannot be reached")
    assert f"to be sent     1 lines, {len(record(1))} bytes" in result.out


async def test_a_wrong_password(tmp_path: Path) -> None:
    """Ship says that it was refused, and does not say the password."""
    async with ElasticsearchStandIn() as elastic:
        elastic.users = {"orbit": "right"}
        elasticsearch(tmp_path, elastic.url, auth={"username": "orbit", "password": "wr0ng-Pa55"})
        write(tmp_path, record(1))
        result = await command(tmp_path, "logs", "ship")
        assert (result.code, result.out) == (1, "")
        assert "unable to authenticate" in result.err and "wr0ng-Pa55" not in result.err
        result = await command(tmp_path, "logs", "status")
        assert "unable to authenticate user [orbit] for REST request [/" in result.out
        assert "wr0ng-Pa55" not in result.out
        assert not elastic.ids()


async def test_ship_when_elasticsearch_goes_in_the_middle(tmp_path: Path) -> None:
    """Ship fails with a sentence; the next one sends what is missing, and nothing twice."""
    async with ElasticsearchStandIn() as elastic:
        elasticsearch(tmp_path, elastic.url, batch_size=2)
        write(tmp_path, *(record(number) for number in range(6)))
        elastic.fault = [None, *[Refuse(503, "unavailable_shards_exception", "gone")] * 3]
        result = await command(tmp_path, "logs", "ship")
        assert result.code == 1 and "gone" in result.err
        assert len(elastic.ids()) == 2
        result = await command(tmp_path, "logs", "ship")
        assert result.out == "4 records are in Elasticsearch now, 0 rejected.\n"
        assert len(elastic.ids()) == 6


async def test_another_process_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server sends already, ship says so and leaves it alone."""
    async with ElasticsearchStandIn() as elastic:
        elasticsearch(tmp_path, elastic.url)
        monkeypatch.chdir(tmp_path)
        config = load(tmp_path / "config.yaml")
        directory = config.logging.file.directory
        async with build_shipper(config.elasticsearch, directory) as server:
            async with asyncio.timeout(20):
                while not server.checkpoint.held:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            monkeypatch.undo()
            result = await command(tmp_path, "logs", "ship")
        assert (result.code, result.out) == (1, "")
        assert "a running server is already sending the chat log" in result.err


async def test_rejected_records_are_counted_and_sent_again(tmp_path: Path) -> None:
    """Status counts what was rejected; resend sends it once the reason is gone."""
    async with ElasticsearchStandIn() as elastic:
        elasticsearch(tmp_path, elastic.url)
        write(tmp_path, *(record(number) for number in range(4)), "torn\n")
        elastic.refuse = lambda identity, source: Refuse(400, "mapper_parsing_exception", "no text")
        result = await command(tmp_path, "logs", "ship")
        assert result.out == "0 records are in Elasticsearch now, 5 rejected.\n"
        status = await command(tmp_path, "logs", "status")
        reason = "mapper_parsing_exception: no text"
        assert f"unavailable: it rejects every record: {reason}" in " ".join(status.out.split())
        assert "rejected       5 lines, in logs/rejected.log" in status.out
        result = await command(tmp_path, "logs", "resend")
        assert (result.code, elastic.ids()) == (1, {})
        assert result.out == "0 records are in Elasticsearch now, 5 rejected again.\n"
        elastic.refuse = lambda identity, source: None
        result = await command(tmp_path, "logs", "resend")
        assert result.out == "4 records are in Elasticsearch now, 1 rejected again.\n"
        assert set(elastic.ids()) == {f"id-{number}" for number in range(4)}
        assert "rejected       1 lines" in (await command(tmp_path, "logs", "status")).out


@pytest.mark.parametrize("name", ["ship", "status", "resend"])
async def test_without_elasticsearch(tmp_path: Path, name: str) -> None:
    """What only makes sense with Elasticsearch says that it is switched off."""
    configure(tmp_path)
    result = await command(tmp_path, "logs", name)
    assert (result.code, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert "elasticsearch.enabled is false" in result.err
