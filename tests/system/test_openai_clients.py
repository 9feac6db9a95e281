"""The real clients of OpenAI's API, libraries and programs, against a real server."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from langchain_openai import ChatOpenAI

from ..support.chat_server import QUESTION, ChatServer, town
from ..support.ollama_standin import Abort, NotPulled

pytestmark = [
    pytest.mark.anyio,
    # Closing a stream early leaves httpx an unclosed generator.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
PIECES = ["The library ", "opens ", "at nine [1]."]
ANSWER = "".join(PIECES)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[ChatServer]:
    """A chat server with its scripted Ollama."""
    async with town(tmp_path) as there:
        there.ollama.reply = PIECES
        yield there


@pytest.fixture
def client(there: ChatServer) -> Iterator[openai.OpenAI]:
    """The synchronous client; its calls belong into a thread."""
    key = there.headers["X-API-Key"]
    with openai.OpenAI(base_url=there.server.url + "/v1", api_key=key, max_retries=0) as client:
        yield client


async def test_python(there: ChatServer, client: openai.OpenAI) -> None:
    """Models, a whole answer, a raw one, a stream with usage, and the helper that accumulates."""

    def use() -> None:
        (model,) = client.models.list().data
        assert model.id == "town"
        assert client.models.retrieve("town").owned_by == "orbit"
        whole = client.chat.completions.create(model="town", messages=MESSAGES)
        assert str(whole.choices[0].message.content).startswith(ANSWER)
        assert whole.usage is not None and whole.usage.total_tokens > 0
        raw = client.chat.completions.with_raw_response.create(model="town", messages=MESSAGES)
        assert raw.parse().choices[0].finish_reason == "stop"
        assert raw.headers["x-request-id"]
        text, usage = "", None
        for chunk in client.chat.completions.create(
            model="town", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            usage = chunk.usage or usage
        assert text.startswith(ANSWER)
        assert usage is not None and usage.total_tokens > 0
        with client.chat.completions.stream(model="town", messages=MESSAGES) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        assert "".join(deltas) == final.choices[0].message.content == text

    await asyncio.to_thread(use)


async def test_python_async(there: ChatServer) -> None:
    """The asynchronous client streams; closing it early stops the model."""
    key = there.headers["X-API-Key"]
    async with openai.AsyncOpenAI(base_url=there.server.url + "/v1", api_key=key) as client:
        assert [model.id async for model in client.models.list()] == ["town"]
        there.ollama.reply, there.ollama.piece_delay = ["word "] * 1000, 0.02
        stream = await client.chat.completions.create(model="t", messages=MESSAGES, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await there.settled()
        assert there.ollama.disconnects
        assert (await there.exchanged(1))[0]["outcome"] == "disconnected"


async def test_python_errors(there: ChatServer, client: openai.OpenAI) -> None:
    """Each failure is the exception that the client has for it."""

    def ask(**more: Any) -> Any:
        return client.chat.completions.create(model="town", messages=MESSAGES, **more)

    def wrong() -> None:
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="api_wrong").models.list()
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4o")
        with pytest.raises(openai.BadRequestError) as bad:
            ask(n=2)
        assert bad.value.code == "unsupported_parameter"
        assert bad.value.param == "n"
        with pytest.raises(openai.BadRequestError) as long:
            client.chat.completions.create(
                model="town", messages=[{"role": "user", "content": "x" * 5000}]
            )
        assert long.value.code == "message_too_long"

    def down() -> None:
        with pytest.raises(openai.InternalServerError):
            ask()

    def cut() -> None:
        with pytest.raises(openai.APIError, match="answer"):
            list(ask(stream=True))

    await asyncio.to_thread(wrong)
    there.ollama.fault = NotPulled()
    await asyncio.to_thread(down)
    there.ollama.fault = [Abort(after=1)]
    await asyncio.to_thread(cut)


async def test_useless_retries_are_spared(there: ChatServer) -> None:
    """A model that is not installed is asked for once, although the client retries a 502."""
    key = there.headers["X-API-Key"]
    there.ollama.fault = NotPulled()
    async with openai.AsyncOpenAI(base_url=there.server.url + "/v1", api_key=key) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="town", messages=MESSAGES)
    assert len(there.exchanges()) == 1


async def test_langchain(there: ChatServer) -> None:
    """``langchain-openai`` invokes and streams."""
    model = ChatOpenAI(
        base_url=there.server.url + "/v1",
        api_key=lambda: there.headers["X-API-Key"],
        model="town",
    )
    reply = await model.ainvoke(QUESTION)
    assert str(reply.content).startswith(ANSWER)
    parts = [str(part.content) async for part in model.astream(QUESTION)]
    assert "".join(parts).startswith(ANSWER)
    assert len(parts) > len(PIECES)


async def test_llm(there: ChatServer, tmp_path: Path) -> None:
    """The command line program ``llm``, with the server in its file of models."""
    model = {
        "model_id": "town",
        "model_name": "town",
        "api_base": there.server.url + "/v1",
        "api_key_name": "town",
    }
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump([model]))
    key = there.headers["X-API-Key"]
    variables = {"PATH": os.environ["PATH"], "LLM_USER_PATH": str(tmp_path)}
    command = [sys.executable, "-m", "llm", "-m", "town", "--key", key, QUESTION]
    done = await asyncio.to_thread(
        subprocess.run, command, env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(ANSWER), done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl (Debian: apt install curl)")
async def test_curl(there: ChatServer) -> None:
    """``curl -N`` shows the events as they come."""
    body = f'{{"stream": true, "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sN", there.server.url + "/v1/chat/completions", "-d", body),
        *("-H", f"Authorization: Bearer {there.headers['X-API-Key']}"),
        *("-H", "Content-Type: application/json"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out.endswith(b"data: [DONE]\n\n")
