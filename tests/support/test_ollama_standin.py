"""The Ollama stand-in does what Ollama does, so that what other tests learn from it is true."""

import asyncio
import json
import math
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.ollama_standin import (
    BUSY,
    BUSY_TEXT,
    DEATH_TEXT,
    RUNNER_TEXT,
    Abort,
    EndWithoutDone,
    ErrorLine,
    Fault,
    Hang,
    NotPulled,
    OldStyleError,
    OllamaStandIn,
    Status,
    quote_passage,
    split_points,
)

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"model": "gemma3:4b", "messages": [{"role": "user", "content": "Hi?"}]}


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaStandIn]:
    """A running stand-in."""
    async with OllamaStandIn() as standin:
        yield standin


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An aiohttp session that reads lines of any length."""
    async with aiohttp.ClientSession(read_bufsize=2**21) as session:
        yield session


def chat(client: aiohttp.ClientSession, ollama: OllamaStandIn, **fields: Any) -> Any:
    """Return the context manager of one chat request."""
    return client.post(f"{ollama.url}/api/chat", json={**CHAT, **fields})


async def lines(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """Return the JSON objects of a stream."""
    return [json.loads(line) async for line in response.content]


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the content of a chat stream."""
    return "".join(event["message"]["content"] for event in events if "message" in event)


class RawStream:
    """One chat request over a bare socket, read as it comes from the network."""

    def __init__(self, ollama: OllamaStandIn) -> None:
        self.ollama = ollama

    async def __aenter__(self) -> "RawStream":
        reader, self.writer = await asyncio.open_connection(self.ollama.host, self.ollama.port)
        self.reader = reader
        body = json.dumps(CHAT).encode()
        self.writer.write(
            b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.writer.transport.abort()

    async def head(self) -> bytes:
        """Return the response's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def chunk(self) -> bytes:
        """Return the content of the next HTTP chunk."""
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]


async def test_streams_each_piece_as_a_flushed_line_of_its_own(ollama: OllamaStandIn) -> None:
    """(1) Every line is an HTTP chunk, sent before the next piece exists."""
    ollama.reply = ["The ", "library", "."]
    ollama.fault = Hang(after=2)
    async with RawStream(ollama) as stream:
        head = await stream.head()
        assert b"Content-Type: application/x-ndjson\r\n" in head
        assert b"Transfer-Encoding: chunked" in head
        for piece in ("The ", "library"):
            line = await stream.chunk()
            assert line.endswith(b"\n")
            event = json.loads(line)
            assert event["model"] == "gemma3:4b"
            assert event["message"] == {"role": "assistant", "content": piece}
            assert event["done"] is False
            assert re.search(r"\.\d{9}Z$", event["created_at"])
            datetime.fromisoformat(event["created_at"])


async def test_paces_the_pieces(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(1) The set delay lies before every piece."""
    ollama.reply, ollama.piece_delay = ["a"] * 5, 0.02
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with chat(client, ollama) as response:
        await response.read()
    assert loop.time() - began >= 0.1 * 0.99


async def test_final_line_has_the_counters_in_nanoseconds(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """The last object is done, says why, and counts."""
    ollama.reply, ollama.head_delay = ["one ", "two"], 0.01
    async with chat(client, ollama) as response:
        final = (await lines(response))[-1]
    assert final["done"] is True
    assert final["done_reason"] == "stop"
    assert final["eval_count"] == 2
    assert final["prompt_eval_count"] == 1
    assert final["load_duration"] + final["prompt_eval_duration"] == 10_000_000
    assert final["total_duration"] > 10_000_000


async def test_splits_lines_and_characters_over_two_writes(ollama: OllamaStandIn) -> None:
    """(1) A cut falls inside a JSON line and inside a character of several bytes."""
    ollama.reply, ollama.split_writes = ["Größe 🏛"], True
    async with RawStream(ollama) as stream:
        await stream.head()
        parts = [await stream.chunk() for _ in range(3)]
    assert not parts[0].endswith(b"\n")
    assert any(not decodable(part) for part in parts)
    assert json.loads(b"".join(parts))["message"]["content"] == "Größe 🏛"


def decodable(part: bytes) -> bool:
    """Tell whether these bytes are whole characters."""
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_split_points_lose_nothing() -> None:
    """Whatever the line, its parts joined are the line."""
    for line in (b'{"a":"b"}\n', '{"a":"é"}\n'.encode(), '{"ééééééé":"é"}\n'.encode()):
        assert b"".join(split_points(line)) == line


async def test_writes_several_lines_at_once(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(1) With ``coalesce`` lines share a TCP write, and none is lost."""
    ollama.reply, ollama.coalesce = list("abcdefg"), 3
    async with chat(client, ollama) as response:
        assert text_of(await lines(response)) == "abcdefg"


async def test_long_lines_are_real(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """A line over 600 KB is one valid line."""
    ollama.reply, ollama.long_line = ["short"], 700_000
    async with chat(client, ollama) as response:
        first = await response.content.readline()
    assert len(first) > 700_000
    assert json.loads(first)["message"]["content"] == "short"


async def test_escapes_as_go_does(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """Angle brackets and ampersands are escaped, other characters are themselves."""
    ollama.reply = ["<b> & ü"]
    async with chat(client, ollama) as response:
        raw = await response.read()
    assert rb"\u003cb\u003e \u0026 " + "ü".encode() in raw


async def test_nothing_is_sent_while_the_model_loads(ollama: OllamaStandIn) -> None:
    """(2) Not even the head goes out before the first piece exists."""
    ollama.head_delay = 0.05
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with RawStream(ollama) as stream:
        await stream.head()
    assert loop.time() - began >= 0.05 * 0.99


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        (NotPulled(), 404, "model 'gemma3:4b' not found"),
        (NotPulled(old=True), 404, 'model "gemma3:4b" not found, try pulling it first'),
        (Status(400, "bad"), 400, "bad"),
        (Status(500, RUNNER_TEXT), 500, RUNNER_TEXT),
        (BUSY, 503, BUSY_TEXT),
    ],
)
async def test_refuses_before_the_first_byte(
    ollama: OllamaStandIn,
    client: aiohttp.ClientSession,
    fault: Fault,
    status: int,
    error: str,
) -> None:
    """(3) A refusal has a real status and a JSON body; then the next call is healthy."""
    ollama.fault = [fault]
    async with chat(client, ollama) as response:
        assert response.status == status
        assert await response.json() == {"error": error}
        assert "Retry-After" not in response.headers
    async with chat(client, ollama) as response:
        assert response.status == 200


async def test_refuses_with_a_page_or_with_nothing(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(3) A proxy's HTML and an empty 403 are possible too."""
    ollama.fault = [Status(502, page="<h1>Bad Gateway</h1>"), Status(403)]
    async with chat(client, ollama) as response:
        assert response.content_type == "text/html"
    async with chat(client, ollama) as response:
        assert (response.status, await response.read()) == (403, b"")


async def test_unknown_model_is_not_found(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(3) Each route has its own text for a model that is not there."""
    for path, error in {
        "chat": "model 'x' not found",
        "generate": "model 'x' not found",
        "show": "model 'x' not found",
        "embed": 'model "x" not found, try pulling it first',
    }.items():
        async with client.post(f"{ollama.url}/api/{path}", json={"model": "x"}) as response:
            assert response.status == 404
            assert await response.json() == {"error": error}


async def test_error_as_the_first_line(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(4) Older versions say 200 and then the error."""
    ollama.fault = OldStyleError(error="no memory")
    async with chat(client, ollama) as response:
        assert response.status == 200
        assert await lines(response) == [{"error": "no memory"}]


async def test_error_line_in_the_middle(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(5) After some pieces the error comes as a line, and the response ends cleanly."""
    ollama.reply, ollama.fault = ["a", "b", "c"], ErrorLine(after=2)
    async with chat(client, ollama) as response:
        events = await lines(response)
    assert text_of(events) == "ab"
    assert events[-1] == {"error": DEATH_TEXT}
    async with chat(client, ollama, stream=False) as response:
        assert response.status == 500
        assert await response.json() == {"error": DEATH_TEXT}


async def test_end_without_done(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(6) A clean end without the done line; not streamed, ``done`` is false."""
    ollama.reply, ollama.fault = ["a", "b", "c"], EndWithoutDone(after=2)
    async with chat(client, ollama) as response:
        events = await lines(response)
    assert text_of(events) == "ab"
    assert not any(event["done"] for event in events)
    async with chat(client, ollama, stream=False) as response:
        assert (await response.json())["done"] is False


@pytest.mark.parametrize("reset", [False, True])
async def test_abrupt_close_in_the_middle(
    ollama: OllamaStandIn, client: aiohttp.ClientSession, reset: bool
) -> None:
    """(6) The socket closes inside the response; it is not counted as the client's departure."""
    ollama.reply, ollama.fault = ["a", "b", "c"], Abort(after=2, reset=reset)
    with pytest.raises(aiohttp.ClientError):
        async with chat(client, ollama) as response:
            await response.read()
    assert ollama.disconnects == []


async def test_abrupt_close_before_the_first_byte(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(6) With nothing said yet, there is no head either."""
    ollama.fault = Abort()
    async with RawStream(ollama) as stream:
        assert await stream.reader.read() == b""


async def test_thinking_comes_first(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(7) A thinking model thinks when ``think`` is absent, and not when it is false."""
    ollama.models["qwen3:4b"] = ["completion", "thinking"]
    ollama.thinking, ollama.reply = ["Hm, ", "well."], ["Yes."]
    async with chat(client, ollama, model="qwen3:4b") as response:
        events = await lines(response)
    assert [event["message"].get("thinking") for event in events] == ["Hm, ", "well.", None, None]
    assert [event["message"]["content"] for event in events] == ["", "", "Yes.", ""]
    async with chat(client, ollama, model="qwen3:4b", think=False) as response:
        assert "thinking" not in await response.text()
    async with chat(client, ollama, model="qwen3:4b", stream=False) as response:
        message = (await response.json())["message"]
    assert message == {"role": "assistant", "content": "Yes.", "thinking": "Hm, well."}


async def test_final_line_without_some_counters(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(8) Counters and the reason may be missing, and the reason may be the length."""
    ollama.without, ollama.done_reason = {"prompt_eval_count", "eval_count"}, None
    async with chat(client, ollama) as response:
        final = (await lines(response))[-1]
    assert final["done"] is True
    assert final.keys().isdisjoint({"prompt_eval_count", "eval_count", "done_reason"})
    ollama.done_reason = "length"
    async with chat(client, ollama) as response:
        assert (await lines(response))[-1]["done_reason"] == "length"


async def test_num_predict_cuts_the_reply(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(8) After ``num_predict`` pieces the reason is the length."""
    ollama.reply = list("abcdef")
    async with chat(client, ollama, options={"num_predict": 3}) as response:
        events = await lines(response)
    assert text_of(events) == "abc"
    assert events[-1]["done_reason"] == "length"


async def test_notices_a_client_that_leaves_the_stream(ollama: OllamaStandIn) -> None:
    """(9) Generation stops when the client goes, and the moment is recorded."""
    ollama.reply, ollama.fault = ["a", "b", "c"], Hang(after=2)
    async with RawStream(ollama) as stream:
        await stream.head()
        await stream.chunk()
        await stream.chunk()
        assert ollama.active == 1
    gone = await ollama.wait_disconnect()
    assert (gone.path, gone.phase, gone.pieces) == ("/api/chat", "stream", 2)
    assert gone.at <= asyncio.get_running_loop().time()
    await ollama.until(lambda: ollama.active == 0)


async def test_notices_a_client_that_leaves_while_loading(ollama: OllamaStandIn) -> None:
    """(9) A departure before the head is noticed as well, and one that only closes its half."""
    ollama.head_delay = 60
    async with RawStream(ollama) as stream:
        await ollama.until(lambda: len(ollama.requests) == 1)
        stream.writer.write_eof()
        assert (await ollama.wait_disconnect()).phase == "head"
        await ollama.until(lambda: ollama.active == 0)


async def test_notices_a_client_that_leaves_an_embedding(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(9) Closing the connection during an embedding is noticed."""
    ollama.embed_delay = 60
    body = {"model": "bge-m3", "input": ["a"]}
    request = asyncio.ensure_future(client.post(f"{ollama.url}/api/embed", json=body))
    await ollama.until(lambda: len(ollama.requests) == 1)
    request.cancel()
    assert (await ollama.wait_disconnect()).phase == "embed"


async def test_finished_clients_are_no_departures(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(9) A client that read everything and then closes did not leave early."""
    async with chat(client, ollama) as response:
        await response.read()
    await client.close()
    ollama.reply, ollama.split_writes = ["all"], True
    async with RawStream(ollama) as stream:
        await stream.reader.readuntil(b'"done":true')
    with pytest.raises(TimeoutError):
        await ollama.wait_disconnect(timeout=0.05)


async def test_a_client_that_does_not_read_slows_the_model(ollama: OllamaStandIn) -> None:
    """A full socket stops the generation; the rest is not kept in memory."""
    ollama.reply = ["x" * 100_000] * 1000
    async with RawStream(ollama) as stream:
        await stream.head()
        stream.reader._transport.pause_reading()  # type: ignore[attr-defined]
        (connection,) = ollama._connections
        await ollama.until(lambda: connection._writable is not None)
        assert connection.pieces < 1000
    assert (await ollama.wait_disconnect()).pieces < 1000


async def test_a_second_request_waits_for_the_slot(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(10) With one slot the second request gets nothing until the first one has gone."""
    ollama.slots, ollama.fault = 1, [Hang(after=1)]
    async with RawStream(ollama) as first:
        await first.head()
        async with RawStream(ollama) as impatient:
            await ollama.until(lambda: len(ollama.requests) == 2)
            impatient.writer.close()
            assert (await ollama.wait_disconnect()).phase == "queued"
        second = asyncio.ensure_future(client.post(f"{ollama.url}/api/chat", json=CHAT))
        await ollama.until(lambda: len(ollama.requests) == 3)
        assert ollama.active == 1
        assert not second.done()
    async with await second as response:
        assert (await lines(response))[-1]["done"] is True
    assert ollama.max_active == 1


async def embed(client: aiohttp.ClientSession, ollama: OllamaStandIn, **fields: Any) -> Any:
    """Return status and body of one embedding request."""
    body = {"model": "bge-m3", **fields}
    async with client.post(f"{ollama.url}/api/embed", json=body) as response:
        return response.status, await response.json()


def cosine(left: list[float], right: list[float]) -> float:
    """Return the similarity of two unit vectors."""
    return sum(a * b for a, b in zip(left, right, strict=True))


async def test_embeds_a_batch_in_order(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(11) Unit vectors in the order of the texts; texts that share words are near each other."""
    texts = ["When does the library open?", "The library opens at nine", "Waste bins, Tuesday", ""]
    status, reply = await embed(client, ollama, input=texts)
    vectors = reply["embeddings"]
    assert status == 200
    assert reply["model"] == "bge-m3"
    assert [len(vector) for vector in vectors] == [64] * 4
    assert all(math.isclose(math.hypot(*vector), 1) for vector in vectors)
    assert cosine(vectors[0], vectors[1]) > 0.3 > cosine(vectors[0], vectors[2])
    for text, vector in zip(texts[:3], vectors, strict=False):
        assert (await embed(client, ollama, input=text))[1]["embeddings"] == [vector]


async def test_embeds_fewer_dimensions(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(11) ``dimensions`` shortens the vector to a new unit; more than there are is ignored."""
    ollama.dimension = 32
    text = "The town library lends books, films, games and tools to everyone who lives here."
    for asked, given in ((8, 8), (500, 32)):
        (vector,) = (await embed(client, ollama, input=text, dimensions=asked))[1]["embeddings"]
        assert len(vector) == given
        assert math.isclose(math.hypot(*vector), 1)


@pytest.mark.parametrize("fields", [{}, {"input": ""}, {"input": []}])
async def test_embeds_nothing(
    ollama: OllamaStandIn, client: aiohttp.ClientSession, fields: dict[str, Any]
) -> None:
    """(11) No input loads the model and gives no vectors."""
    assert await embed(client, ollama, **fields) == (200, {"model": "bge-m3", "embeddings": []})
    assert ollama.loads == ["bge-m3:latest"]


async def test_embedding_refusals(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(11) Wrong items, too long a text, and a model that cannot embed."""
    assert await embed(client, ollama, input=["a", 1]) == (400, {"error": "invalid input type"})
    ollama.take_misuse()
    ollama.context_length = 3
    assert (await embed(client, ollama, input="a b c d"))[0] == 200
    too_long = "the input length exceeds the context length"
    assert await embed(client, ollama, input="a b c d", truncate=False) == (
        400,
        {"error": too_long},
    )
    assert (await embed(client, ollama, model="gemma3:4b", input="a"))[0] == 501
    ollama.embed_fault = [Status(400, "embedding contains NaN or Inf values"), NotPulled()]
    assert (await embed(client, ollama, input="a"))[0] == 400
    assert (await embed(client, ollama, input="a"))[0] == 404
    assert (await embed(client, ollama, input="a"))[0] == 200


async def test_one_text_has_a_whole_batch_refused(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """Some texts become NaN, and some versions do not cut what is too long."""
    ollama.unembeddable, ollama.embed_cuts, ollama.context_length = "zebra", False, 3
    for text, status in (("a zebra", 500), ("one two three four", 400), ("fine", 200)):
        assert (await embed(client, ollama, input=["hello", text]))[0] == status


async def test_legacy_embeddings(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(11) The old route gives one vector that is not normalised."""
    body = {"model": "bge-m3", "prompt": "a word"}
    async with client.post(f"{ollama.url}/api/embeddings", json=body) as response:
        assert math.hypot(*(await response.json())["embedding"]) > 2


@pytest.mark.parametrize(
    ("fields", "status", "error", "misuse"),
    [
        ({"temperature": 0.1}, 200, None, "'temperature' is read only inside options"),
        ({"num_ctx": 4096}, 200, None, "'num_ctx' is read only inside options"),
        ({"temprature": 1}, 200, None, "unknown field 'temprature'"),
        ({"options": {"num_threads": 8}}, 200, None, "option 'num_threads' is unknown"),
        ({"options": {"mirostat": 1}}, 200, None, "option 'mirostat' is unknown"),
        ({"options": {"top_k": 1.5}}, 200, None, "loses the fraction"),
        (
            {"options": {"num_predict": "5"}},
            500,
            'option "num_predict" must be of type integer',
            "num_predict",
        ),
        (
            {"options": {"num_ctx": True}},
            500,
            'option "num_ctx" must be of type integer',
            "num_ctx",
        ),
        (
            {"options": {"temperature": "0.1"}},
            500,
            'option "temperature" must be of type float32',
            "temperature",
        ),
        (
            {"options": {"use_mmap": 1}},
            500,
            'option "use_mmap" must be of type boolean',
            "use_mmap",
        ),
        ({"options": {"stop": "###"}}, 500, 'option "stop" must be of type array', "stop"),
        (
            {"options": {"stop": [1]}},
            500,
            'option "stop" must be of an array of strings',
            "stop",
        ),
        (
            {"stream": "yes"},
            400,
            "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
            "ChatRequest.stream",
        ),
        (
            {"messages": [{"role": "user", "content": ["Hi"]}]},
            400,
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content"
            " of type string",
            "messages.content",
        ),
        ({"messages": [{"role": "user", "text": "Hi"}]}, 200, None, "unknown field 'text'"),
        ({"keep_alive": "ten"}, 400, 'time: invalid duration "ten"', "duration"),
        ({"keep_alive": "600"}, 400, 'time: missing unit in duration "600"', "duration"),
        ({"keep_alive": "1.5"}, 400, 'time: missing unit in duration "1.5"', "duration"),
        ({"keep_alive": "5 m"}, 400, 'time: unknown unit " m" in duration "5 m"', "duration"),
        ({"think": True}, 400, '"gemma3:4b" does not support thinking', "cannot think"),
        (
            {"think": "hard"},
            400,
            'invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)',
            "think value",
        ),
        (
            {"format": "yaml"},
            500,
            r'invalid format: "\"yaml\""; expected "json" or a valid JSON Schema object',
            "format",
        ),
    ],
)
async def test_misuse_is_answered_as_ollama_does_and_noted(
    ollama: OllamaStandIn,
    client: aiohttp.ClientSession,
    fields: dict[str, Any],
    status: int,
    error: str | None,
    misuse: str,
) -> None:
    """(12) What Ollama ignores is ignored, what it refuses is refused; either is noted."""
    async with chat(client, ollama, **fields) as response:
        assert response.status == status
        if error is not None:
            assert await response.json() == {"error": error}
    (noted,) = ollama.take_misuse()
    assert misuse in noted


LONG = [{"role": "user", "content": "word " * 3216}]  # 4,020 tokens and one


def inner(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the error of the runner, which stands as JSON text in the error of the server."""
    error: dict[str, Any] = json.loads(reply["error"])["error"]
    return error


async def test_a_prompt_over_the_context_is_cut_to_half(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(12) Only its end reaches the model, without a word to the caller; here it is misuse."""
    ollama.reply = lambda body: [str(len(body["messages"][-1]["content"]))]
    messages = [{"role": "system", "content": "Rules."}, *LONG]
    async with chat(client, ollama, messages=messages, options={"num_ctx": 512}) as response:
        events = await lines(response)
    assert events[-1]["prompt_eval_count"] == 258
    assert int(text_of(events)) < 258 * 4
    (noted,) = ollama.take_misuse()
    assert "4022 tokens" in noted and "512" in noted


async def test_the_oldest_messages_are_dropped_first(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(12) What is left fits; the system message and the last one are kept."""
    ollama.reply = lambda body: [" ".join(each["content"][:4] for each in body["messages"])]
    messages = [
        {"role": "system", "content": "Rule"},
        *({"role": "user", "content": f"old{number} " * 100} for number in range(6)),
        {"role": "user", "content": "last"},
    ]
    async with chat(client, ollama, messages=messages, options={"num_ctx": 512}) as response:
        events = await lines(response)
    assert text_of(events) == "Rule old2 old3 old4 old5 last"
    assert events[-1]["prompt_eval_count"] <= 512
    assert "512" in ollama.take_misuse()[0]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_may_not_be_cut_is_refused(
    ollama: OllamaStandIn, client: aiohttp.ClientSession, stream: bool
) -> None:
    """(12) ``truncate: false`` and ``shift: false`` give 400; the error is JSON text of its own."""
    options = {"num_ctx": 512}
    asked = {"messages": LONG, "options": options, "stream": stream}
    async with chat(client, ollama, **asked, truncate=False) as response:
        assert response.status == 400
        error = inner(await response.json())
    assert (error["code"], error["n_ctx"]) == (400, 512)
    assert error["message"].startswith("request (4021 tokens) exceeds")
    ollama.take_misuse()
    ollama._load_options.clear()
    async with chat(client, ollama, **asked, shift=False) as response:
        assert response.status == 400
        assert "longer than the context length" in (await response.json())["error"]
    assert ollama.take_misuse()


@pytest.mark.parametrize(
    "schema",
    [{"type": "nonsense"}, {"type": "object", "properties": {"a": {"type": 5}}}, {"$ref": "#/x"}],
)
async def test_an_unusable_schema_is_refused(
    ollama: OllamaStandIn, client: aiohttp.ClientSession, schema: dict[str, Any]
) -> None:
    """(12) It gives 400, with the runner's error as JSON text, and is noted."""
    async with chat(client, ollama, format=schema) as response:
        assert response.status == 400
        assert inner(await response.json())["code"] == 400
    assert "schema" in ollama.take_misuse()[0]
    usable = {"type": "object", "properties": {"a": {"type": ["number", "null"]}}}
    async with chat(client, ollama, format=usable) as response:
        assert response.status == 200


async def test_a_dying_runner(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(5) Before the first token a 500, after it a line; the next request loads the model again."""
    ollama.reply, ollama.fault = ["a", "b"], [ErrorLine(), ErrorLine(after=1), None]
    async with chat(client, ollama) as response:
        assert response.status == 500
        assert await response.json() == {"error": DEATH_TEXT}
    async with chat(client, ollama) as response:
        assert response.status == 200
        assert (await lines(response))[-1] == {"error": DEATH_TEXT}
    async with chat(client, ollama) as response:
        assert response.status == 200
    assert ollama.loads == ["gemma3:4b"] * 3
    ollama.embed_fault = None
    assert (await embed(client, ollama, input="a"))[0] == 200


async def test_names_in_capitals_and_names_that_are_none(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """Case does not matter; blanks and signs make no name; an embedding without one is a 404."""
    async with chat(client, ollama, model="GEMMA3:4B") as response:
        assert response.status == 200
    assert (await embed(client, ollama, model="BGE-M3", input="a"))[0] == 200
    async with chat(client, ollama, model="a b c!!") as response:
        assert response.status == 400
        assert await response.json() == {"error": "invalid model name"}
    assert await embed(client, ollama, model="", input="a") == (
        404,
        {"error": "model '' not found"},
    )


async def test_what_ollama_forgives(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """Bytes after the JSON, invalid UTF-8, no limit of tokens; a slash at the end is a redirect."""
    for data in (json.dumps(CHAT).encode() + b"}x", json.dumps(CHAT).encode()[:-5] + b'\xff?"}]}'):
        async with client.post(f"{ollama.url}/api/chat", data=data) as response:
            assert response.status == 200
    for limit in (0, -2):
        ollama.reply = ["a"] * 5
        async with chat(client, ollama, options={"num_predict": limit}) as response:
            assert text_of(await lines(response)) == "aaaaa"
    async with client.get(f"{ollama.url}/api/tags/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, "/api/tags")


async def test_misuse_fails_the_test() -> None:
    """(12) Leaving the stand-in raises, unless the test took the notes or failed for itself."""
    with pytest.raises(AssertionError, match="'top_p' is read only inside options"):
        async with (
            OllamaStandIn() as ollama,
            aiohttp.ClientSession() as client,
            chat(client, ollama, top_p=0.5) as response,
        ):
            assert response.status == 200
    with pytest.raises(ZeroDivisionError):
        async with OllamaStandIn() as ollama:
            ollama.misuse.append("something")
            raise ZeroDivisionError


async def test_changed_load_options_are_misuse(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(12) Another ``num_ctx`` loads the model again; another temperature does not."""
    for options in ({"num_ctx": 4096}, {"num_ctx": 4096, "temperature": 0}, {}):
        async with chat(client, ollama, options=options) as response:
            assert response.status == 200
    (noted,) = ollama.take_misuse()
    assert "gemma3:4b is loaded again" in noted
    assert ollama.loads == ["gemma3:4b", "gemma3:4b"]


async def test_correct_requests_are_no_misuse(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(12) Everything a careful client sends passes, and is recorded as it came."""
    options = {
        "temperature": 0,
        "top_p": 0.9,
        "num_predict": -1,
        "stop": ["###"],
        "num_ctx": 4096,
        "use_mmap": True,
    }
    for fields in (
        {"think": False},
        {"format": "json"},
        {"keep_alive": "1h30m"},
        {"stream": False},
    ):
        async with chat(client, ollama, options=options, **fields) as response:
            assert response.status == 200
    assert len(ollama.bodies("/api/chat")) == 4
    path, headers, body = ollama.requests[0]
    assert (path, body) == ("/api/chat", {**CHAT, "options": options, "think": False})
    assert headers["content-type"] == "application/json"


async def test_a_failing_script_is_seen(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """An exception in a scripted reply does not pass for a fault of the client."""
    ollama.reply = lambda body: body["no such key"]
    with pytest.raises(aiohttp.ClientError):
        async with chat(client, ollama):
            pass
    assert "stand-in itself" in ollama.take_misuse()[0]


async def test_wrong_kind_of_model(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(3) An embedding model cannot chat, a plain model has no tools."""
    async with chat(client, ollama, model="bge-m3") as response:
        assert response.status == 400
        assert await response.json() == {"error": '"bge-m3" does not support chat'}
    async with chat(client, ollama, tools=[{"type": "function"}]) as response:
        error = "registry.ollama.ai/library/gemma3:4b does not support tools"
        assert await response.json() == {"error": error}


async def test_not_streamed(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """``stream: false`` gives one object with all of the text."""
    ollama.reply = lambda body: body["messages"][-1]["content"] + " You said that."
    async with chat(client, ollama, stream=False) as response:
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        reply = await response.json()
    assert reply["message"]["content"] == "Hi? You said that."
    assert reply["done_reason"] == "stop"


async def test_generate(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """Generation without a chat says ``response`` and ends with the context; no prompt loads."""
    url = f"{ollama.url}/api/generate"
    async with client.post(url, json={"model": "gemma3:4b", "keep_alive": "30m"}) as response:
        loaded = await response.json()
    assert (loaded["response"], loaded["done_reason"]) == ("", "load")
    assert ollama.loads == ["gemma3:4b"]
    ollama.reply = ["a", "b"]
    async with client.post(url, json={"model": "gemma3:4b", "prompt": "x"}) as response:
        events = await lines(response)
    assert [event["response"] for event in events] == ["a", "b", ""]
    assert events[-1]["context"]
    unload = {"model": "gemma3:4b", "keep_alive": 0}
    async with client.post(url, json=unload) as response:
        assert (await response.json())["done_reason"] == "unload"


async def test_what_is_installed(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(13) Tags, details, running models and version."""
    ollama.models["llama-guard3"] = ["completion"]
    async with client.get(f"{ollama.url}/api/tags") as response:
        tags = (await response.json())["models"]
    assert [tag["name"] for tag in tags] == ["gemma3:4b", "bge-m3:latest", "llama-guard3:latest"]
    async with client.post(f"{ollama.url}/api/show", json={"model": "bge-m3"}) as response:
        shown = await response.json()
    assert shown["capabilities"] == ["embedding"]
    architecture = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{architecture}.embedding_length"] == 64
    async with client.get(f"{ollama.url}/api/ps") as response:
        assert await response.json() == {"models": []}
    async with chat(client, ollama, options={"num_ctx": 2048}) as response:
        await response.read()
    async with client.get(f"{ollama.url}/api/ps") as response:
        (running,) = (await response.json())["models"]
    assert (running["name"], running["context_length"]) == ("gemma3:4b", 2048)
    async with client.get(f"{ollama.url}/api/version") as response:
        assert re.fullmatch(r"\d+\.\d+\.\d+", (await response.json())["version"])


async def test_pull(ollama: OllamaStandIn, client: aiohttp.ClientSession) -> None:
    """(13) Progress lines end in success; an unknown model is a 200 that ends in an error line."""
    async with client.post(f"{ollama.url}/api/pull", json={"model": "qwen3:4b"}) as response:
        progress = await lines(response)
    assert progress[0] == {"status": "pulling manifest"}
    assert "completed" not in progress[1]
    assert progress[-1] == {"status": "success"}
    assert "qwen3:4b" in ollama.models
    async with client.post(f"{ollama.url}/api/pull", json={"model": "nope"}) as response:
        assert response.status == 200
        error = {"error": "pull model manifest: file does not exist"}
        assert (await lines(response))[-1] == error


async def test_root_and_wrong_requests(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """(14) The probe's text, and what Ollama says to paths, methods and bodies it does not know."""
    for method, path, data, status, text in [
        ("GET", "/", None, 200, "Ollama is running"),
        ("HEAD", "/", None, 200, ""),
        ("GET", "/api/nothing", None, 404, "404 page not found"),
        ("GET", "/api/chat", None, 405, "405 method not allowed"),
        ("POST", "/api/chat", b"", 400, '{"error":"missing request body"}'),
        ("POST", "/api/chat", b'{"model":', 400, '{"error":"unexpected EOF"}'),
        ("POST", "/api/chat", b"{}", 400, '{"error":"model is required"}'),
    ]:
        async with client.request(method, ollama.url + path, data=data) as response:
            assert (response.status, await response.text()) == (status, text)
    async with client.post(f"{ollama.url}/api/chat", data=b"{x}") as response:
        assert "invalid character 'x'" in (await response.json())["error"]


async def test_refuses_foreign_hosts_and_origins(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """A Host or Origin from elsewhere gets an empty 403."""
    for name, value, status in [
        ("Host", "ollama.example.com", 403),
        ("Host", "localhost:11434", 200),
        ("Origin", "https://example.com", 403),
        ("Origin", "http://localhost:3000", 200),
    ]:
        async with client.get(ollama.url, headers={name: value}) as response:
            assert response.status == status


async def test_killed_and_started_again(
    ollama: OllamaStandIn, client: aiohttp.ClientSession
) -> None:
    """A killed server cuts its streams and refuses connections until it is started again."""
    ollama.fault = [Hang(after=1)]
    url = ollama.url
    with pytest.raises(aiohttp.ClientPayloadError):
        async with chat(client, ollama) as response:
            await response.content.readline()
            await ollama.kill()
            await response.read()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(url)
    await ollama.start()
    assert ollama.url == url
    async with client.get(url) as response:
        assert response.status == 200
    assert ollama.disconnects == []


async def test_many_streams_at_once(ollama: OllamaStandIn) -> None:
    """Hundreds of streams run side by side."""
    ollama.reply, ollama.piece_delay = list("abcde"), 0.01

    async def one(client: aiohttp.ClientSession) -> str:
        async with chat(client, ollama) as response:
            return text_of(await lines(response))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        texts = await asyncio.gather(*(one(client) for _ in range(200)))
    assert texts == ["abcde"] * 200
    assert ollama.max_active > 1


def test_quotes_a_passage_or_echoes() -> None:
    """The program's own reply quotes what the prompt fenced, or says back what it heard."""
    fenced = '<passage id="1" title="T">\nOpen at nine.\n</passage>\nWhen?'
    assert quote_passage({"messages": [{"content": fenced}]}) == "Open at nine."
    assert quote_passage({"messages": [{"content": "Hi"}]}) == "You said: Hi"


async def test_runs_as_a_program(client: aiohttp.ClientSession) -> None:
    """Started from the command line it prints its address, answers, and ends at SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.support.ollama_standin",
            "--pieces",
            "30",
            "--piece-delay",
            "0",
        ),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with client.post(f"{url}/api/chat", json=CHAT) as response:
            assert len(await lines(response)) == 31
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_behind_a_proxy_that_asks_for_a_password() -> None:
    """Below its path, with digests of one's own; frozen, it answers nothing."""
    async with OllamaStandIn() as ollama, aiohttp.ClientSession() as client:
        ollama.prefix, ollama.token = "/gpu", "t"
        ollama.digests = {"bge-m3": "f" * 64}
        async with client.get(f"{ollama.url}/api/tags") as response:
            assert response.status == 401
        headers = {"Authorization": "Bearer t"}
        async with client.get(f"{ollama.url}/api/tags", headers=headers) as response:
            listed = {each["name"]: each["digest"] for each in (await response.json())["models"]}
        assert listed["bge-m3:latest"] == "f" * 64
        assert listed["gemma3:4b"] != "f" * 64
        ollama.frozen = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.get(f"{ollama.url}/api/version", headers=headers)
