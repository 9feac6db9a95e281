"""A whole server over several hosts: answers, health, metrics, and where questions are embedded."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orbit_server.llm import Hosts
from tests.support.ollama_standin import Abort, Hang, OllamaStandIn, Status
from tests.support.server import ADMIN_TOKEN, Running, configuration, running

pytestmark = pytest.mark.anyio

TOKEN = "a-secret-of-the-proxy-3917"
PAIRS = {"When does the library open?": "The library opens at nine."}
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


class Town:
    """A server over three hosts: a writer, one that does all, one behind a proxy that embeds."""

    def __init__(self, server: Running, hosts: list[OllamaStandIn], http: Any, key: Any) -> None:
        self.server, self.hosts, self._http, self._key = server, hosts, http, key
        assert isinstance(server.services.ollama, Hosts)
        self.models: Hosts = server.services.ollama

    async def ask(self, message: str, **body: Any) -> tuple[int, Any]:
        """Return status and body of a whole answer."""
        sent = {"message": message, "stream": False, **body}
        url = f"{self.server.url}/chat"
        async with self._http.post(url, json=sent, headers=self._key) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> str:
        """Return what the operator is told at ``path``."""
        async with self._http.get(self.server.url + path, headers=ADMIN) as response:
            return str(await response.text())


@asynccontextmanager
async def town(folder: Path, *, loaded: bool = True, **overrides: Any) -> AsyncIterator[Town]:
    """Run the server, with a collection that was embedded there."""
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(OllamaStandIn()) for _ in range(3)]
        hosts[0].models = {"gemma3:4b": ["completion"]}
        hosts[2].models = {"bge-m3:latest": ["embedding"]}
        hosts[2].token, hosts[2].prefix = TOKEN, "/gpu"
        config = configuration(
            folder,
            ollama__hosts=[
                {"url": hosts[0].url},
                {"url": hosts[1].url},
                {"url": hosts[2].url, "headers": {"Authorization": f"Bearer {TOKEN}"}},
            ],
            **overrides,
        )
        server = await stack.enter_async_context(running(config))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        if loaded:
            await server.pairs("town", PAIRS)
        yield Town(server, hosts, http, await server.key("town"))


async def test_answers_come_from_whoever_has_the_models(tmp_path: Path) -> None:
    """Writer and embedder on different hosts; the third gets what the others cannot do."""
    async with town(tmp_path) as there:
        there.hosts[1].models = {}
        there.models.hosts[1].models = {}
        for _ in range(3):
            status, body = await there.ask(next(iter(PAIRS)))
            assert (status, body["response"]) == (200, "The library opens at nine.")
        assert len(there.hosts[0].bodies("/api/chat")) == 3
        assert there.hosts[2].bodies("/gpu/api/embed")
        assert not there.hosts[2].bodies("/gpu/api/chat")
        metadata = (await there.server.services.chroma.collection("town")).metadata
        assert metadata["orbit_digest"] == there.models.hosts[2].digest("bge-m3")


async def test_a_dying_writer_is_noticed_by_nobody(tmp_path: Path) -> None:
    """But by health, metrics and the log; the secret is in none of them."""
    async with town(tmp_path) as there:
        there.hosts[0].fault = Abort()
        for number in range(4):
            history = [{"role": "user", "content": f"{number}"}]
            status, _ = await there.ask("When does the library open?", history=history)
            assert status == 200
        await there.hosts[0].kill()
        for _ in range(3):
            there.models.hosts[0].fails(ConnectionError("refused"))
        there.server.services.health.forget()
        told = await there.get("/health?verbose")
        assert re.search(r'"hosts":\{"ok":2,"out":1\}', told)
        assert "1 of 3 hosts of the models do not work" in told
        assert there.models.hosts[0].name in told
        public = await there.get("/health")
        assert there.models.hosts[0].name not in public
        assert '"status":"error"' not in public
        there.server.services.metrics._sample()
        figures = await there.get("/metrics")
        up = rf'orbit_model_host_up{{host="{there.models.hosts[0].name}"}} 0.0'
        assert up in figures
        calls = rf'orbit_model_calls_total{{host="{there.models.hosts[1].name}"}} (\d+)'
        assert int(re.findall(calls, figures)[0]) >= 4
        assert TOKEN not in told + figures + public


async def test_after_the_first_text_the_stream_says_that_it_broke(tmp_path: Path) -> None:
    """No second beginning, no false end."""
    async with town(tmp_path) as there:
        for each in there.hosts[:2]:
            each.fault, each.reply, each.piece_delay = Abort(after=2), ["a", "b", "c"], 0.01
        sent = {"message": "When does the library open?", "stream": True}
        url = f"{there.server.url}/chat"
        async with there._http.post(url, json=sent, headers=there._key) as response:
            text = await response.text()
        assert "model_interrupted" in text
        assert text.count('"done": false') + text.count('"done":false') >= 1
        assert sum(len(each.bodies("/api/chat")) for each in there.hosts[:2]) == 1


async def test_questions_are_embedded_by_the_files_of_their_collection(tmp_path: Path) -> None:
    """Where no host has them any more, a question fails instead of finding what is wrong."""
    async with town(tmp_path) as there:
        for each in there.hosts[1:]:
            each.digests = {"bge-m3": "f" * 64}
        for host in there.models.hosts[1:]:
            assert host.models is not None
            host.models["bge-m3:latest"] = "f" * 64
        status, body = await there.ask("When is it open?")
        assert (status, body["code"]) == (503, "embedder_mismatch")
        assert "ffff" not in str(body)
        there.server.services.health.forget()
        told = await there.get("/health?verbose")
        for host in there.models.hosts[1:]:
            assert f"{host.name} has ffffffffffff" in told


async def test_a_hanging_writer_costs_its_limit_once(tmp_path: Path) -> None:
    """Answers go on; a proxy that forgot its password counts like a dead host."""
    async with town(tmp_path, ollama__first_token_timeout=1) as there:
        there.hosts[0].fault = Hang()
        for number in range(6):
            status, _ = await there.ask("When does the library open?", user=f"{number}")
            assert status == 200
        assert len(there.hosts[0].bodies("/api/chat")) <= 1 + there.models.hosts[0].failed
        there.hosts[2].token = "changed"
        there.hosts[2].embed_fault = Status(401)
        for number in range(4):
            status, _ = await there.ask(f"When does the library open, {number}?")
            assert status == 200
