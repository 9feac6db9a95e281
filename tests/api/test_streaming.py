"""Streams over real sockets: timing of head and pings, exact bytes, many at once, shutdown."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from orbit_server.answering import Pipeline
from orbit_server.llm import Ollama
from tests.support.chat_server import PAIRS, QUESTION, ChatServer, Reply
from tests.support.chat_server import town as open_town
from tests.support.ollama_standin import Hang, OllamaStandIn
from tests.support.ports import free_port, listens
from tests.support.server import ADMIN_TOKEN, configuration, records_in, running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


FORMATS = pytest.mark.parametrize("stream_format", ["delta", "cumulative"])
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """One server for the tests of this file, which opens heads early and pings every second."""
    folder = tmp_path_factory.mktemp("streaming")
    async with open_town(
        folder, chat__head_timeout=0.2, chat__ping_seconds=1, ollama__concurrency=0
    ) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own."""
    async with opened.with_ollama():
        yield opened


def read(reply: Reply, stream_format: str) -> str:
    """Return the answer by the rules of its format."""
    if stream_format == "delta":
        return reply.text
    said = [event["text"] for event in reply.events[:-1]]
    for earlier, later in pairwise(said):
        assert later.startswith(earlier)
        assert later != earlier
    return said[-1] if said else ""


# -- timing ----------------------------------------------------------------------------


@FORMATS
async def test_slow_model_gets_a_head_and_pings(town: ChatServer, stream_format: str) -> None:
    """Comments come with the head, then every second, before the first text and after it."""
    town.ollama.reply = ["At", " nine."]
    town.ollama.piece_delay = 2.5
    async with town.asking(stream_format=stream_format) as response:
        first = await response.content.readuntil(b"\n\n")
        assert first == b": ping\n\n"
        body = first + await response.read()
    reply = Reply(response.status, response.headers, body)
    before, after = body.split(b'data: {"text": "At", "done": false}\n\n')
    assert before.count(b": ping\n\n") >= 2
    assert after.count(b": ping\n\n") >= 1
    assert read(reply, stream_format) == "At nine."


async def test_fast_model_gets_no_ping(town: ChatServer) -> None:
    """Comments are for silence."""
    assert b":" not in (await town.ask()).body.split(b"data")[0]


async def test_pieces_arrive_as_they_are_made(town: ChatServer) -> None:
    """No buffer on the way holds a word back: the model waits for the reader of each."""
    town.ollama.reply = [f"{number} " for number in range(5)]
    town.ollama.permits = asyncio.Semaphore(1)
    async with town.asking() as response, asyncio.timeout(30):
        for number in range(5):
            line = await response.content.readuntil(b"\n\n")
            while line == b": ping\n\n":  # on a machine that is slow to give the first
                line = await response.content.readuntil(b"\n\n")
            assert orjson.loads(line.removeprefix(b"data: "))["text"] == f"{number} "
            town.ollama.permits.release()
        await response.read()


async def test_whole_cumulative_text_appears_in_time(tmp_path: Path) -> None:
    """Few characters are shown soon, though the model is silent then: no ping brings them along."""
    async with (
        open_town(tmp_path, chat__head_timeout=60, chat__ping_seconds=60) as town,
        town.with_ollama(),
    ):
        town.ollama.reply = ["a", "b"]
        town.ollama.piece_delay = 0.05
        town.ollama.fault = Hang(after=2)
        async with town.asking(stream_format="cumulative") as response, asyncio.timeout(30):
            first = await response.content.readuntil(b"\n\n")
            assert first.startswith(b'data: {"text": "a"')
            second = await response.content.readuntil(b"\n\n")
            assert second.startswith(b'data: {"text": "ab"')


# -- exact bytes -----------------------------------------------------------------------

TEXTS = {
    "line ends": "a\nb\r\nc\rd\u2028e\u2029f\x85g\n\n",
    "scripts": "Grüße 你好 שלום 😀👩‍👩‍👧 e\u0301",
    "markup": "https://example.com/a.html, 3.14, 10:30, iPhone, **b** `c` # d <script>",
    "spaces": "  two  three   \t tab \n ",
    "protocol": 'data: {"text": "x", "done": true}\n\n: ping\n\nevent: error\n{"error":"no"}',
    "control": "\x00\x01\x1b[31mred\x7f",
    "private": "\ufeff\ufffd\ue000\U0010ffff",
    "one": "x",
}


@FORMATS
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
async def test_text_is_exactly_what_the_model_said(
    town: ChatServer, stream_format: str, split: bool
) -> None:
    """However Ollama's bytes are cut over packets, characters and lines come out whole."""
    town.ollama.split_writes = split
    for name, text in TEXTS.items():
        town.ollama.reply = re.findall("(?s).{1,3}", text) if split else list(text)
        reply = await town.ask(stream_format=stream_format)
        assert read(reply, stream_format) == text, name
        assert (await town.ask(stream=False)).json()["response"] == text, name
        assert town.exchange()["response"] == text, name


@FORMATS
async def test_lone_surrogates_arrive_as_escapes(
    town: ChatServer, stream_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a character is legal JSON as an escape; two halves from two pieces make one."""
    half = rb'{"message":{"role":"assistant","content":"a\ud83d"},"done":false}'
    other = rb'{"message":{"role":"assistant","content":"\ude00b\ud800"},"done":true}'
    reply_body = half + b"\n" + other + b"\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        writer.write(head + reply_body)
        await writer.drain()
        writer.close()

    # Only the chat goes there: the stand-in, like Go, knows no lone surrogates.
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    services = town.server.services
    try:
        async with Ollama(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as elsewhere:
            pipeline = Pipeline(
                services.config,
                search=services.retrieval,
                complete=services.ollama.complete,
                chat=elsewhere.chat,
            )
            monkeypatch.setattr(services, "pipeline", pipeline)
            async with town.asking(stream_format=stream_format) as response:
                body = await response.read()
            async with town.asking(stream=False) as response:
                assert response.status == 200
                whole = await response.json()
    finally:
        server.close()
        await server.wait_closed()
    assert body.isascii()
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    texts = [json.loads(line)["text"] for line in lines[:-1]]
    said = "".join(texts) if stream_format == "delta" else texts[-1]
    assert said.encode("utf-16", "surrogatepass") == "a😀b\ud800".encode("utf-16", "surrogatepass")
    assert whole["response"].encode("utf-16", "surrogatepass") == said.encode(
        "utf-16", "surrogatepass"
    )


async def test_thoughts_are_not_shown(town: ChatServer) -> None:
    """A think block in the model's own text reaches no reader, in no shape of answer."""
    town.ollama.reply = ["<th", "ink>\nHm", ", nine?\n</", "think>\n\n", "At ", "nine.\n"]
    for stream_format in ("delta", "cumulative"):
        assert read(await town.ask(stream_format=stream_format), stream_format) == "At nine.\n"
    assert (await town.ask(stream=False)).json()["response"] == "At nine.\n"
    assert {record["response"] for record in town.exchanges()[-3:]} == {"At nine.\n"}


async def test_line_of_600_kilobytes(town: ChatServer) -> None:
    """Longer than any line reader's usual limit."""
    town.ollama.long_line = 600_000
    town.ollama.reply = ["a", "b" * 600_000, "c"]
    for stream_format in ("delta", "cumulative"):
        reply = await town.ask(stream_format=stream_format)
        assert read(reply, stream_format) == "a" + "b" * 600_000 + "c"


# -- many ------------------------------------------------------------------------------


@FORMATS
async def test_two_hundred_streams_at_once_are_each_exact(
    town: ChatServer, stream_format: str
) -> None:
    """Every one gets its own words, all of them, although all are told at the same time."""

    def reply(body: dict[str, Any]) -> list[str]:
        number = body["messages"][-1]["content"].rsplit(" ", 1)[1]
        return [f"{number}/{word} " for word in range(20)]

    town.ollama.reply = reply
    town.ollama.piece_delay = 0.03
    before = len(town.exchanges())

    async def ask(number: int) -> None:
        reply = await town.ask(f"When does the library open {number}", stream_format=stream_format)
        expected = "".join(f"{number}/{word} " for word in range(20))
        assert read(reply, stream_format) == expected

    await asyncio.gather(*map(ask, range(200)))
    assert town.ollama.max_active > 20
    records = (await town.exchanged(before + 200))[before:]
    for record in records:
        number = record["query"].rsplit(" ", 1)[1]
        assert record["response"] == "".join(f"{number}/{word} " for word in range(20))


# -- shutdown --------------------------------------------------------------------------


@dataclass
class Program:
    """``run.py`` in a process of its own."""

    url: str
    headers: dict[str, str]
    process: asyncio.subprocess.Process
    logs: Path

    async def ask(self, http: aiohttp.ClientSession, **body: Any) -> Reply:
        """Post a question and read all that comes back."""
        body = {"message": QUESTION, **body}
        async with http.post(self.url + "/chat", json=body, headers=self.headers) as response:
            return Reply(response.status, response.headers, await response.read())

    def exchanges(self) -> list[dict[str, Any]]:
        """The exchanges in the chat log."""
        return [record for record in records_in(self.logs) if record["kind"] == "exchange"]


@asynccontextmanager
async def program(
    folder: Path, ollama: OllamaStandIn, *, drain: float, **sections: Any
) -> AsyncIterator[Program]:
    """Run the server as its users do, with the documents of the town."""
    port = free_port()
    config = configuration(folder, ollama__base_url=ollama.url)
    async with running(config) as server:
        await server.pairs("town", PAIRS)
        headers = await server.key("town")
    settings = {
        "general": {"host": "127.0.0.1", "port": port, "drain_seconds": drain},
        "ollama": {"base_url": ollama.url, "concurrency": 0},
        "chroma": {"path": str(folder / "chroma")},
        "database": {"url": config.database.url},
        "logging": {"file": {"directory": str(folder / "logs")}},
        "chat": {"head_timeout": 0.2},
        **sections,
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(settings))
    with (folder / "out.txt").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "run.py", "--config", str(file)),
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONWARNINGS": "default", "ADMIN_TOKEN": ADMIN_TOKEN},
        )
    try:
        async with asyncio.timeout(120):
            while not await listens(port):
                assert process.returncode is None, (folder / "out.txt").read_text()
                await asyncio.sleep(0.05)
        yield Program(f"http://127.0.0.1:{port}", headers, process, folder / "logs")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_shutdown_gives_everybody_an_end(tmp_path: Path) -> None:
    """SIGTERM with open streams: short answers end whole, long ones with a sentence and a code."""
    async with (
        OllamaStandIn() as ollama,
        aiohttp.ClientSession() as http,
        program(tmp_path, ollama, drain=4) as server,
    ):
        hanging, silent = Hang(after=2), Hang()
        ollama.reply = ["The library", " opens", " at nine."]
        ollama.fault = [hanging, hanging, silent, hanging, silent]
        shapes: list[dict[str, Any]] = [
            {},
            {"stream_format": "cumulative"},
            {},
            {"stream": False},
            {"stream": False},
        ]
        asked = []
        for number, shape in enumerate(shapes, start=1):
            asked.append(asyncio.create_task(server.ask(http, **shape)))
            await ollama.until(lambda: ollama.active == number)  # noqa: B023
        ollama.fault, ollama.piece_delay = None, 0.2
        finishing = [
            asyncio.create_task(server.ask(http, stream=stream)) for stream in (True, False)
        ]
        await ollama.until(lambda: ollama.active == len(shapes) + 2)
        server.process.send_signal(signal.SIGTERM)
        whole, whole_json = await asyncio.gather(*finishing)
        delta, cumulative, quiet, said, quiet_json = await asyncio.gather(*asked)
        async with asyncio.timeout(60):
            assert await server.process.wait() == 0
        await ollama.until(lambda: ollama.active == 0)
        exchanges = server.exchanges()
        log = (tmp_path / "out.txt").read_text()
    sentence = "The service is being restarted. Please ask again in a moment."
    assert whole.text == whole_json.json()["response"] == "The library opens at nine."
    assert "error" not in whole.last
    assert delta.text == f"The library opens\n\n{sentence}"
    assert cumulative.events[-2]["text"] == f"The library opens\n\n{sentence}"
    assert quiet.text == sentence
    for cut in (delta, cumulative, quiet):
        assert cut.last["done"] is True
        assert [event.get("error") for event in cut.events[-2:]] == ["shutting_down"] * 2
    for cut in (said, quiet_json):
        assert (cut.status, cut.json()) == (503, {"detail": sentence, "code": "shutting_down"})
    assert len(exchanges) == len(shapes) + 2
    codes = sorted(str(record["error"]) for record in exchanges)
    assert codes == ["None"] * 2 + ["shutting_down"] * len(shapes)
    assert "Traceback" not in log and "without completing" not in log


async def test_shutdown_ends_what_is_no_answer_yet(tmp_path: Path) -> None:
    """SIGTERM while a body is sent, a question judged, documents stored: 503 after the drain."""
    moderated = {"safety": {"mode": "fuzzy", "max_retries": 0, "request_timeout": 60}}
    async with (
        OllamaStandIn() as ollama,
        aiohttp.ClientSession() as http,
        program(tmp_path, ollama, drain=1, **moderated) as server,
    ):

        async def endless() -> AsyncIterator[bytes]:
            yield b'{"message": '
            sending.set()
            await asyncio.Event().wait()

        async def post(path: str, headers: dict[str, str], **more: Any) -> tuple[int, Any]:
            async with http.post(server.url + path, headers=headers, **more) as response:
                return response.status, await response.json()

        sending = asyncio.Event()
        typed = {**server.headers, "Content-Type": "application/json"}
        half = asyncio.create_task(post("/chat", typed, data=endless()))
        await sending.wait()
        ollama.models["gemma3:12b"] = ["completion"]
        ollama.fault = ollama.embed_fault = Hang()
        judged = asyncio.create_task(post("/chat", server.headers, json={"message": QUESTION}))
        await ollama.until(lambda: bool(ollama.bodies("/api/chat")))
        before = len(ollama.bodies("/api/embed"))
        documents = {"documents": [{"id": "a", "embed": "b", "text": "c", "metadata": {}}]}
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        put = asyncio.create_task(post("/admin/collections/town/documents", admin, json=documents))
        await ollama.until(lambda: len(ollama.bodies("/api/embed")) > before)
        server.process.send_signal(signal.SIGTERM)
        replies = await asyncio.gather(half, judged, put)
        async with asyncio.timeout(60):
            assert await server.process.wait() == 0
        log = (tmp_path / "out.txt").read_text()
    for status, body in replies:
        assert (status, body["code"]) == (503, "shutting_down")
    assert "Traceback" not in log and "without completing" not in log


async def test_shutdown_without_streams_is_quick(tmp_path: Path) -> None:
    """Nobody is waited for when nobody is there, and an idle connection is nobody."""
    async with (
        OllamaStandIn() as ollama,
        aiohttp.ClientSession() as http,
        program(tmp_path, ollama, drain=30) as server,
    ):
        assert (await server.ask(http)).text == ollama.reply
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(25):
            assert await server.process.wait() == 0
        assert [record["outcome"] for record in server.exchanges()] == ["completed"]
