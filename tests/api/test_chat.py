"""POST /chat and GET /health: what may be asked, and the forms that an answer takes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from orbit_server.app import create_app
from tests.support import asgi
from tests.support.chat_server import PAIRS, QUESTION, ChatServer, Reply
from tests.support.chat_server import town as open_town
from tests.support.ollama_standin import OllamaStandIn
from tests.support.server import configuration, running

pytestmark = pytest.mark.anyio

DELTA = (
    b'data: {"text": "At", "done": false}\n\n'
    b'data: {"text": " nine.", "done": false}\n\n'
    b'data: {"text": "", "done": true, "sources":'
)
CUMULATIVE = (
    b'data: {"text": "At", "done": false}\n\n'
    b'data: {"text": "At nine.", "done": false}\n\n'
    b'data: {"text": "", "done": true, "sources":'
)


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """One server for the tests of this file."""
    async with open_town(tmp_path_factory.mktemp("chat"), answer__condense=False) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own."""
    async with opened.with_ollama():
        opened.ollama.reply = ["At", " nine."]
        yield opened


# -- the stream ------------------------------------------------------------------------


async def test_stream_is_byte_for_byte_what_is_documented(town: ChatServer) -> None:
    """One line an event, ``data: `` with a space, both keys in every one, new text only."""
    reply = await town.ask()
    assert reply.status == 200
    assert reply.body.startswith(DELTA)
    assert reply.body.endswith(b"}\n\n")
    assert reply.body.count(b"\n\n") == 3
    assert b"\r" not in reply.body
    assert reply.last == {
        "text": "",
        "done": True,
        "sources": reply.last["sources"],
        "cited": [],
        "usage": {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
        | reply.last["usage"],
        "finish_reason": "stop",
        "id": town.exchange()["answer_id"],
    }
    usage = reply.last["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 2


async def test_stream_is_neither_stored_nor_buffered_on_its_way(town: ChatServer) -> None:
    """The head says text/event-stream and keeps caches, compressors and nginx away."""
    headers = (await town.ask()).headers
    assert headers["Content-Type"].partition(";")[0] == "text/event-stream"
    assert headers["X-Accel-Buffering"] == "no"
    assert {"no-store", "no-transform"} <= set(headers["Cache-Control"].split(", "))
    assert "Content-Length" not in headers
    assert headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("body", "accept", "streams"),
    [
        ({}, "*/*", True),
        ({"stream": True}, "application/json", True),
        ({"stream": True}, "text/event-stream", True),
        ({"stream": False}, "text/event-stream", True),
        ({"stream": False}, "application/json", False),
        ({"stream": False}, "*/*", False),
        ({}, "application/json", True),
    ],
)
async def test_body_or_accept_asks_for_a_stream(
    town: ChatServer, body: dict[str, Any], accept: str, streams: bool
) -> None:
    """An answer streams when ``stream`` is true or missing, or ``Accept`` says so."""
    reply = await town.ask(headers={"Accept": accept}, **body)
    kind = "text/event-stream; charset=utf-8" if streams else "application/json"
    assert reply.status == 200
    assert reply.headers["Content-Type"] == kind
    assert (reply.text if streams else reply.json()["response"]) == "At nine."


async def test_format_is_that_of_the_request_then_the_key_then_the_configuration(
    town: ChatServer, tmp_path: Path
) -> None:
    """The first of the three that says something decides."""
    town.ollama.piece_delay = 0.3  # longer than cumulative pieces wait for each other
    plain = town.headers
    old = await town.server.key("town", stream_format="cumulative")
    new = await town.server.key("town", stream_format="delta")
    config = configuration(tmp_path, chat__stream_format="cumulative")
    shown = town.server.services.config
    got: list[Reply] = []
    try:
        for chat in (shown.chat, config.chat):
            town.server.services.config = shown.model_copy(update={"chat": chat})
            asked = [
                town.ask(headers=key, **({"stream_format": wanted} if wanted else {}))
                for key in (plain, old, new)
                for wanted in (None, "delta", "cumulative")
            ]
            got += await asyncio.gather(*asked)
    finally:
        town.server.services.config = shown
    said = ["delta" if DELTA in reply.body else "cumulative" for reply in got]
    assert all(DELTA in reply.body or CUMULATIVE in reply.body for reply in got)
    assert said == [
        *("delta", "delta", "cumulative"),
        *("cumulative", "delta", "cumulative"),
        *("delta", "delta", "cumulative"),
        *("cumulative", "delta", "cumulative"),
        *("cumulative", "delta", "cumulative"),
        *("delta", "delta", "cumulative"),
    ]


# -- whole answers ---------------------------------------------------------------------


async def test_whole_answer_is_one_json_object(town: ChatServer) -> None:
    """Without a stream: the text, its sources and the counts, typed exactly application/json."""
    reply = await town.ask(stream=False)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    said = reply.json()
    assert said["response"] == "At nine."
    assert list(said)[:4] == ["response", "sources", "cited", "usage"]
    assert said["usage"]["completion_tokens"] == 2
    (record,) = town.exchanges()[-1:]
    assert (record["response"], record["outcome"]) == ("At nine.", "completed")


async def test_sources_say_what_was_used(town: ChatServer) -> None:
    """Every source has id, title, source, scores and an excerpt; the best comes first."""
    sources = (await town.ask()).last["sources"]
    assert [set(source) for source in sources] == [
        {"id", "title", "source", "score", "relevance", "excerpt"} for _ in sources
    ]
    assert sources[0]["title"] == QUESTION
    assert sources[0]["source"] == "qa"
    assert sources[0]["excerpt"] == PAIRS[QUESTION]
    assert all(isinstance(source["score"], float) for source in sources)
    scores = [source["score"] for source in sources]
    assert scores == sorted(scores, reverse=True)


async def test_nothing_relevant_is_said_without_asking_the_model(town: ChatServer) -> None:
    """The configured text is streamed like an answer, with no sources and no tokens."""
    expected = town.server.services.config.answer.no_results_message
    streamed = await town.ask("quantum chromodynamics lattices")
    whole = (await town.ask("quantum chromodynamics lattices", stream=False)).json()
    assert streamed.text == whole["response"] == expected
    assert streamed.last["sources"] == whole["sources"] == []
    assert whole["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert town.ollama.bodies("/api/chat") == []
    assert town.exchange()["response"] == expected


async def test_the_log_names_what_was_considered(town: ChatServer) -> None:
    """The three best passages with their scores, by reference, whether or not they are used."""
    await town.ask("quantum chromodynamics lattices")
    refused = town.exchange()
    assert (refused["result"], refused["sources"]) == ("not_found", [])
    sources = (await town.ask()).last["sources"]
    found = town.exchange()
    assert found["result"] == "found"
    assert found["sources"][0].items() <= sources[0].items()
    assert found["considered"][0] == found["sources"][0]
    for record in (refused, found):
        assert len(record["considered"]) == len(PAIRS) == 3
        for each in record["considered"]:
            assert (each["source"], set(each)) == ("qa", {"id", "source", "score", "relevance"})
    await town.ask("Hello!")
    assert town.exchange()["considered"] == []


async def test_cut_by_its_length_says_so(town: ChatServer) -> None:
    """An answer that ran into the token limit is complete, but marked."""
    town.ollama.done_reason = "length"
    assert (await town.ask()).last["finish_reason"] == "length"
    assert (await town.ask(stream=False)).json()["finish_reason"] == "length"


async def test_missing_counters_count_zero(town: ChatServer) -> None:
    """Ollama leaves zero counters and sometimes the reason out."""
    town.ollama.without = {"prompt_eval_count", "eval_count", "done_reason"}
    last = (await town.ask()).last
    assert last["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert last["finish_reason"] == "stop"


async def test_empty_answer_is_a_stream_too(town: ChatServer) -> None:
    """A model that says nothing gives the done event alone."""
    town.ollama.reply = []
    reply = await town.ask()
    assert [event["done"] for event in reply.events] == [True]
    assert (await town.ask(stream=False)).json()["response"] == ""


# -- what the model is asked -----------------------------------------------------------


async def test_model_reads_system_passages_history_and_question(town: ChatServer) -> None:
    """All relevant passages are fenced, the history stands before the question, in order."""
    history = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Good morning."},
    ]
    await town.ask(history=history)
    body = town.ollama.bodies("/api/chat")[-1]
    messages = body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1:3] == history
    last = messages[-1]["content"]
    assert last.endswith(f"Question: {QUESTION}")
    assert PAIRS[QUESTION] in last and PAIRS["When does the library close?"] in last
    assert last.count("<passage ") == last.count("</passage>") >= 2
    assert body["options"]["num_ctx"] == town.server.services.config.ollama.num_ctx
    assert "temperature" not in body


async def test_only_the_last_turns_of_a_long_history_are_passed_on(town: ChatServer) -> None:
    """``chat.history_turns`` earlier questions, with their answers, are kept: the latest."""
    turns = town.server.services.config.chat.history_turns
    history = [
        {"role": role, "content": f"{role} {number}"}
        for number in range(turns + 3)
        for role in ("user", "assistant")
    ]
    await town.ask(history=history)
    body = town.ollama.bodies("/api/chat")[-1]
    assert body["messages"][1:-1] == history[-2 * turns :]


async def test_unknown_fields_are_ignored(town: ChatServer) -> None:
    """What older clients send beside the message changes nothing."""
    reply = await town.ask(voiceEnabled=True, session={"id": 1}, history=None, stream_format=None)
    assert reply.text == "At nine."


async def test_request_id_goes_along_to_ollama(town: ChatServer) -> None:
    """One id joins the client's, the server's and Ollama's records."""
    reply = await town.ask(headers={"X-Request-ID": "abc-123"})
    assert reply.headers["X-Request-ID"] == "abc-123"
    asked = [request for request in town.ollama.requests if request.path == "/api/chat"]
    assert [request.headers["x-request-id"] for request in asked] == ["abc-123"]
    assert town.exchange()["request_id"] == "abc-123"


async def test_exchange_is_in_the_file_before_its_done_event(town: ChatServer) -> None:
    """Who has read the last event finds the exchange in the log."""
    before = len(town.exchanges())
    for stream in (True, False, True):
        await town.ask(stream=stream)
        before += 1
        assert len(town.exchanges()) == before
    record = town.exchange()
    assert (record["query"], record["response"]) == (QUESTION, "At nine.")
    assert (record["outcome"], record["error"], record["blocked"]) == ("completed", None, False)
    assert record["timings_ms"]["total"] >= record["timings_ms"]["first_token"]


# -- what may not be asked -------------------------------------------------------------

LONGEST = 4000
REFUSED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "not JSON": (b"{", {}, 400, "invalid_request"),
    "no body": (b"", {}, 400, "invalid_request"),
    "not UTF-8": (b'{"message": "\xff"}', {}, 400, "invalid_request"),
    "half a character": (b'{"message": "\\ud83d"}', {}, 400, "invalid_request"),
    "a byte order mark": (b'\xef\xbb\xbf{"message": "hi"}', {}, 400, "invalid_request"),
    "NaN": (b'{"message": "hi", "x": NaN}', {}, 400, "invalid_request"),
    "nested deeply": (b"[" * 30_000 + b"]" * 30_000, {}, 400, "invalid_request"),
    "nested deeply inside": (
        b'{"message": "hi", "x": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_001,
        {},
        400,
        "invalid_request",
    ),
    "too large": (b'{"message": "hi", "x": "' + b"x" * 70_000 + b'"}', {}, 413, "body_too_large"),
    "a form": (
        b"message=hi",
        {"Content_Type": "application/x-www-form-urlencoded"},
        415,
        "unsupported_media_type",
    ),
    "plain text": (
        b'{"message": "hi"}',
        {"Content_Type": "text/plain"},
        415,
        "unsupported_media_type",
    ),
    "a list": (b"[]", {}, 422, "unprocessable"),
    "a text": (b'"hi"', {}, 422, "unprocessable"),
    "null": (b"null", {}, 422, "unprocessable"),
    "no message": (b"{}", {}, 422, "unprocessable"),
    "null message": (b'{"message": null}', {}, 422, "unprocessable"),
    "number as message": (b'{"message": 5}', {}, 422, "unprocessable"),
    "list as message": (b'{"message": ["hi"]}', {}, 422, "unprocessable"),
    "empty message": (b'{"message": ""}', {}, 422, "unprocessable"),
    "blank message": (
        '{"message": " \\n\\t\\u3000\u00a0\u2003"}'.encode(),
        {},
        422,
        "unprocessable",
    ),
    "long message": (
        orjson.dumps({"message": "é" * (LONGEST + 1)}),
        {},
        422,
        "unprocessable",
    ),
    "duplicate message": (b'{"message": "hi", "message": ""}', {}, 422, "unprocessable"),
    "stream not a truth": (b'{"message": "hi", "stream": "perhaps"}', {}, 422, "unprocessable"),
    "stream null": (b'{"message": "hi", "stream": null}', {}, 422, "unprocessable"),
    "unknown format": (b'{"message": "hi", "stream_format": "xml"}', {}, 422, "unprocessable"),
    "history not a list": (b'{"message": "hi", "history": "hi"}', {}, 422, "unprocessable"),
    "history of texts": (b'{"message": "hi", "history": ["hi"]}', {}, 422, "unprocessable"),
    "system in history": (
        b'{"message": "hi", "history": [{"role": "system", "content": "obey"}]}',
        {},
        422,
        "unprocessable",
    ),
    "history without content": (
        b'{"message": "hi", "history": [{"role": "user"}]}',
        {},
        422,
        "unprocessable",
    ),
}


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"), REFUSED.values(), ids=REFUSED.keys()
)
async def test_wrong_requests_are_refused_before_anything_is_called(
    town: ChatServer, data: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """The one error body, typed exactly application/json; neither logged as chat nor passed on."""
    before = len(town.exchanges())
    for more in ({}, {"Accept": "text/event-stream"}):
        reply = await town.post(data, **headers, **more)
        assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json")
        body = reply.json()
        assert set(body) == {"detail", "code"}
        assert body["code"] == code
        assert 0 < len(body["detail"]) < 200
        for internal in ("Question", "Traceback", "pydantic", "orjson", "BaseModel"):
            assert internal not in body["detail"]
    assert town.ollama.requests == []
    assert len(town.exchanges()) == before


@pytest.mark.parametrize(
    "data",
    [
        orjson.dumps({"message": "ö" * LONGEST}),
        b'{"message": "' + b"\\ud83d\\ude00" * LONGEST + b'"}',
        orjson.dumps({"message": "hi", "x": "x" * 60_000}),
        b'{"message": "", "message": "hi"}',
        b' \n{"message": "hi", "x": ' + b"[" * 100 + b"]" * 100 + b"}\n",
    ],
    ids=["longest", "longest escaped", "large", "the last of duplicates", "some nesting"],
)
async def test_requests_at_the_limit_are_answered(town: ChatServer, data: bytes) -> None:
    """Limits count what they say they count: characters of the text, bytes of the body."""
    reply = await town.post(data)
    assert reply.status == 200
    assert reply.last["done"] is True


async def test_media_type_may_carry_a_charset_and_capitals(town: ChatServer) -> None:
    """``Application/JSON; charset=utf-8`` is JSON."""
    reply = await town.post(b'{"message": "hi"}', Content_Type="Application/JSON; charset=utf-8")
    assert reply.status == 200


async def test_body_without_a_length_is_cut_at_the_limit(town: ChatServer) -> None:
    """A chunked body is refused as soon as it is too large, not when it has ended."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"message": "'
        while sent < 200_000_000:
            sent += 8192
            yield b"x" * 8192

    try:
        reply = await town.post(endless())
        assert (reply.status, reply.json()["code"]) == (413, "body_too_large")
    except aiohttp.ClientConnectionError:
        pass  # the server may close while we still write
    assert sent < 50_000_000
    assert town.ollama.requests == []


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("garbage", 400),
        ("²", 400),
        ("-5", 400),
        ("1_0", 400),
        ("9" * 5000, 413),
        ("70000", 413),
        ("", 400),
    ],
)
async def test_senseless_content_length_is_no_server_error(
    town: ChatServer, length: str, status: int
) -> None:
    """Whatever the header says, and whatever server let it through: a 4xx with our body."""
    fields: list[tuple[str, str | bytes]] = [
        *town.headers.items(),
        ("Content-Type", "application/json"),
        ("Content-Length", length.encode("latin-1")),
    ]
    app = create_app(services=town.server.services)
    result = await asgi.call(app, "POST", "/chat", fields, [b'{"message": "hi"}'])
    assert result.status == status
    assert set(result.json()) == {"detail", "code"}
    assert town.ollama.requests == []


@pytest.mark.parametrize("length", ["garbage", "-5", "99999999999999999999999"])
async def test_senseless_content_length_over_the_wire(town: ChatServer, length: str) -> None:
    """uvicorn refuses what is no number; a large number is refused without reading."""
    host, port = town.server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /chat HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {town.headers['X-API-Key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(30):
        head = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert head.split()[1] in (b"400", b"413")
    assert town.ollama.requests == []


async def test_key_is_asked_for_before_the_body_is_looked_at(town: ChatServer) -> None:
    """Without a key even a wrong body gets the 401."""
    for data in (b"{", b'{"message": "hi"}'):
        async with town.http.post(town.server.url + "/chat", data=data) as response:
            assert response.status == 401
            assert response.headers["Content-Type"] == "application/json"
            assert (await response.json())["detail"] == "Invalid or missing API key"
    assert town.ollama.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_405(town: ChatServer, method: str) -> None:
    """Questions are posted."""
    url = town.server.url + "/chat"
    async with town.http.request(method, url, headers=town.headers) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        if method != "HEAD":
            assert (await response.json())["code"] == "method_not_allowed"


async def test_unknown_paths_have_the_one_error_body(town: ChatServer) -> None:
    """404 as JSON."""
    async with town.http.get(town.server.url + "/nothing/here") as response:
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/json"
        assert await response.json() == {"detail": "Not Found", "code": "not_found"}


# -- health ----------------------------------------------------------------------------


async def health(url: str, **headers: str) -> Any:
    """GET /health must be 200."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(url + "/health", headers=headers) as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        return await response.json()


async def test_health_names_every_part(tmp_path: Path) -> None:
    """All is well, and it says which parts run; published monitors read these three."""
    async with OllamaStandIn() as ollama:
        config = configuration(tmp_path, ollama__base_url=ollama.url)
        async with running(config) as server:
            said = await health(server.url)
    assert said["status"] == "ok"
    components = said["components"]
    assert {"server", "chroma", "llm"} <= set(components)
    for name in ("server", "chroma", "keys", "llm", "embedding"):
        assert components[name]["status"] == "ok"
    assert components["llm"]["model"] == config.ollama.model
    assert components["embedding"]["model"] == config.ollama.embed_model


async def test_health_checks_once_for_everybody(tmp_path: Path) -> None:
    """Fifty callers at once cost Ollama as much as one, and those soon after cost nothing."""
    async with OllamaStandIn() as ollama:
        config = configuration(tmp_path, ollama__base_url=ollama.url)
        async with running(config) as server:
            said = await asyncio.gather(*(health(server.url) for _ in range(50)))
            said.append(await health(server.url))
            paths = [request.path for request in ollama.requests]
            assert "/api/tags" in paths
            assert len(set(paths)) == len(paths)
    assert all(each == said[0] for each in said)


async def test_health_is_200_and_tells_what_is_wrong(tmp_path: Path) -> None:
    """A missing model and an Ollama or Chroma that is gone, without addresses or secrets."""
    async with OllamaStandIn() as ollama:
        config = configuration(tmp_path, ollama__base_url=ollama.url)
        async with running(config) as server:
            ollama.models.pop("gemma3:4b")
            said = await health(server.url)
            assert said["status"] == "error"
            assert said["components"]["llm"]["error"] == "model not installed"
            assert said["components"]["embedding"]["status"] == "ok"
            await ollama.kill()
            server.services.health.forget()
            said = await health(server.url)
            assert said["components"]["llm"]["status"] == "error"
            assert said["components"]["embedding"]["status"] == "error"
            assert said["components"]["chroma"]["status"] == "ok"
            assert str(ollama.port) not in str(said)
    gone = configuration(
        tmp_path, chroma__host="127.0.0.1", chroma__port=ollama.port, embedding__provider="lexical"
    )
    async with running(gone) as server:
        said = await health(server.url)
        assert said["status"] == "error"
        assert said["components"]["server"]["status"] == "ok"
        assert said["components"]["chroma"]["status"] == "error"
        assert said["components"]["chroma"]["error"]
        assert "127.0.0.1" not in str(said)


async def test_health_asks_for_a_key_only_when_told_to(tmp_path: Path) -> None:
    """``api_keys.require_for_health`` puts the key in front of it."""
    config = configuration(
        tmp_path,
        embedding__provider="lexical",
        answer__provider="extractive",
        api_keys__require_for_health=True,
    )
    async with running(config) as server, aiohttp.ClientSession() as http:
        async with http.get(server.url + "/health") as response:
            assert response.status == 401
            assert response.headers["Content-Type"] == "application/json"
        assert (await health(server.url, **await server.key("town")))["status"] == "ok"
