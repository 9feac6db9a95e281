"""OpenAI's client for JavaScript, as npm has it, in Node and in a browser."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..support.browser import chromium, needs_chromium
from ..support.chat_server import QUESTION, ChatServer, Socket, town
from ..support.ollama_standin import Abort, Hang
from ..support.server import serving

PACKAGE = Path(sys.prefix) / "node" / "node_modules" / "openai"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.skipif(
        not PACKAGE.exists(),
        reason="needs the npm package openai (npm install --prefix .venv/node openai@6.49.0)",
    ),
]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

PIECES = ["The library ", "opens ", "at nine [1]."]
ANSWER = "".join(PIECES)

# What a program does with the client. ``client`` is there; what it returns is JSON.
USE = """
const messages = [{ role: "user", content: question }];
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const whole = await client.chat.completions.create({ model: "town", messages });
let text = "", usage = null, id = null;
for await (const chunk of await client.chat.completions.create({
  model: "town", messages, stream: true, stream_options: { include_usage: true },
})) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
  id = chunk.id;
}
const helper = client.chat.completions.stream({ model: "town", messages });
let deltas = "";
helper.on("content", (delta) => (deltas += delta));
const final = await helper.finalContent();
const failures = [];
for (const attempt of [
  () => client.withOptions({ apiKey: "api_wrong" }).models.list(),
  () => client.models.retrieve("gpt-4o"),
  () => client.chat.completions.create({ model: "town", messages, n: 2 }),
]) {
  try { await attempt(); } catch (error) { failures.push([error.constructor.name, error.code]); }
}
return {
  models, whole: whole.choices[0].message.content, sources: whole.sources.length,
  text, usage, id, deltas, final, failures,
};
"""
STOP = """
const stream = await client.chat.completions.create({
  model: "town", messages: [{ role: "user", content: question }], stream: true,
});
let chunks = 0;
for await (const chunk of stream) if (++chunks > 3) break;
return chunks;
"""
CUT = """
let text = "";
try {
  for await (const chunk of await client.chat.completions.create({
    model: "town", messages: [{ role: "user", content: question }], stream: true,
  })) text += chunk.choices[0]?.delta?.content ?? "";
} catch (error) { return [error.constructor.name, error.message, text]; }
"""
BUSY = """
try {
  await client.chat.completions.create({
    model: "town", messages: [{ role: "user", content: question }],
  });
} catch (error) { return [error.status, error.code, error.headers.get("retry-after")]; }
"""


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[ChatServer]:
    """A chat server with its scripted Ollama; it words one answer at a time and lets none wait."""
    async with town(tmp_path, ollama__concurrency=1, ollama__queue=0) as there:
        there.ollama.reply = PIECES
        yield there


def check(used: Any) -> None:
    """The client understood everything."""
    assert used["models"] == ["town"]
    assert used["whole"].startswith(ANSWER)
    assert used["sources"] > 0
    assert used["text"] == used["deltas"] == used["final"] == used["whole"]
    assert used["usage"]["total_tokens"] > 0
    assert used["id"].startswith("chatcmpl-")
    assert used["failures"] == [
        ["AuthenticationError", "invalid_api_key"],
        ["NotFoundError", "model_not_found"],
        ["BadRequestError", "unsupported_parameter"],
    ]


async def in_node(there: ChatServer, folder: Path, body: str) -> Any:
    """Run ``body`` in Node with a client; what it returns."""
    given = {"baseURL": there.server.url + "/v1", "apiKey": there.headers["X-API-Key"]}
    (folder / "use.mjs").write_text(
        f"import OpenAI from {json.dumps((PACKAGE / 'index.mjs').as_uri())};\n"
        f"const client = new OpenAI({{ ...{json.dumps(given)}, maxRetries: 0 }});\n"
        f"const question = {json.dumps(QUESTION)};\n"
        f"const use = async () => {{ {body} }};\n"
        "console.log(JSON.stringify(await use()));\n"
    )
    process = await asyncio.create_subprocess_exec(
        *("node", folder / "use.mjs"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@needs_node
async def test_node(there: ChatServer, tmp_path: Path) -> None:
    """Models, a whole answer, a stream with usage, the helper that accumulates, failures."""
    check(await in_node(there, tmp_path, USE))


@needs_node
async def test_node_stops(there: ChatServer, tmp_path: Path) -> None:
    """Leaving the loop closes the connection, and the model stops."""
    there.ollama.reply, there.ollama.piece_delay = ["word "] * 5000, 0.02
    assert await in_node(there, tmp_path, STOP) == 4
    await there.settled()
    assert there.exchange()["outcome"] == "disconnected"


@needs_node
async def test_node_is_told_of_failures(there: ChatServer, tmp_path: Path) -> None:
    """A stream that is cut is an exception; a full queue a status that says when to come back."""
    there.ollama.fault, there.ollama.piece_delay = [Abort(after=2)], 0.01
    name, message, text = await in_node(there, tmp_path, CUT)
    assert (name, text) == ("APIError", "The library opens ")
    assert "cut off" in message
    there.ollama.fault = [Hang(after=1)]
    other = await Socket.asking(there)
    await other.read_until(b"data: ")
    status, code, seconds = await in_node(there, tmp_path, BUSY)
    assert (status, code) == (503, "model_busy")
    assert int(seconds) >= 1
    other.leave()


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    """Serve a page of another origin, with the package's own files beside it."""
    page = HTMLResponse(
        "<!doctype html><title>Town</title>"
        '<script type="importmap">{"imports": {"openai": "/openai/index.mjs"}}</script>'
        '<script type="module">import OpenAI from "openai"; window.OpenAI = OpenAI;</script>'
    )

    async def home(request: Request) -> HTMLResponse:
        return page

    routes = [Route("/", home), Mount("/openai", StaticFiles(directory=PACKAGE))]
    async with serving(Starlette(routes=routes)) as url:
        yield url


async def in_browser(there: ChatServer, page: Page, body: str) -> Any:
    """Run ``body`` in ``page`` with a client; what it returns."""
    given = {"baseURL": there.server.url + "/v1", "apiKey": there.headers["X-API-Key"]}
    return await page.evaluate(
        f"""async ([given, question]) => {{
            const client = new OpenAI({{ ...given, maxRetries: 0, dangerouslyAllowBrowser: true }});
            {body}
        }}""",
        [given, QUESTION],
    )


@needs_chromium
async def test_browser(there: ChatServer) -> None:
    """The same from a page of another site: CORS lets it ask, and read what failed, and when."""
    async with site() as url, chromium() as browser:
        page = await browser.new_page()
        await page.goto(url)
        await expect(page).to_have_title("Town")
        await page.wait_for_function("() => window.OpenAI")
        check(await in_browser(there, page, USE))
        there.ollama.reply, there.ollama.piece_delay = ["word "] * 5000, 0.02
        assert await in_browser(there, page, STOP) == 4
        await there.ollama.wait_disconnect()
        async with asyncio.timeout(30):
            while there.server.services.queue.taken:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert there.exchange()["outcome"] == "disconnected"
        there.ollama.fault = [Hang(after=1)]
        other = await Socket.asking(there)
        await other.read_until(b"data: ")
        status, code, seconds = await in_browser(there, page, BUSY)
        assert (status, code) == (503, "model_busy")
        assert int(seconds) >= 1
        other.leave()
