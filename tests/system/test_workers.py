"""The server as one process and as several: signals, deaths, and what is left behind."""

import asyncio
import fcntl
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from orbit_server.retrieval.chroma.lock import holder
from orbit_server.server.http_protocol import ARRIVAL_SECONDS
from orbit_server.server.signals import ECHO_SECONDS

from ..support.certificates import Authority
from ..support.ollama_standin import Hang, OllamaStandIn
from ..support.ports import free_port
from ..support.processes import (
    QUESTION,
    SENTENCE,
    Streams,
    chroma,
    descendants,
    exists,
    gone,
    refused,
    served_by,
    stopped_listening,
    workers,
)
from ..support.program import (
    ROOT,
    Server,
    answering,
    command,
    configure,
    environment,
    server,
    start,
)
from ..support.server import ADMIN_TOKEN, records_in
from ..support.timing import until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, as Linux has it"),
]

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
REPLY = ["The", " library", " opens", " at", " nine."]
TOWN = "# Library\n\nThe library opens at nine and lends books, films and games.\n"

each_number = pytest.mark.parametrize("number", [1, 4], ids=["one process", "four workers"])


@dataclass
class Set:
    """A server with the town's documents, the Ollama that words its answers, and a key."""

    server: Server
    ollama: OllamaStandIn
    headers: dict[str, str]

    def streams(self) -> Streams:
        return Streams(self.server, self.headers)

    def exchanges(self) -> list[dict[str, Any]]:
        records = records_in(self.server.folder / "logs")
        return [record for record in records if record["kind"] == "exchange"]

    async def ask(self, http: aiohttp.ClientSession, question: str = QUESTION) -> dict[str, Any]:
        """Ask once, without a stream; the status is added to the reply."""
        body = {"message": question, "stream": False}
        url = f"{self.server.url}/chat"
        async with http.post(url, json=body, headers=self.headers) as response:
            return {**await response.json(), "status": response.status}


@asynccontextmanager
async def set_up(folder: Path, number: int, **sections: Any) -> AsyncIterator[Set]:
    """Run a server with ``number`` workers on a folder with the town's documents."""
    async with OllamaStandIn() as ollama:
        ollama.reply = REPLY
        settings = {
            "ollama": {"base_url": ollama.url, "concurrency": 0},
            "answer": {"provider": "ollama"},
            "general": {"drain_seconds": 30},
            **sections,
        }
        configure(folder, **settings)
        (folder / "town.md").write_text(TOWN)
        assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
        made = await command(folder, "keys", "create", "--collection", "town", "--name", "Ann")
        headers = {"X-API-Key": made.out.split()[-1]}
        async with server(folder, f"--workers={number}") as running:
            if number > 1:
                await all_answer(running)
            yield Set(running, ollama, headers)


async def all_answer(running: Server) -> None:
    """Wait until the parent has said that all workers are there."""
    async with asyncio.timeout(60):
        while "workers\n" not in running.log:
            assert running.process.poll() is None, running.log
            await asyncio.sleep(0.05)


# -- SIGTERM ----------------------------------------------------------------------------------


@each_number
async def test_a_stop_gives_every_reader_an_end(tmp_path: Path, number: int) -> None:
    """Fifty streams at SIGTERM: whole, or with the sentence and its code; all are in the log."""
    async with set_up(tmp_path, number, general={"drain_seconds": 6}) as town:
        before = descendants(town.server.process.pid)
        town.ollama.piece_delay = 0.4
        streams = town.streams()
        await streams.open(25)
        town.ollama.fault = Hang(after=2)
        await streams.open(25)
        await stopped_listening(town.server)
        assert town.server.process.poll() is None
        endings = await streams.ended()
        assert await asyncio.to_thread(town.server.process.wait, 30) == 0
        await gone(before)
        assert holder(tmp_path / "data" / "chroma") is None
    found = Counter(endings)
    assert found == {"whole": 25, "shutting_down": 25}
    for stream in streams.all:
        text = "".join(REPLY)
        if stream.ending == "shutting_down":
            text = f"{''.join(REPLY[:2])}\n\n{SENTENCE}"
        assert stream.text == text
    logged = Counter(record["error"] or "whole" for record in town.exchanges())
    assert logged == found
    assert "Traceback" not in town.server.log


@each_number
async def test_who_has_just_come_may_still_ask(tmp_path: Path, number: int) -> None:
    """A connection made before the stop, a question right after it: the whole, slow answer."""
    for attempt in range(10):
        (folder := tmp_path / str(attempt)).mkdir()
        answer, in_time = await answer_after_a_stop(folder, number)
        if in_time or answer:  # else the test was too slow to ask: the machine is busy
            break
    assert b'"finish_reason":"stop"' in answer


async def answer_after_a_stop(folder: Path, number: int) -> tuple[bytes, bool]:
    """Return what comes for a question on a connection of before, and whether it was soon."""
    async with set_up(folder, number) as town:
        town.ollama.piece_delay = 1.5
        port = int(town.server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ours = writer.get_extra_info("sockname")[1]
        serving = workers(town.server) or [town.server.process.pid]
        await until(lambda: any(ours in served_by(pid) for pid in serving), timeout=60)
        began = time.monotonic()
        await stopped_listening(town.server)
        body = b'{"message": "When does the library open?"}'
        head = (
            "POST /chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"X-API-Key: {town.headers['X-API-Key']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        in_time = time.monotonic() - began < ARRIVAL_SECONDS
        answer = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(60):
                answer = await reader.read()
        writer.close()
        assert await asyncio.to_thread(town.server.process.wait, 30) == 0
    return answer, in_time


@each_number
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: int) -> None:
    """Exit 128 + SIGTERM within seconds; readers are told, and nothing is missing in the log."""
    async with set_up(tmp_path, number) as town:
        before = descendants(town.server.process.pid)
        town.ollama.fault = Hang(after=2)
        streams = town.streams()
        await streams.open(6)
        await stopped_listening(town.server)
        await asyncio.sleep(2 * ECHO_SECONDS)  # sooner, it would be taken for the same signal
        assert town.server.process.poll() is None
        assert await town.server.ended(signal.SIGTERM) == 128 + signal.SIGTERM
        assert await streams.ended() == ["shutting_down"] * 6
        await gone(before)
    assert [record["error"] for record in town.exchanges()] == ["shutting_down"] * 6


async def test_a_signal_to_all_processes_is_one(tmp_path: Path) -> None:
    """Ctrl-C reaches parent and workers at once: answers finish all the same."""
    async with set_up(tmp_path, 2) as town:
        town.ollama.piece_delay = 0.3
        streams = town.streams()
        await streams.open(6)
        for pid in (*workers(town.server), town.server.process.pid):
            os.kill(pid, signal.SIGINT)
        assert await streams.ended() == ["whole"] * 6
        assert await asyncio.to_thread(town.server.process.wait, 30) == 0


@pytest.mark.parametrize("number", [1, 2])
async def test_a_stop_while_it_starts(tmp_path: Path, number: int) -> None:
    """SIGTERM before the server answers: it ends, with its word kept to itself."""
    configure(tmp_path)
    process = start(tmp_path, f"--port={free_port()}", f"--workers={number}")
    try:
        async with asyncio.timeout(60):
            while not (tmp_path / "data" / "chroma" / "orbit.lock").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        below = descendants(process.pid)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) in (0, -signal.SIGTERM)
        await gone(below)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (tmp_path / "console").read_text()
    assert holder(tmp_path / "data" / "chroma") is None


async def test_silent_tls_clients_hold_up_nobody(tmp_path: Path) -> None:
    """A stop does not wait for the farewell of clients that are gone; handshakes take seconds."""
    port = free_port()
    Authority().issue(1).write(tmp_path / "cert.pem", tmp_path / "key.pem")
    configure(tmp_path, general={"https": {"enabled": True, "port": port}})
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    process = start(tmp_path, "--host=127.0.0.1")
    running = Server(f"https://127.0.0.1:{port}", tmp_path, process)
    try:
        await said(running, "answers at", 1)
        with closing(socket.create_connection(("127.0.0.1", port))) as dumb:
            silent = await asyncio.to_thread(
                lambda: trust.wrap_socket(socket.create_connection(("127.0.0.1", port)))
            )
            dumb.settimeout(30)
            assert await asyncio.to_thread(dumb.recv, 1) == b"", "a handshake took for ever"
        with closing(silent):
            began = time.monotonic()
            assert await running.ended() == 0
            assert time.monotonic() - began < 25, "a stop waited for a client that is gone"
        assert "timeout graceful shutdown" not in running.log
    finally:
        process.kill()
        process.wait()


# -- deaths -----------------------------------------------------------------------------------


async def test_a_killed_worker_takes_only_its_own_streams(tmp_path: Path) -> None:
    """Its readers see a cut, the others their whole answer; the next one takes its place."""
    async with set_up(tmp_path, 4) as town:
        town.ollama.piece_delay = 0.5
        streams = town.streams()
        await streams.open(40)
        held = {pid: served_by(pid) for pid in workers(town.server)}
        victim = max(held, key=lambda pid: len(held[pid]))
        assert held[victim]
        os.kill(victim, signal.SIGKILL)
        endings = await streams.ended()
        for stream, ending in zip(streams.all, endings, strict=True):
            assert ending == ("cut" if stream.port in held[victim] else "whole")
        assert Counter(endings)["whole"] > 0
        await said(town.server, "is started again", 1)
        assert f"({victim}) ended with -9" in town.server.log
        town.ollama.piece_delay = 0
        successor = (set(workers(town.server)) - set(held)).pop()
        async with asyncio.timeout(30):
            while not await answered_by(town, successor):
                pass
        assert await town.server.ended() == 0
    whole = [record for record in town.exchanges() if record["outcome"] == "completed"]
    assert len(whole) >= Counter(endings)["whole"]


async def answered_by(town: Set, pid: int) -> bool:
    """Ask on a new connection; tell whether the process ``pid`` held it."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{town.server.url}/health/live") as response:
            assert response.status == 200
            connection = response.connection
        del connection
        ports = served_by(pid)
        assert (await town.ask(http))["status"] == 200
        return bool(ports | served_by(pid))


@pytest.mark.parametrize("name", ["parent", "chroma"])
async def test_nothing_outlives_a_killed_parent(tmp_path: Path, name: str) -> None:
    """After SIGKILL workers and Chroma end, readers are told, and the folder is free again.

    Chroma, killed instead, is started again on the same folder and the answers go on.
    """
    async with set_up(tmp_path, 2) as town, aiohttp.ClientSession() as http:
        assert (await town.ask(http))["status"] == 200
        before = descendants(town.server.process.pid)
        if name == "parent":
            town.ollama.fault = Hang(after=2)
            streams = town.streams()
            await streams.open(4)
            town.server.process.kill()
            assert await streams.ended() == ["shutting_down"] * 4
            await gone(before)
            assert await refused(town.server.url)
            assert holder(tmp_path / "data" / "chroma") is None
            assert (await command(tmp_path, "collections", "list")).code == 0
            return
        os.kill(victim := chroma(town.server), signal.SIGKILL)
        await gone([victim])
        async with asyncio.timeout(30):
            while (await town.ask(http))["status"] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert chroma(town.server) != victim
        assert "Chroma ended with -9 and is started again" in town.server.log
        assert await town.server.ended() == 0


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """One that says nothing any more is killed after a while; here it is stopped, like a hang."""
    impatient = tmp_path / "impatient.py"
    impatient.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from orbit_server.config import load\n"
        "from orbit_server.observability import logging\n"
        "from orbit_server.server.worker import run_workers\n"
        "if __name__ == '__main__':\n"
        "    port = {'general.port': int(sys.argv[2])}\n"
        "    logging.configure(config := load(overrides=port))\n"
        "    sys.exit(run_workers(config, 2, None, port, silence_seconds=3.0))\n"
    )
    configure(tmp_path)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, impatient, ROOT, str(port)),
        cwd=tmp_path,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(60):
            assert b"2 workers" in await process.stdout.readline()
            below = descendants(process.pid)
            victim = next(pid for pid, line in below.items() if "spawn_main" in line)
            os.kill(victim, signal.SIGSTOP)
            while b"does not answer and is killed" not in await process.stderr.readline():
                pass
        await gone([victim])
        process.terminate()
        await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# -- one set of data ---------------------------------------------------------------------------


async def test_workers_share_what_one_of_them_stores(tmp_path: Path) -> None:
    """Four workers answer from the same data, also while one of them loads more and drops some."""
    async with set_up(tmp_path, 4, answer={"provider": "extractive"}) as town:
        before = descendants(town.server.process.pid)
        assert holder(tmp_path / "data" / "chroma") == {
            "pid": town.server.process.pid,
            "address": town.server.url,
        }
        answered = 0

        async def keep_asking() -> None:
            nonlocal answered
            while True:
                async with aiohttp.ClientSession() as http:  # a new connection each time
                    reply = await town.ask(http)
                assert reply["status"] == 200 and "opens at nine" in reply["response"], reply
                answered += 1

        clients = [asyncio.create_task(keep_asking()) for _ in range(4)]
        (tmp_path / "more").mkdir()
        for part in range(20):
            words = "\n\n".join(f"Rule {part}-{n}: keep gate {part}-{n} shut." for n in range(20))
            (tmp_path / "more" / f"{part}.md").write_text(f"# Gates {part}\n\n{words}\n")
        loaded = await command(tmp_path, "ingest", "more", "--collection", "town")
        assert loaded.code == 0, loaded.err
        async with asyncio.timeout(60):
            while answered < 40:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for client in clients:
            client.cancel()
        for result in await asyncio.gather(*clients, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result
        for _ in range(12):
            async with aiohttp.ClientSession() as http:
                reply = await town.ask(http, "Which gate does rule 19-7 keep shut?")
                assert "19-7" in reply["response"], reply
        # Dropped and made anew by one worker, it is another collection for all of them.
        assert (await command(tmp_path, "collections", "delete", "town", "--yes")).code == 0
        (tmp_path / "town.md").write_text("# Library\n\nThe library opens at noon.\n")
        loaded = await command(tmp_path, "ingest", "town.md", "--collection", "town")
        assert loaded.code == 0, loaded.err
        for _ in range(12):
            async with aiohttp.ClientSession() as http:
                assert "noon" in (await town.ask(http))["response"]
        assert await town.server.ended() == 0
        await gone(before)
        assert "Traceback" not in town.server.log


async def test_chroma_of_the_workers_knows_no_secrets(tmp_path: Path) -> None:
    """It has a session and a folder of its own, hardly any environment, and listens to loopback."""
    (tmp_path / ".env").write_text("ALLOW_RESET=true\nCHROMA_SERVER_HOST=0.0.0.0\n")
    async with set_up(tmp_path, 2) as town:
        pid = chroma(town.server)
        seen = proc(pid)
        assert ADMIN_TOKEN not in seen["environ"] and "ALLOW_RESET" not in seen["environ"]
        assert os.getsid(pid) == pid != os.getsid(town.server.process.pid)
        assert seen["cwd"] == str(tmp_path / "data" / "chroma")
        port = int(seen["cmdline"].split("\0")[-2])
        assert listening(pid, port) == ["0100007F"]
        async with aiohttp.ClientSession() as http:
            async with http.post(f"http://127.0.0.1:{port}/api/v2/reset") as response:
                assert response.status != 200
            assert (await town.ask(http))["status"] == 200


def proc(pid: int) -> dict[str, str]:
    """Return what the system tells of a process."""
    folder = Path(f"/proc/{pid}")
    files = {name: (folder / name).read_text() for name in ("environ", "cmdline")}
    return {**files, "cwd": str((folder / "cwd").resolve())}


def listening(pid: int, port: int) -> list[str]:
    """Return the addresses, in hexadecimal, at which somebody listens to ``port``."""
    lines = "".join(Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for line in lines.splitlines() if " 0A " in line]
    ends = [row[1].partition(":") for row in rows]
    return [address for address, _, number in ends if number == f"{port:04X}"]


# -- SIGHUP -----------------------------------------------------------------------------------


@each_number
async def test_a_hangup_takes_up_what_can_change(tmp_path: Path, number: int) -> None:
    """Prompt, blocklist, log level, in each process; streams go on; what cannot change is named."""
    (tmp_path / "blocked").write_text("gunpowder\n")
    sections = {
        "safety": {"mode": "fuzzy", "blocklist": "blocked", "model": "gemma3:4b"},
        "answer": {"provider": "ollama", "system_prompt": "Be brief."},
    }
    async with set_up(tmp_path, number, **sections) as town:
        town.ollama.reply = reply
        town.ollama.piece_delay = 0.4
        streams = town.streams()
        await streams.open(6)
        (tmp_path / "blocked").write_text("library\n")
        settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
        settings["answer"]["system_prompt"] = "Be long."
        settings["logging"] = {"level": "WARNING"}
        settings["chat"] = {"ping_seconds": 3}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        town.server.process.send_signal(signal.SIGHUP)
        await said(town.server, "which need a restart: chat.ping_seconds", number)
        assert await streams.ended() == ["whole"] * 6
        town.ollama.piece_delay = 0
        asked = len(town.ollama.bodies("/api/chat"))
        async with asyncio.timeout(60):
            await blocked_by_all(town, 8)
        assert len(town.ollama.bodies("/api/chat")) == asked
        quiet = len(town.server.log)
        (tmp_path / "blocked").write_text("gunpowder\n")
        town.server.process.send_signal(signal.SIGHUP)
        await said(town.server, "which need a restart: chat.ping_seconds", 2 * number)
        async with aiohttp.ClientSession() as http:
            assert (await town.ask(http))["response"] == "".join(REPLY)
        prompts = [body["messages"][0]["content"] for body in town.ollama.bodies("/api/chat")]
        assert any(prompt.startswith("Be long.") for prompt in prompts)
        assert "INFO" not in town.server.log[quiet:]
        assert await town.server.ended() == 0


async def blocked_by_all(town: Set, times: int) -> None:
    """Ask so often, each time on a new connection; no process lets the question through."""
    assert await all_block(town, times)


async def all_block(town: Set, times: int) -> bool:
    """Ask so often, each time on a new connection; tell whether each was blocked."""
    for _ in range(times):
        async with aiohttp.ClientSession() as http:
            if (await town.ask(http)).get("blocked") is not True:
                return False
    return True


def takes_hangups(pid: int) -> bool:
    """Tell whether SIGHUP does not end the process by itself: it is caught or ignored."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt", "SigIgn"))]
    return any(mask >> (signal.SIGHUP - 1) & 1 for mask in masks)


def reply(body: Any) -> list[str]:
    """Answer as the model does, and as a moderator who finds nothing."""
    return REPLY if body.get("stream") else ["SAFE: true"]


async def test_a_hangup_with_a_broken_configuration_changes_nothing(tmp_path: Path) -> None:
    """Every mistake is in the log, and the server goes on with what it has."""
    async with set_up(tmp_path, 1) as town, aiohttp.ClientSession() as http:
        (tmp_path / "config.yaml").write_text("general: {prot: 1}\nanswer: {system_prompt: [1]}\n")
        town.server.process.send_signal(signal.SIGHUP)
        await said(town.server, "not reloaded", 1)
        line = next(line for line in town.server.log.splitlines() if "not reloaded" in line)
        assert "config.yaml:1: general.prot: unknown key" in line
        assert "config.yaml:2: answer.system_prompt" in line
        assert (await town.ask(http))["status"] == 200
        assert await town.server.ended() == 0


@each_number
async def test_a_hangup_forgets_keys(tmp_path: Path, number: int) -> None:
    """A key that was switched off behind the server's back is refused at once."""
    async with set_up(tmp_path, number) as town, aiohttp.ClientSession() as http:
        assert (await town.ask(http))["status"] == 200
        key = town.headers["X-API-Key"]
        assert (await command(tmp_path, "keys", "deactivate", key)).code == 0
        town.server.process.send_signal(signal.SIGHUP)
        await said(town.server, "configuration reloaded", number)
        for _ in range(4 * number):
            async with aiohttp.ClientSession() as other:
                assert (await town.ask(other))["status"] == 401


async def said(running: Server, words: str, times: int) -> None:
    """Wait until the server's output holds ``words`` so many times."""
    async with asyncio.timeout(60):
        while running.log.count(words) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# -- what goes wrong at the wrong moment ------------------------------------------------------


async def test_a_parent_that_can_start_nothing_lives_on(tmp_path: Path) -> None:
    """No file descriptors, no place for Chroma's words: others answer, and later all is mended."""
    async with set_up(tmp_path, 3) as town:
        parent = town.server.process.pid
        town.ollama.piece_delay = 0.5
        streams = town.streams()
        await streams.open(12)
        held = {pid: served_by(pid) for pid in workers(town.server)}
        _, most = resource.prlimit(parent, resource.RLIMIT_NOFILE)
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (open_files(parent), most))
        victim = min(held, key=lambda pid: len(held[pid]))
        os.kill(victim, signal.SIGKILL)
        await said(town.server, "cannot be started", 1)
        endings = await streams.ended()
        for stream, ending in zip(streams.all, endings, strict=True):
            assert ending == ("cut" if stream.port in held[victim] else "whole")
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (most, most))
        await said(town.server, "is started again", 1)
        log = tmp_path / "logs" / "chroma.log"
        log.unlink()
        log.mkdir()
        os.kill(chroma(town.server), signal.SIGKILL)
        await said(town.server, "running without", 1)
        town.ollama.piece_delay = 0
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            while (await town.ask(http))["status"] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await town.server.ended() == 0


@each_number
async def test_the_last_of_many_hangups_counts(tmp_path: Path, number: int) -> None:
    """What is written while a reload is under way is used as well, by every process."""
    phrases = "".join(f"forbidden phrase number {each}\n" for each in range(3000))
    (tmp_path / "blocked").write_text(phrases)
    sections = {"safety": {"mode": "fuzzy", "blocklist": "blocked", "model": "gemma3:4b"}}
    async with set_up(tmp_path, number, **sections) as town:
        town.ollama.reply = reply
        for _ in range(3):
            (tmp_path / "blocked").write_text(phrases)
            town.server.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)
            (tmp_path / "blocked").write_text(f"{phrases}library\n")
            before = town.server.log.count("configuration reloaded")
            town.server.process.send_signal(signal.SIGHUP)
            await said(town.server, "configuration reloaded", before + number)
            async with asyncio.timeout(30):
                while not await all_block(town, 2 * number):
                    pass


async def test_a_hangup_reaches_a_worker_that_starts(tmp_path: Path) -> None:
    """It was given what held before; what was asked for meanwhile is taken up when it is ready."""
    (tmp_path / "blocked").write_text("gunpowder\n")
    sections = {"safety": {"mode": "fuzzy", "blocklist": "blocked", "model": "gemma3:4b"}}
    async with set_up(tmp_path, 2, **sections) as town:
        town.ollama.reply = reply
        os.kill(workers(town.server)[0], signal.SIGKILL)
        await said(town.server, "is started again", 1)
        (tmp_path / "blocked").write_text("library\n")
        town.server.process.send_signal(signal.SIGHUP)
        await said(town.server, "configuration reloaded", 2)
        await blocked_by_all(town, 12)


async def test_a_later_worker_gets_what_the_others_work_with(tmp_path: Path) -> None:
    """Files that were broken since, and refused by all, keep no worker from being replaced."""
    (tmp_path / "blocked").write_text("library\n")
    sections = {"safety": {"mode": "fuzzy", "blocklist": "blocked", "model": "gemma3:4b"}}
    async with set_up(tmp_path, 2, **sections) as town:
        (tmp_path / "blocked").write_text("/(/\n")
        (tmp_path / "config.yaml").write_text("nonsense: 1\n")
        town.server.process.send_signal(signal.SIGHUP)
        await said(town.server, "not reloaded", 2)
        before = workers(town.server)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await said(town.server, "is started again", 2)
        async with aiohttp.ClientSession() as http:
            assert (await town.ask(http))["blocked"] is True
        assert not set(before) & set(workers(town.server))
        assert await town.server.ended() == 0


async def test_a_later_worker_shows_the_old_certificate(tmp_path: Path) -> None:
    """A pair on disk that was refused keeps no worker from being replaced."""
    port, authority = free_port(), Authority()
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue(1).write(*files)
    configure(tmp_path, general={"https": {"enabled": True, "port": port}})
    process = start(tmp_path, "--host=127.0.0.1", "--workers=2")
    running = Server(f"https://localhost:{port}", tmp_path, process)
    try:
        await said(running, "2 workers", 1)
        authority.issue(2).write(*files)
        await said(running, "now serving a new certificate: serial 02", 2)
        files[1].write_text("no key")
        for times, pid in enumerate(workers(running), start=1):
            os.kill(pid, signal.SIGKILL)
            await said(running, "is started again", times)
        async with asyncio.timeout(60):
            for _ in range(6):
                _, writer = await asyncio.open_connection("localhost", port, ssl=authority.client())
                assert writer.get_extra_info("peercert")["serialNumber"] == "02"
                writer.transport.abort()
        assert await running.ended() == 0
    finally:
        process.kill()
        process.wait()


async def test_chroma_waits_for_nobody_when_its_parent_is_gone(tmp_path: Path) -> None:
    """Somebody owes it the rest of a request: it ends all the same."""
    async with set_up(tmp_path, 2) as town:
        port = int(proc(chroma(town.server))["cmdline"].split("\0")[-2])
        before = descendants(town.server.process.pid)
        with closing(socket.create_connection(("127.0.0.1", port))) as half:
            half.sendall(b"POST /api/v2/tenants HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")
            town.server.process.kill()
            await gone(before)
    # A process counts as gone when its first thread is; the last one closes the lock.
    await until(lambda: holder(tmp_path / "data" / "chroma") is None, timeout=60)


@each_number
async def test_a_hangup_never_ends_a_server(tmp_path: Path, number: int) -> None:
    """At any moment of its start and its end, also when it reaches all processes."""
    configure(tmp_path)
    process = start(tmp_path, f"--port={free_port()}", f"--workers={number}")
    running = Server("", tmp_path, process)
    try:
        await until(lambda: takes_hangups(process.pid), timeout=60)  # Python itself has to begin
        async with asyncio.timeout(60):
            while "answers at" not in running.log:
                for pid in (*descendants(process.pid), process.pid):
                    os.kill(pid, signal.SIGHUP)
                assert process.poll() is None, running.log
                await asyncio.sleep(0.05)
        process.terminate()
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.01)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in running.log


@each_number
async def test_it_ends_with_its_terminal(tmp_path: Path, number: int) -> None:
    """SIGHUP reloads it while the terminal is there; without it, answers finish and it ends."""
    async with set_up_on_terminal(tmp_path, number) as (process, terminal, running):
        process.send_signal(signal.SIGHUP)
        await said(running, "configuration reloaded", number)
        below = descendants(process.pid)
        os.close(terminal)
        assert await asyncio.to_thread(process.wait, 30) == 0
        await gone(below)
    assert holder(tmp_path / "data" / "chroma") is None
    assert "Traceback" not in running.log


async def test_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    """It goes on to answer, and to reload when it is asked to."""
    async with set_up_on_terminal(tmp_path, 1, "nohup") as (process, terminal, running):
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        await said(running, "configuration reloaded", 1)
        assert await running.ended() == 0


@asynccontextmanager
async def set_up_on_terminal(
    folder: Path, number: int, *before: str
) -> AsyncIterator[tuple[subprocess.Popen[bytes], int, Server]]:
    """Run a server on a terminal of its own, by ``before``; yield it with the terminal."""
    configure(folder)
    process, terminal = start_on_terminal(folder, *before, *server_command(number))
    running = Server("", folder, process)
    try:
        await said(running, "answers at", 1)
        yield process, terminal, running
    finally:
        process.kill()
        process.wait()


def server_command(number: int) -> list[str]:
    """Return the command line of a server on a free loopback port."""
    options = ["--host=127.0.0.1", f"--port={free_port()}", f"--workers={number}"]
    return [sys.executable, str(ROOT / "run.py"), *options]


def start_on_terminal(folder: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a program in ``folder`` on a terminal of its own; return it and the terminal."""
    terminal, inside = os.openpty()
    with (folder / "console").open("ab") as console:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=environment() | {"PYTHONUNBUFFERED": "1"},
            stdin=inside,
            stdout=console,
            stderr=console,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(inside)
    return process, terminal


async def test_signals_without_end_are_two(tmp_path: Path) -> None:
    """Ctrl-C held down stops a server at once, like a second one."""
    async with set_up(tmp_path, 1) as town:
        town.ollama.fault = Hang(after=2)
        streams = town.streams()
        await streams.open(2)
        async with asyncio.timeout(20):
            while town.server.process.poll() is None:
                town.server.process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.03)
        assert town.server.process.returncode == 128 + signal.SIGINT
        assert await streams.ended() == ["shutting_down"] * 2


async def test_ignored_children_are_noticed(tmp_path: Path) -> None:
    """A wrapper that ignores the end of children passes that on; workers are replaced still."""
    configure(tmp_path)
    process = start_by_shell(tmp_path, 'trap "" CHLD', f"--port={free_port()}", "--workers=2")
    running = Server("", tmp_path, process)
    try:
        await said(running, "2 workers", 1)
        os.kill(workers(running)[0], signal.SIGKILL)
        await said(running, "is started again", 1)
        assert await running.ended() == 0
    finally:
        process.kill()
        process.wait()


async def test_a_worker_killed_at_the_first_start_is_a_sentence(tmp_path: Path) -> None:
    """Whoever started the server learns why it is not there, and the code is 1.

    What the worker was to be given is more than a pipe holds: its parent must not wait for it.
    """
    phrases = "".join(f"a rather long forbidden phrase, number {n}\n" for n in range(6000))
    (tmp_path / "blocked").write_text(phrases)
    configure(tmp_path, safety={"mode": "fuzzy", "blocklist": "blocked"})
    process = start(tmp_path, f"--port={free_port()}", "--workers=2")
    running = Server("", tmp_path, process)
    try:
        async with asyncio.timeout(60):
            while not (found := workers(running)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        assert await asyncio.to_thread(process.wait, 30) == 1
    finally:
        process.kill()
        process.wait()
    assert "worker 1" in running.log and "ended with -9" in running.log


async def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    """When all answers are made, what a client does not take is dropped after seconds."""
    async with set_up(tmp_path, 1, general={"drain_seconds": 2}) as town:
        town.ollama.reply = ["x" * 40_000] * 400
        body = b'{"message": "When does the library open?"}'
        with closing(socket.socket()) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", int(town.server.url.rpartition(":")[2])))
            head = (
                "POST /chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"X-API-Key: {town.headers['X-API-Key']}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            deaf.sendall(head.encode() + body)
            await town.ollama.until(lambda: bool(town.ollama.bodies("/api/chat")))
            began = time.monotonic()
            assert await town.server.ended() == 0
            assert time.monotonic() - began < 20
    assert "Traceback" not in town.server.log


def start_by_shell(folder: Path, before: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start ``run.py`` by a shell that does ``before`` first."""
    script = f"{before}; exec {sys.executable} {ROOT}/run.py {' '.join(arguments)}"
    variables = environment() | {"PYTHONUNBUFFERED": "1"}
    with (folder / "console").open("ab") as console:
        return subprocess.Popen(
            ["sh", "-c", script], cwd=folder, env=variables, stdout=console, stderr=console
        )


def open_files(pid: int) -> int:
    """Return one more than the highest file descriptor of a process."""
    return max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1


# -- systemd ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
async def test_the_service_manager_is_told(tmp_path: Path, number: int) -> None:
    """READY when all answer, WATCHDOG while they do, STOPPING at the end; from one process only."""
    configure(tmp_path)
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.settimeout(60)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "500000"}
        process = start(tmp_path, f"--port={port}", f"--workers={number}", variables=variables)

        def heard() -> str:
            data, credentials, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(12))
            pid = int.from_bytes(credentials[0][2][:4], "little")
            assert pid == process.pid
            return data.decode()

        try:
            assert await asyncio.to_thread(heard) == "READY=1"
            assert len(workers(Server("", tmp_path, process))) == (number if number > 1 else 0)
            await answering(Server(f"http://127.0.0.1:{port}", tmp_path, process))
            for _ in range(3):
                assert await asyncio.to_thread(heard) == "WATCHDOG=1"
            process.terminate()
            words = []
            while "STOPPING=1" not in words:
                words.append(await asyncio.to_thread(heard))
            assert set(words) <= {"WATCHDOG=1", "STOPPING=1"}
            assert await asyncio.to_thread(process.wait, 30) == 0
        finally:
            process.kill()
            process.wait()


async def test_a_worker_that_cannot_start_says_why_once(tmp_path: Path) -> None:
    """A database that cannot be opened: exit 1, one sentence, and nobody is left."""
    (tmp_path / "orbit.db").write_text("this is no database, and it is long enough to be read")
    configure(tmp_path, database={"url": f"sqlite+aiosqlite:///{tmp_path}/orbit.db"})
    process = start(tmp_path, f"--port={free_port()}", "--workers=3")
    assert await asyncio.to_thread(process.wait, 60) == 1
    said = (tmp_path / "console").read_text()
    assert said.count("orbit: ") == 1 and "database.url" in said
    assert "Traceback" not in said
    assert not exists(process.pid)
    assert holder(tmp_path / "data" / "chroma") is None
