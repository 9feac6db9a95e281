"""What a reader is told when something breaks, and that log and answer agree about it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orbit_server.answering import Pipeline
from orbit_server.errors import ModelInterrupted, OrbitError
from orbit_server.types import Retrieved
from tests.support import asgi
from tests.support.chat_server import QUESTION, ChatServer, Reply, Requests, request_log
from tests.support.chat_server import town as open_town
from tests.support.chroma_run import chroma_run
from tests.support.ollama_standin import (
    BUSY,
    RUNNER_STOPPED,
    Abort,
    EndWithoutDone,
    ErrorLine,
    Fault,
    Hang,
    NotPulled,
    OldStyleError,
    Status,
)
from tests.support.server import events

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


SHAPES: dict[str, dict[str, Any]] = {
    "delta": {"stream_format": "delta"},
    "cumulative": {"stream_format": "cumulative"},
    "whole": {"stream": False},
}
STREAMS = {name: shape for name, shape in SHAPES.items() if name != "whole"}


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """One server for the tests of this file, with a model that may be silent for a moment."""
    folder = tmp_path_factory.mktemp("failures")
    async with open_town(folder, ollama__read_timeout=1) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own."""
    async with opened.with_ollama():
        opened.ollama.reply = ["The library", " opens", " at nine."]
        yield opened


@pytest.fixture
async def requests() -> AsyncIterator[Requests]:
    """The request log."""
    with request_log() as log:
        yield log


async def check_status(
    town: ChatServer,
    requests: Requests,
    reply: Reply,
    status: int,
    code: str,
    *,
    asked: str = QUESTION,
) -> None:
    """The reply is an error with a sentence for end users, and both logs say the same code."""
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json")
    body = reply.json()
    assert set(body) == {"detail", "code"}
    assert body["code"] == code
    check_sentence(town, body["detail"])
    await check_logs(town, requests, reply, code, "", asked=asked)


def check_sentence(town: ChatServer, sentence: str) -> None:
    """It is one for end users: it names nothing internal."""
    assert sentence[0].isupper() and sentence.endswith(".")
    internal = ["127.0.0.1", "localhost", str(town.ollama.port), "http", "gemma", "bge", "llama"]
    internal += ["Ollama", "Chroma", "Error", "Exception", "aiohttp", "Traceback", "town", "SQL"]
    assert [word for word in internal if word.casefold() in sentence.casefold()] == []


async def check_logs(
    town: ChatServer,
    requests: Requests,
    reply: Reply,
    code: str,
    said: str,
    *,
    asked: str = QUESTION,
) -> None:
    """The chat log has what the client has read, and both logs have the code."""
    record = town.exchange()
    assert (record["outcome"], record["error"], record["response"]) == ("failed", code, said)
    assert record["query"] == asked
    request = await requests.record(reply)
    assert (request["outcome"], request["error"]) == ("failed", code)
    assert request["status"] == reply.status


# -- before the first byte -------------------------------------------------------------

BEFORE: dict[str, tuple[Fault, int, str]] = {
    "not pulled": (NotPulled(), 502, "model_not_found"),
    "not pulled, old": (NotPulled(old=True), 502, "model_not_found"),
    "busy": (BUSY, 503, "model_busy"),
    "bad request": (Status(400, "invalid format: http://x"), 502, "model_failed"),
    "runner stopped": (RUNNER_STOPPED, 502, "model_failed"),
    "host refused": (Status(403), 502, "model_failed"),
    "proxy page": (Status(502, page="<html>Bad Gateway</html>"), 502, "model_failed"),
    "proxy timeout": (Status(504, page="<html></html>"), 504, "model_timeout"),
    "runner died": (ErrorLine(), 502, "model_failed"),
    "old style": (OldStyleError(), 502, "model_failed"),
    "nothing": (EndWithoutDone(), 502, "model_interrupted"),
    "closed": (Abort(), 503, "model_unreachable"),
    "reset": (Abort(reset=True), 503, "model_unreachable"),
    "silent": (Hang(), 504, "model_timeout"),
}


@pytest.mark.parametrize(("fault", "status", "code"), BEFORE.values(), ids=BEFORE.keys())
async def test_model_fails_before_its_first_word(
    town: ChatServer, requests: Requests, fault: Fault, status: int, code: str
) -> None:
    """In every shape of answer it is a status, never an empty success."""
    town.ollama.fault = fault
    for shape in SHAPES.values():
        await check_status(town, requests, await town.ask(**shape), status, code)


async def test_model_is_not_there(town: ChatServer, requests: Requests) -> None:
    """A killed Ollama is noticed when the question is embedded; it is no empty search."""
    await town.ollama.kill()
    for shape in SHAPES.values():
        reply = await town.ask(**shape)
        await check_status(town, requests, reply, 503, "model_unreachable")
    await town.ollama.start()
    assert (await town.ask()).text == "The library opens at nine."


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (NotPulled(), 502, "model_not_found"),
        (BUSY, 503, "model_busy"),
        (RUNNER_STOPPED, 502, "model_failed"),
        (Abort(), 503, "model_unreachable"),
        (Hang(), 504, "model_timeout"),
    ],
    ids=["not pulled", "busy", "runner stopped", "closed", "silent"],
)
async def test_embedding_fails(
    town: ChatServer, requests: Requests, fault: Fault, status: int, code: str
) -> None:
    """A question that cannot be searched is not answered without documents."""
    town.ollama.embed_fault = fault
    new = f"When does {code} open?"  # not one whose vector is remembered
    for shape in SHAPES.values():
        reply = await town.ask(new, **shape)
        await check_status(town, requests, reply, status, code, asked=new)
    assert town.ollama.bodies("/api/chat") == []


# -- after the first byte --------------------------------------------------------------

AFTER: dict[str, tuple[Fault, str, int]] = {
    "error line": (ErrorLine(after=2), "model_interrupted", 502),
    "end without done": (EndWithoutDone(after=2), "model_interrupted", 502),
    "closed": (Abort(after=2), "model_interrupted", 502),
    "silent": (Hang(after=2), "model_timeout", 504),
}


def check_broken(town: ChatServer, reply: Reply, code: str, said: str) -> str:
    """The stream ends with a sentence and the done event, both with the code; all that was read."""
    assert reply.status == 200
    *pieces, sentence, done = reply.events
    assert [piece.get("error") for piece in pieces] == [None] * len(pieces)
    assert sentence["error"] == done["error"] == code
    assert (sentence["done"], done["done"], done["text"]) == (False, True, "")
    cumulative = sentence["text"].startswith(said) and bool(said)
    read = sentence["text"] if cumulative else reply.text
    assert read.startswith(said)
    check_sentence(town, read.removeprefix(said).strip())
    return read


@pytest.mark.parametrize(("fault", "code", "status"), AFTER.values(), ids=AFTER.keys())
@pytest.mark.parametrize("shape", STREAMS.values(), ids=STREAMS.keys())
async def test_model_fails_in_the_middle(
    town: ChatServer,
    requests: Requests,
    fault: Fault,
    code: str,
    status: int,
    shape: dict[str, Any],
) -> None:
    """What was said stays, a sentence says that it is not all, and the stream ends properly."""
    town.ollama.fault = fault
    town.ollama.piece_delay = 0.01
    reply = await town.ask(**shape)
    read = check_broken(town, reply, code, "The library opens")
    await check_logs(town, requests, reply, code, read)


@pytest.mark.parametrize(("fault", "code", "status"), AFTER.values(), ids=AFTER.keys())
async def test_model_fails_in_the_middle_of_a_whole_answer(
    town: ChatServer, requests: Requests, fault: Fault, code: str, status: int
) -> None:
    """Half an answer is not one: it is a status. The log keeps what there was of it."""
    town.ollama.fault = fault
    town.ollama.piece_delay = 0.01
    reply = await town.ask(stream=False)
    assert reply.status == status
    assert reply.json()["code"] == code
    await check_logs(town, requests, reply, code, "The library opens")


@pytest.mark.parametrize("shape", STREAMS.values(), ids=STREAMS.keys())
async def test_ollama_is_killed_in_the_middle(
    town: ChatServer, requests: Requests, shape: dict[str, Any]
) -> None:
    """As when its process ends: every running stream says so."""
    town.ollama.fault = Hang(after=1)

    async def stream() -> Reply:
        async with town.asking(**shape) as response:
            body = await response.content.readuntil(b"\n\n")
            read.set()
            return Reply(response.status, response.headers, body + await response.read())

    read = asyncio.Event()
    asked = asyncio.create_task(stream())
    await read.wait()
    await town.ollama.kill()
    reply = await asked
    told = check_broken(town, reply, "model_interrupted", "The library")
    assert told == "The library\n\n" + ModelInterrupted.sentence
    await check_logs(town, requests, reply, "model_interrupted", told)


async def test_failure_after_an_overdue_head(tmp_path: Path) -> None:
    """The head went out while the model was loading; then it failed without a word."""
    async with open_town(tmp_path, ollama__read_timeout=0.4, chat__head_timeout=0.05) as town:
        town.ollama.fault = Hang()
        with request_log() as requests:
            for shape in STREAMS.values():
                reply = await town.ask(**shape)
                assert reply.body.startswith(b": ping\n\ndata: ")
                read = check_broken(town, reply, "model_timeout", "")
                assert not read[0].isspace()
                await check_logs(town, requests, reply, "model_timeout", read)
            await check_status(town, requests, await town.ask(stream=False), 504, "model_timeout")


# -- search ----------------------------------------------------------------------------


async def test_chroma_is_not_there(tmp_path: Path) -> None:
    """A Chroma server that dies is an outage in every shape, never "nothing found"."""
    async with chroma_run(tmp_path / "server") as chroma:
        there = open_town(tmp_path, chroma__host=chroma.host, chroma__port=chroma.port)
        async with there as town:
            assert (await town.ask()).text == town.ollama.reply
            chroma.process.kill()
            await asyncio.to_thread(chroma.process.wait)
            with request_log() as requests:
                for shape in SHAPES.values():
                    reply = await town.ask(**shape)
                    await check_status(town, requests, reply, 503, "search_unavailable")
            chats = len(town.ollama.bodies("/api/chat"))
            assert chats == 1


async def test_chroma_was_never_there(tmp_path: Path) -> None:
    """The server starts all the same, and says so with each question."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        nobody = open_town(tmp_path, pairs={}, chroma__host="127.0.0.1", chroma__port=port)
        async with nobody as town:
            with request_log() as requests:
                for shape in SHAPES.values():
                    reply = await town.ask(**shape)
                    await check_status(town, requests, reply, 503, "search_unavailable")


async def test_collection_is_missing(town: ChatServer, requests: Requests) -> None:
    """A key for a collection that nobody has loaded."""
    headers = await town.server.key("castle")
    for shape in SHAPES.values():
        reply = await town.ask(headers=headers, **shape)
        await check_status(town, requests, reply, 503, "collection_not_found")
    assert town.ollama.requests == []


async def test_collection_has_another_embedder(town: ChatServer, requests: Requests) -> None:
    """It is refused before anything is embedded; the log names both, the client neither."""
    await town.server.services.chroma.create(
        "foreign", {"orbit_embedder": "lexical", "orbit_model": "hashed-words-1"}
    )
    headers = await town.server.key("foreign")
    for shape in SHAPES.values():
        reply = await town.ask(headers=headers, **shape)
        await check_status(town, requests, reply, 503, "embedder_mismatch")
    assert town.ollama.requests == []


# -- keys ------------------------------------------------------------------------------


async def test_key_database_is_broken(tmp_path: Path) -> None:
    """It is our fault, not the caller's: never 401. What is remembered goes on for a moment."""
    async with open_town(tmp_path) as town:
        database = tmp_path / "orbit.db"
        assert (await town.ask()).status == 200
        other = await town.server.key("town")
        await town.server.services.keys.database.disconnect()
        replace_by_folder(database)
        for headers in (other, {"X-API-Key": "api_" + "x" * 32}):
            reply = await town.ask(headers=headers)
            assert (reply.status, reply.json()["code"]) == (503, "keys_unavailable")
            assert reply.headers["Content-Type"] == "application/json"
            check_sentence_of_keys(reply.json()["detail"])
        async with asyncio.timeout(30):
            while (await town.ask()).status == 200:  # noqa: ASYNC110 - from memory, for a moment
                await asyncio.sleep(0.05)
        reply = await town.ask()
        assert (reply.status, reply.json()["code"]) == (503, "keys_unavailable")
        assert int(reply.headers["Retry-After"]) > 0


def replace_by_folder(database: Path) -> None:
    """Break a database beyond repair."""
    for file in database.parent.glob(database.name + "*"):
        file.unlink()
    database.mkdir()


def check_sentence_of_keys(sentence: str) -> None:
    """It names no file and no library."""
    for internal in ("orbit.db", "sqlite", "SQL", "Error"):
        assert internal not in sentence


# -- what nobody expected --------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_bug_of_ours_is_a_500_without_details(
    town: ChatServer,
    requests: Requests,
    shape: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client sees the one error body, the log the traceback, and both logs the code."""

    async def retrieval(*args: Any, **kwargs: Any) -> Retrieved:
        raise ZeroDivisionError("secret")

    services = town.server.services
    ollama = services.ollama
    pipeline = Pipeline(
        services.config, search=retrieval, complete=ollama.complete, chat=ollama.chat
    )
    monkeypatch.setattr(services, "pipeline", pipeline)
    await check_status(town, requests, await town.ask(**shape), 500, "internal_error")
    assert "ZeroDivisionError: secret" in caplog.text


async def test_every_error_of_ours_has_a_sentence_for_readers() -> None:
    """Short, and ending like one; codes are unique; statuses are those that are documented."""

    def tree(kind: type[OrbitError]) -> list[type[OrbitError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in tree(child))]

    ours = [kind for kind in tree(OrbitError) if kind.__module__ == "orbit_server.errors"]
    assert len({kind.code for kind in ours}) == len(ours)
    documented = {400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 431, 500, 502, 503, 504}
    for kind in ours:
        assert kind.status in documented
        assert 0 < len(kind.sentence) < 120


async def test_request_outside_of_the_lifespan_is_503(tmp_path: Path) -> None:
    """A host that forgot our lifespan reads why in its log; the client reads a sentence."""
    from orbit_server.app import create_app
    from tests.support.server import configuration

    app = create_app(configuration(tmp_path))
    fields = [("X-API-Key", "api_" + "x" * 32), ("Content-Type", "application/json")]
    result = await asgi.call(app, "POST", "/chat", fields, [b'{"message": "hi"}'])
    assert (result.status, result.json()["code"]) == (503, "not_started")
    assert "lifespan" not in result.json()["detail"]


def test_stream_reader_of_these_tests_is_strict() -> None:
    """A stream that was cut is not taken for a whole one."""
    for cut in (b'data: {"text": "a", "done": false}', b"x\n\n"):
        with pytest.raises(AssertionError):
            events(cut)
