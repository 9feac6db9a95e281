"""The Ollama client against the stand-in: every reply, and every way in which one can end."""

import asyncio
import gc
import random
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from orbit_server.errors import (
    ModelBusy,
    ModelError,
    ModelInterrupted,
    ModelNotFound,
    ModelTimeout,
    ModelUnreachable,
    NotStarted,
)
from orbit_server.llm.ollama import ChatStream, Ollama
from orbit_server.llm.ollama.wire import FOREIGN, translation
from tests.support.ollama_standin import (
    BUSY,
    BUSY_TEXT,
    RUNNER_STOPPED,
    Abort,
    EndWithoutDone,
    ErrorLine,
    Fault,
    Hang,
    NotPulled,
    OldStyleError,
    OllamaStandIn,
    Status,
)

pytestmark = pytest.mark.anyio

CHAT = "gemma3:4b"
EMBED = "bge-m3"
ASK = [{"role": "user", "content": "When?"}]


@pytest.fixture
async def standin() -> AsyncIterator[OllamaStandIn]:
    """An Ollama that must not be misused, and of which nothing may go on afterwards."""
    async with OllamaStandIn() as standin:
        yield standin
        await standin.until(lambda: standin.active == 0)


@pytest.fixture
async def ollama(standin: OllamaStandIn) -> AsyncIterator[Ollama]:
    """A client of it with options of both kinds."""
    options = {"temperature": 0.1, "num_ctx": 8192, "num_thread": 2, "top_k": 20}
    async with Ollama(standin.url, options=options, read_timeout=5) as ollama:
        yield ollama


async def told(stream: ChatStream) -> str:
    async with stream:
        return "".join([piece async for pieces in stream for piece in pieces])


# -- replies ---------------------------------------------------------------------------


async def test_chat_gives_what_the_model_says(standin: OllamaStandIn, ollama: Ollama) -> None:
    """Pieces in order, then the counts."""
    standin.reply = ["At", " nine", "."]
    stream = ollama.chat(ASK, model=CHAT, request_id="r-1")
    assert standin.requests == []
    assert await told(stream) == "At nine."
    assert stream.usage["completion_tokens"] == 3
    assert stream.usage["total_tokens"] == 3 + stream.usage["prompt_tokens"]
    assert stream.finish_reason == "stop"
    (request,) = standin.requests
    assert request.headers["x-request-id"] == "r-1"
    assert request.body["options"] == ollama.options
    assert request.body["think"] is False
    assert request.body["keep_alive"] == "10m"


async def test_pieces_of_one_read_come_together(standin: OllamaStandIn, ollama: Ollama) -> None:
    """A burst of lines is one step."""
    standin.reply, standin.coalesce = ["a"] * 10, 20
    async with ollama.chat(ASK, model=CHAT) as stream:
        assert [len(pieces) async for pieces in stream] == [10]


@pytest.mark.parametrize(
    "text",
    [
        "Grüße 😀👩‍👩‍👧 你好 e\u0301",
        "a\nb\r\nc\td\x00\x1f\u2028\u2029\x85",
        "trailing  \n\n",
        '{"error": "not one"}\n{"done": true}',
        "https://example.com/a.html 3.14 10:30 **bold** ![x](y)",
    ],
)
@pytest.mark.parametrize("split", [False, True])
async def test_text_is_byte_exact(
    standin: OllamaStandIn, ollama: Ollama, text: str, split: bool
) -> None:
    """However the bytes come in, nothing is repaired, trimmed or removed."""
    cuts = sorted(random.Random(1).sample(range(len(text) + 1), 4))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    standin.reply, standin.split_writes = pieces, split
    assert await told(ollama.chat(ASK, model=CHAT)) == text


async def test_lone_surrogates_pass() -> None:
    """JSON may hold half a character as an escape; it comes through as it is."""
    line = rb'{"message":{"role":"assistant","content":"a\ud83d"},"done":false}' + b"\n"
    rest = rb'{"message":{"role":"assistant","content":"\ude00b"},"done":true}' + b"\n"
    async with Canned(line + rest) as url, Ollama(url) as ollama:
        assert await told(ollama.chat(ASK, model=CHAT)) == "a\ud83d\ude00b"


async def test_line_of_600_kilobytes(standin: OllamaStandIn, ollama: Ollama) -> None:
    """aiohttp's own line reader gives up at half a megabyte."""
    standin.long_line = 600_000
    standin.reply = ["a", "b"]
    assert await told(ollama.chat(ASK, model=CHAT)) == "ab"
    standin.reply = ["x" * 600_000]
    assert await told(ollama.chat(ASK, model=CHAT)) == "x" * 600_000


async def test_thinking_is_switched_off_and_else_left_out(standin: OllamaStandIn) -> None:
    """Thoughts are no part of the answer."""
    standin.models["qwen3:4b"] = ["completion", "thinking"]
    standin.reply = ["4"]
    async with Ollama(standin.url) as quiet, Ollama(standin.url, think=True) as aloud:
        assert await told(quiet.chat(ASK, model="qwen3:4b")) == "4"
        assert await told(aloud.chat(ASK, model="qwen3:4b")) == "4"
    assert [body["think"] for body in standin.bodies("/api/chat")] == [False, True]


async def test_refused_think_is_taken_back(standin: OllamaStandIn, ollama: Ollama) -> None:
    """Versions that refuse the word from a plain model are asked again without it, once."""
    refusal = Status(400, f'"{CHAT}" does not support thinking')
    standin.fault = [refusal, None, None]
    assert await told(ollama.chat(ASK, model=CHAT)) == standin.reply
    assert await told(ollama.chat(ASK, model=CHAT)) == standin.reply
    assert ["think" in body for body in standin.bodies("/api/chat")] == [True, False, False]


@pytest.mark.parametrize("split", [False, True])
async def test_thoughts_in_the_text_are_left_out(
    standin: OllamaStandIn, ollama: Ollama, split: bool
) -> None:
    """A think block that Ollama does not know as one is no part of the answer, in any pieces."""
    standin.split_writes = split
    for pieces in (
        ["<think>", "It opens", " at nine.", "</think>", "\n\n", "At ", "nine. <b>\n"],
        ["<thi", "nk>\nHm", "m.</th", "ink>At nine. <b>\n"],
        list(" \n<think>Hm.</think>\nAt nine. <b>\n"),
        ["<think>Hm.</think>At nine. <b>\n"],
    ):
        standin.reply = pieces
        assert await told(ollama.chat(ASK, model=CHAT)) == "At nine. <b>\n"
    standin.reply = ["  At <think>", "nine</think>", " <thi"]
    assert await told(ollama.chat(ASK, model=CHAT)) == "  At <think>nine</think> <thi"


async def test_a_thought_that_is_cut_is_no_answer(standin: OllamaStandIn, ollama: Ollama) -> None:
    """When the limit of tokens ends a think block, nothing of it is shown."""
    standin.reply, standin.done_reason = ["<think>", "It opens"], "length"
    stream = ollama.chat(ASK, model=CHAT)
    assert await told(stream) == ""
    assert stream.finish_reason == "length"
    standin.done_reason = "stop"
    assert await told(ollama.chat(ASK, model=CHAT)) == "<think>It opens"


@pytest.mark.parametrize("reason", ["stop", "length", None, "load"])
async def test_finish_reason_is_stop_or_length(
    standin: OllamaStandIn, ollama: Ollama, reason: str | None
) -> None:
    """What is neither counts as stop."""
    standin.done_reason = reason
    stream = ollama.chat(ASK, model=CHAT)
    await told(stream)
    assert stream.finish_reason == ("length" if reason == "length" else "stop")


async def test_counters_that_are_left_out_are_zero(standin: OllamaStandIn, ollama: Ollama) -> None:
    """Ollama leaves out zeros."""
    standin.without = {"prompt_eval_count", "eval_count"}
    stream = ollama.chat(ASK, model=CHAT)
    await told(stream)
    assert stream.usage == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


async def test_complete_gives_the_whole_reply(standin: OllamaStandIn, ollama: Ollama) -> None:
    """Not streamed, with options over the client's own, a format and thinking as told."""
    standin.models["qwen3:4b"] = ["completion", "thinking"]
    standin.reply = ["un", "safe"]
    reply = await ollama.complete(
        ASK, model="qwen3:4b", options={"temperature": 0, "num_predict": 20}, format="json"
    )
    assert reply == "unsafe"
    (body,) = standin.bodies("/api/chat")
    assert (body["stream"], body["format"], body["think"]) == (False, "json", False)
    assert body["options"] == ollama.options | {"temperature": 0, "num_predict": 20}
    assert await ollama.complete(ASK, model="qwen3:4b", think=True) == "unsafe"
    assert standin.bodies("/api/chat")[-1]["think"] is True


async def test_embed_keeps_order_and_length(standin: OllamaStandIn, ollama: Ollama) -> None:
    """One unit vector a text, in order; an empty list needs none."""
    apart = [(await ollama.embed([text], model=EMBED))[0] for text in ("library", "dog")]
    assert await ollama.embed(["library", "dog"], model=EMBED) == apart
    assert all(sum(x * x for x in vector) == pytest.approx(1) for vector in apart)
    assert await ollama.embed([], model=EMBED) == []


@pytest.mark.parametrize("options", [{"num_thread": 2}, {}], ids=["set", "left to Ollama"])
async def test_embed_uses_as_many_threads_as_a_chat(
    standin: OllamaStandIn, options: dict[str, int]
) -> None:
    """The option belongs to the machine, not to a model; the other options belong to the chat."""
    async with Ollama(standin.url, options={**options, "num_ctx": 8192}) as ollama:
        await ollama.embed(["library"], model=EMBED)
    assert standin.requests[-1].body.get("options", {}) == options


async def test_models_and_version(standin: OllamaStandIn, ollama: Ollama) -> None:
    """Names carry their tag."""
    assert await ollama.models() == ["gemma3:4b", "bge-m3:latest"]
    assert (await ollama.version()).count(".") == 2


async def test_a_hundred_and_fifty_streams_at_once(standin: OllamaStandIn, ollama: Ollama) -> None:
    """None of them waits for a connection."""
    standin.reply = ["a", "b"]
    streams = [ollama.chat(ASK, model=CHAT) for _ in range(150)]
    standin.fault = [Hang(after=1)] * 150
    for stream in streams:
        await stream.__aenter__()
    assert standin.active == 150
    for stream in streams:
        await stream.__aexit__()
    await standin.until(lambda: standin.active == 0)


# -- failures --------------------------------------------------------------------------

BEFORE: dict[str, tuple[Fault, type[ModelError], str]] = {
    "not pulled": (NotPulled(), ModelNotFound, "not found"),
    "not pulled, old": (NotPulled(old=True), ModelNotFound, "not found"),
    "busy": (BUSY, ModelBusy, BUSY_TEXT),
    "rate limit": (Status(429, "too many requests"), ModelBusy, "too many"),
    "bad request": (Status(400, "invalid format"), ModelError, "invalid format"),
    "unauthorized": (Status(401, "unauthorized"), ModelError, "unauthorized"),
    "host refused": (Status(403), ModelError, "403"),
    "runner stopped": (RUNNER_STOPPED, ModelError, "resource limitations"),
    "proxy page": (Status(502, page="<html>Bad Gateway</html>"), ModelError, "Bad Gateway"),
    "proxy timeout": (Status(504, page="<html>Timeout</html>"), ModelTimeout, "504"),
    "runner died": (ErrorLine(), ModelError, "unexpected EOF"),
    "old style": (OldStyleError(), ModelError, "unexpected EOF"),
    "nothing": (EndWithoutDone(), ModelInterrupted, "without done"),
    "closed": (Abort(), ModelUnreachable, ""),
    "reset": (Abort(reset=True), ModelUnreachable, ""),
}


@pytest.mark.parametrize(("fault", "kind", "cause"), BEFORE.values(), ids=BEFORE.keys())
async def test_failures_before_the_first_piece(
    standin: OllamaStandIn, ollama: Ollama, fault: Fault, kind: type[ModelError], cause: str
) -> None:
    """Each has its own error; the cause is for the operator, the detail names nothing of it."""
    standin.fault = fault
    with pytest.raises(ModelError) as raised:
        await told(ollama.chat(ASK, model=CHAT))
    assert type(raised.value) is kind
    assert cause in str(raised.value)
    for internal in (CHAT, "127.0.0.1", cause or "Ollama"):
        assert internal not in raised.value.detail


AFTER: dict[str, tuple[Fault, type[ModelError]]] = {
    "error line": (ErrorLine(after=2), ModelInterrupted),
    "end without done": (EndWithoutDone(after=2), ModelInterrupted),
    "closed": (Abort(after=2), ModelInterrupted),
    "reset": (Abort(after=2, reset=True), ModelInterrupted),
}


@pytest.mark.parametrize(("fault", "kind"), AFTER.values(), ids=AFTER.keys())
@pytest.mark.parametrize("coalesce", [1, 9])
async def test_failures_after_the_first_piece(
    standin: OllamaStandIn,
    ollama: Ollama,
    fault: Fault,
    kind: type[ModelError],
    coalesce: int,
) -> None:
    """What was said before is given first; then the failure, also when both came in one read."""
    standin.reply, standin.fault, standin.coalesce = ["a", "b", "c"], fault, coalesce
    if not isinstance(fault, Abort):
        standin.piece_delay = 0.01
    said: list[str] = []
    stream = ollama.chat(ASK, model=CHAT)
    with pytest.raises(ModelError) as raised:
        async with stream:
            async for pieces in stream:
                said += pieces
    assert type(raised.value) is kind
    if not (isinstance(fault, Abort) and fault.reset):  # a reset may overtake what was sent
        assert said == ["a", "b"]
    assert len(standin.requests) == 1


async def test_silence_is_a_timeout(standin: OllamaStandIn) -> None:
    """Before the head and between pieces; there is no limit on the whole."""
    standin.reply, standin.fault = ["a", "b"], [Hang(), Hang(after=1)]
    async with Ollama(standin.url, read_timeout=0.1) as ollama:
        for _ in range(2):
            with pytest.raises(ModelTimeout):
                await told(ollama.chat(ASK, model=CHAT))
        standin.reply, standin.piece_delay = ["a"] * 10, 0.03
        assert await told(ollama.chat(ASK, model=CHAT)) == "a" * 10


async def test_nobody_there(standin: OllamaStandIn, ollama: Ollama) -> None:
    """A killed Ollama cannot be reached, whatever is asked of it; nor can a name nobody has."""
    await standin.kill()
    for call in (
        told(ollama.chat(ASK, model=CHAT)),
        ollama.complete(ASK, model=CHAT),
        ollama.embed(["a"], model=EMBED),
        ollama.models(),
        ollama.version(),
    ):
        with pytest.raises(ModelUnreachable):
            await call
    async with Ollama("http://no-such-host.invalid:1") as lost:
        with pytest.raises(ModelUnreachable):
            await lost.version()


async def test_host_that_takes_no_connection_is_a_timeout() -> None:
    """A full backlog swallows connections; ``connect_timeout`` ends that."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            async with Ollama(f"http://127.0.0.1:{port}", connect_timeout=0.1) as ollama:
                with pytest.raises(ModelTimeout):
                    await ollama.version()
        finally:
            for each in waiting:
                each.close()


async def test_busy_and_reset_are_tried_again_before_the_first_byte(
    standin: OllamaStandIn, ollama: Ollama
) -> None:
    """Twice; what was refused for good, or had begun, is not."""
    standin.fault = [BUSY, BUSY, None]
    assert await told(ollama.chat(ASK, model=CHAT)) == standin.reply
    assert len(standin.requests) == 3
    standin.embed_fault = [Abort(), None]
    assert len(await ollama.embed(["a"], model=EMBED)) == 1
    standin.requests.clear()
    for fault in (RUNNER_STOPPED, NotPulled(), Status(400, "no"), EndWithoutDone()):
        standin.fault = [fault, None]
        with pytest.raises(ModelError):
            await told(ollama.chat(ASK, model=CHAT))
        standin.fault = None
    assert len(standin.requests) == 4
    standin.requests.clear()
    standin.fault = BUSY
    with pytest.raises(ModelBusy):
        await told(ollama.chat(ASK, model=CHAT))
    assert len(standin.requests) == 3


async def test_restarted_ollama_is_found_again(standin: OllamaStandIn, ollama: Ollama) -> None:
    """A connection that was kept and then cut costs nothing."""
    await ollama.embed(["a"], model=EMBED)
    await standin.kill()
    await standin.start()
    assert len(await ollama.embed(["a"], model=EMBED)) == 1


async def test_whole_reply_without_done_is_a_failure(
    standin: OllamaStandIn, ollama: Ollama
) -> None:
    """Ollama ends a loop of identical tokens silently, with done: false."""
    standin.fault = EndWithoutDone(after=1)
    with pytest.raises(ModelInterrupted):
        await ollama.complete(ASK, model=CHAT)


async def test_embedding_failures(standin: OllamaStandIn, ollama: Ollama) -> None:
    """Not pulled, not able, failed: told apart as for chats."""
    standin.embed_fault = [NotPulled(), RUNNER_STOPPED]
    with pytest.raises(ModelNotFound):
        await ollama.embed(["a"], model=EMBED)
    with pytest.raises(ModelError):
        await ollama.embed(["a"], model=EMBED)
    with pytest.raises(ModelError, match="501"):
        await ollama.embed(["a"], model=CHAT)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"not json\n",
        b"[]\n",
        b"5\n",
        b'{"message": null, "done": false}\n',
        b'{"message": {}, "done": false}\n',
        b'{"message": {"content": "a"}, "done": fal',
        b'{"message": {"content": "\xff"}',
        b'{"message": {"content": 5}, "done": true}\n',
        b'{"message": {"content": ["a"]}, "done": true}\n',
        b'{"message": {"content": {"text": "a"}}, "done": true}\n',
        b'{"message": "a", "done": true}\n',
        b'{"message": ["a"], "done": true}\n',
        b"[" * 100_000 + b"\n",
    ],
)
async def test_nonsense_is_a_model_error(reply: bytes) -> None:
    """Whatever answers there, no other exception comes out, and no success."""
    async with Canned(reply) as url, Ollama(url) as ollama:
        with pytest.raises(ModelError):
            await told(ollama.chat(ASK, model=CHAT))
        with pytest.raises(ModelError):
            await ollama.complete(ASK, model=CHAT)
        with pytest.raises(ModelError):
            await ollama.embed(["a"], model=EMBED)


@pytest.mark.parametrize(
    "line", [b"<html>", b"[]", b'{"message": {"content": 5}}', b'{"message": "x"}', b'{"a": 1}}']
)
@pytest.mark.parametrize("end", [b"\n", b""])
async def test_nonsense_keeps_what_was_said_before_it(line: bytes, end: bytes) -> None:
    """Text of the same read is given first; then the answer counts as cut off."""
    said: list[str] = []
    reply = b'{"message": {"content": "a"}, "done": false}\n' + line + end
    async with Canned(reply) as url, Ollama(url) as ollama:
        with pytest.raises(ModelInterrupted):
            async with ollama.chat(ASK, model=CHAT) as stream:
                async for pieces in stream:
                    said += pieces
    assert said == ["a"]


async def test_last_line_may_lack_its_end() -> None:
    """A whole object is whole without a line break; blank lines say nothing."""
    reply = b'{"message": {"content": "a"}}\r\n\r\n \n{"message": {"content": "b"}, "done": true}'
    async with Canned(reply) as url, Ollama(url) as ollama:
        assert await told(ollama.chat(ASK, model=CHAT)) == "ab"
    async with Canned(b'{"error": "out of memory"}') as url, Ollama(url) as ollama:
        with pytest.raises(ModelError, match="out of memory"):
            await told(ollama.chat(ASK, model=CHAT))


@pytest.mark.parametrize(
    "count", ["null", "-1", '"7"', "NaN", "1e999", "true", "1.5", "[3]", "1" + "0" * 30]
)
async def test_counts_that_are_none_are_zero(count: str) -> None:
    """Whatever stands there instead of a whole number, the answer is complete."""
    reply = f'{{"done": true, "prompt_eval_count": 4, "eval_count": {count}}}\n'
    async with Canned(reply.encode()) as url, Ollama(url) as ollama:
        stream = ollama.chat(ASK, model=CHAT)
        assert await told(stream) == ""
    assert stream.usage == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}


@pytest.mark.parametrize("models", ['"x"', "[1]", '[{"model": "x"}]', "5"])
async def test_tags_of_another_form(models: str) -> None:
    """A list that cannot be read is a model error like any other."""
    async with Canned(f'{{"models": {models}}}'.encode()) as url, Ollama(url) as ollama:
        with pytest.raises(ModelError):
            await ollama.models()


async def test_tags_without_models() -> None:
    """A Go list that was never filled is null."""
    async with Canned(b'{"models": null}') as url, Ollama(url) as ollama:
        assert await ollama.models() == []


def test_everything_that_aiohttp_raises_is_translated() -> None:
    """Nothing foreign gets out of this module, before or after the first piece."""
    kinds = {
        kind
        for module in (aiohttp, aiohttp.http_exceptions)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    others = (aiohttp.WebSocketError, aiohttp.WSMessageTypeError, aiohttp.EofStream, Warning)
    kinds = {kind for kind in kinds if not issubclass(kind, others)}
    assert len(kinds) > 20
    for kind in {*kinds, TimeoutError, ConnectionResetError, OSError}:
        for begun in (False, True):
            error = _made(kind)
            assert isinstance(error, FOREIGN)
            assert isinstance(translation("http://ollama", error, begun=begun), ModelError)


async def test_through_a_proxy() -> None:
    """It gets the whole address, and its password, which no error repeats."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"version":"1.2"}')
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    address = f"http://u:hidden@127.0.0.1:{port}"
    async with Ollama("http://models.invalid:11434/gpu", proxy=address) as ollama:
        assert await ollama.version() == "1.2"
        proxy.close()
        await proxy.wait_closed()
        with pytest.raises(ModelUnreachable) as raised:
            await ollama.version()
    assert seen[0].startswith(b"GET http://models.invalid:11434/gpu/api/version HTTP/1.1")
    assert b"Proxy-Authorization: Basic " in seen[0]
    assert "hidden" not in f"{raised.value} {raised.value!r}"


async def test_headers_go_with_every_request_and_with_no_redirect(standin: OllamaStandIn) -> None:
    """A redirect could carry a secret to anybody."""
    standin.token, standin.reply = "right", ["a"]
    async with Ollama(standin.url, headers={"Authorization": "Bearer right"}) as ollama:
        assert await told(ollama.chat(ASK, model=CHAT)) == "a"
        assert await ollama.complete(ASK, model=CHAT) == "a"
        assert await ollama.embed(["a"], model=EMBED)
        assert await ollama.digest(EMBED)
        assert await ollama.digest("none") is None
        assert [each.name for each in await ollama.loaded()] == [CHAT, f"{EMBED}:latest"]
    async with (
        redirecting(standin.url) as url,
        Ollama(url, headers={"Authorization": "Bearer right"}) as ollama,
    ):
        standin.requests.clear()
        for call in (ollama.version(), ollama.complete(ASK, model=CHAT)):
            with pytest.raises(ModelError, match="307"):
                await call
        assert standin.requests == []


# -- leaving ---------------------------------------------------------------------------


async def test_leaving_a_stream_closes_its_connection(
    standin: OllamaStandIn, ollama: Ollama
) -> None:
    """That is what stops Ollama: in the middle, before the head, and when cancelled."""
    standin.reply = ["a", "b"]
    standin.fault = [Hang(after=1), Hang(), Hang()]
    async with ollama.chat(ASK, model=CHAT) as stream:
        assert await anext(stream) == ["a"]
    assert (await standin.wait_disconnect()).phase == "stream"
    for work in (told(ollama.chat(ASK, model=CHAT)), ollama.complete(ASK, model=CHAT)):
        task = asyncio.create_task(work)
        await standin.until(lambda: standin.active == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await standin.wait_disconnect()).phase == "head"


async def test_cancelled_embedding_closes_its_connection(
    standin: OllamaStandIn, ollama: Ollama
) -> None:
    """A question that nobody waits for is not embedded."""
    standin.embed_fault = Hang()
    task = asyncio.create_task(ollama.embed(["a"], model=EMBED))
    await standin.until(lambda: len(standin.requests) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await standin.wait_disconnect()).phase == "embed"


@pytest.mark.parametrize("kind", ["chat", "complete", "embed", "models"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "new"])
async def test_cancelled_at_any_step_nothing_is_left_to_the_garbage_collector(
    standin: OllamaStandIn, ollama: Ollama, kind: str, kept: bool
) -> None:
    """Whatever it waits for then: a connection, the head, a refusal, text, the next attempt."""
    standin.reply = ["a", "b", "c"]
    works: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "chat": lambda: told(ollama.chat(ASK, model=CHAT)),
        "complete": lambda: ollama.complete(ASK, model=CHAT),
        "embed": lambda: ollama.embed(["a"], model=EMBED),
        "models": ollama.models,
    }
    ended = 0
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        for fault in (None, BUSY):
            standin.fault = standin.embed_fault = fault
            for steps in range(45):
                if kept:
                    await ollama.version()
                task = asyncio.create_task(works[kind]())
                for _ in range(steps):
                    await asyncio.sleep(0)
                ended += task.done()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del task
                if not kept:
                    await ollama.__aexit__()
                    await ollama.__aenter__()
            gc.collect()
    assert [str(each.message) for each in left] == []
    assert ended > 5


async def test_used_outside_of_its_lifespan() -> None:
    """Before entering and after leaving, a clear error; and a stream must be entered."""
    ollama = Ollama("http://127.0.0.1:1")
    with pytest.raises(NotStarted):
        await ollama.version()
    async with ollama:
        with pytest.raises(NotStarted):
            await anext(ollama.chat(ASK, model=CHAT))
    with pytest.raises(NotStarted):
        await ollama.embed(["a"], model=EMBED)


@asynccontextmanager
async def redirecting(target: str) -> AsyncIterator[str]:
    """Run a server that sends everybody to ``target``; its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        head = b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nConnection: close\r\n"
        writer.write(head + b"Location: " + target.encode() + path + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


def _made(kind: type[Exception]) -> Exception:
    """Return an exception of ``kind`` without the arguments that it wants."""
    methods = {"__init__": lambda self: None, "__str__": lambda self: "made"}
    made: Exception = type(kind.__name__, (kind,), methods)()
    return made


class Canned:
    """A server that answers everything with one text and closes; the address."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"content-length: " in (lower := head.lower()):
            await reader.readexactly(int(lower.split(b"content-length: ")[1].split()[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + self._body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
