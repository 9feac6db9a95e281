"""What must stay secret stays secret: no log, no metric, no error and no file tells a key."""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest

from ..support.elasticsearch_standin import ElasticsearchStandIn
from ..support.ollama_standin import BUSY, OllamaStandIn
from ..support.program import Server, command, configure, environment, server
from ..support.server import ADMIN_TOKEN

pytestmark = pytest.mark.anyio

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
USER, PASSWORD = "orbit-writer", "es-Pa55word-7391"
WRONG_PASSWORD = "es-Wr0ng-word-2846"
WRONG_KEY = "api_Wr0ngWr0ngWr0ngWr0ngWr0ngWr0ng"
WRONG_TOKEN = "wr0ng-admin-token-5512"
CHROMA_TOKEN = "chroma-t0ken-9120"
DATABASE_PASSWORD = "db-Pa55-4471"
TOWN = "# Library\n\nThe library opens at nine and lends books, films and games.\n"


class Traffic:
    """Requests to a server, and everything that it answered, heads included."""

    def __init__(self, running: Server, http: aiohttp.ClientSession) -> None:
        self.running = running
        self.http = http
        self.replies: list[bytes] = []

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        keep: bool = True,
        status: int | None = None,
        **more: Any,
    ) -> bytes:
        """Send a request and return the body of the reply; ``keep`` it unless it is a secret."""
        async with self.http.request(method, self.running.url + path, **more) as response:
            body = await response.read()
            assert status in (None, response.status), (method, path, response.status, body)
            if keep:
                self.replies += [repr(response.headers).encode(), body]
            return body

    async def ask(self, headers: dict[str, str], **body: Any) -> bytes:
        """Ask about the library."""
        question = {"message": "When does the library open?", **body}
        return await self("POST", "/chat", json=question, headers=headers)


def spelled(secrets: Iterable[str]) -> dict[bytes, str]:
    """Return every secret in the spellings that a log may give it: plain, quoted, as Basic."""
    found: dict[bytes, str] = {}
    for secret in secrets:
        found[secret.encode()] = secret
        found[quote(secret, safe="").encode()] = secret
        found[base64.b64encode(secret.encode()).rstrip(b"=")] = secret
        found[base64.b64encode(f"{USER}:{secret}".encode())] = secret
    return found


def nowhere(secrets: Iterable[str], places: dict[str, bytes]) -> None:
    """Check that no secret is in any of the places."""
    found = [
        (secret, place, data[max(0, data.index(spelling) - 80) :][:200])
        for spelling, secret in spelled(secrets).items()
        for place, data in places.items()
        if spelling in data
    ]
    assert found == []


def files(folder: Path) -> dict[str, bytes]:
    """Return all files below ``folder`` but those in which a secret belongs."""
    given = {"config.yaml", ".env"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in given
    }


async def typical(traffic: Traffic, key: str) -> list[str]:
    """Do what users, operators and strangers do; the secrets that came up on the way."""
    known, wrong = {"X-API-Key": key}, {"X-API-Key": WRONG_KEY}
    for stream in (True, False):
        await traffic.ask(known, stream=stream)
        await traffic.ask({"Authorization": f"Bearer {key}"}, stream=stream)
        await traffic.ask(wrong, stream=stream)
        await traffic.ask({"Authorization": f"Bearer {WRONG_KEY}"}, stream=stream)
        await traffic.ask({}, stream=stream)
    for data in (b"{", b'{"message": 1}', b'{"message": ""}', b"x" * 70_000, b"\xff"):
        headers = {**known, "Content-Type": "application/json"}
        await traffic("POST", "/chat", data=data, headers=headers)

    made = await traffic(
        "POST",
        "/admin/api-keys",
        keep=False,  # the one reply that shows a key
        status=200,
        json={"collection_name": "town", "client_name": "Bob"},
        headers=ADMIN,
    )
    bobs = next(value for value in orjson.loads(made).values() if str(value).startswith("api_"))
    await traffic.ask({"X-API-Key": bobs})
    stranger = {"Authorization": f"Bearer {WRONG_TOKEN}"}
    for headers in (ADMIN, stranger, known):
        await traffic("GET", "/admin/api-keys", headers=headers)
        await traffic("GET", f"/admin/api-keys/{bobs}/status", headers=headers)
        await traffic("GET", f"/admin/api-keys/{WRONG_KEY}/status", headers=headers)
        await traffic("GET", "/health?verbose=true", headers=headers)
        await traffic("GET", "/metrics", headers=headers)
        await traffic("POST", "/admin/api-keys", data=b"{", headers=headers)
        await traffic("DELETE", "/admin/collections/nowhere", headers=headers)
        name = {"api_key": bobs}
        await traffic("POST", "/admin/api-keys/deactivate", json=name, headers=headers)
    await traffic.ask({"X-API-Key": bobs})
    await traffic("DELETE", f"/admin/api-keys/{bobs}", headers=ADMIN)
    await traffic.ask({"X-API-Key": bobs})
    await traffic("GET", f"/{key}")
    await traffic("GET", f"/health?api_key={key}")
    await traffic("PUT", f"/chat?key={key}")
    return [key, bobs, WRONG_KEY, ADMIN_TOKEN, WRONG_TOKEN]


@pytest.mark.parametrize("password", [PASSWORD, WRONG_PASSWORD], ids=["right", "wrong"])
async def test_no_secret_is_told(tmp_path: Path, password: str) -> None:
    """Nothing that a day of ordinary trouble leaves behind holds a key, a token or a password."""
    async with ElasticsearchStandIn() as elastic, OllamaStandIn() as ollama:
        elastic.users = {USER: PASSWORD}
        (tmp_path / ".env").write_text(
            f"ELASTICSEARCH_USERNAME={USER}\nELASTICSEARCH_PASSWORD={password}\n"
        )
        configure(
            tmp_path,
            answer={"provider": "ollama"},
            ollama={"base_url": ollama.url},
            general={"verbose": True},
            logging={"include_prompts": True},
            elasticsearch={
                "enabled": True,
                "node": elastic.url,
                "flush_seconds": 0.05,
                "auth": {
                    "username": "${ELASTICSEARCH_USERNAME}",
                    "password": "${ELASTICSEARCH_PASSWORD}",
                },
            },
        )
        (tmp_path / "town.md").write_text(TOWN)
        assert (await command(tmp_path, "ingest", "town.md", "--collection", "town")).code == 0
        made = await command(tmp_path, "keys", "create", "--collection", "town", "--name", "Ann")
        key = made.out.split()[-1]

        async with server(tmp_path) as running, aiohttp.ClientSession() as http:
            traffic = Traffic(running, http)
            secrets = [PASSWORD, WRONG_PASSWORD, *await typical(traffic, key)]
            ollama.fault = BUSY
            await traffic.ask({"X-API-Key": key})
            await ollama.kill()
            await traffic.ask({"X-API-Key": key})
            if password == PASSWORD:
                await elastic.until(lambda: "exchange" in actions(elastic))
                await elastic.kill()
                await traffic.ask({"X-API-Key": key})
            else:
                await unavailable(running)
            await traffic("GET", "/metrics", headers=ADMIN, status=200)
            await traffic("GET", "/health?verbose=true", headers=ADMIN, status=200)
            assert await running.ended(signal.SIGTERM) == 0

        printed = [
            await command(tmp_path, *words)
            for words in (
                ("keys", "list"),
                ("keys", "status", key),
                ("keys", "status", WRONG_KEY),
                ("logs", "tail", "--no-follow", "-n", "1000"),
                ("logs", "status"),
                ("logs", "ship"),
            )
        ]
        places = files(tmp_path) | {
            "replies": b"\n".join(traffic.replies),
            "commands": "\n".join(result.out + result.err for result in printed).encode(),
            "Elasticsearch": orjson.dumps(elastic.documents),
            "Ollama": repr(ollama.requests).encode(),
        }
        assert {"console", "logs/server.log", "replies"} < set(places)
        assert len(places["console"]) > 1000 and b"orbit_requests_total" in places["replies"]
        chats = b"".join(data for name, data in places.items() if name.startswith("logs/chat-"))
        assert key[:8].encode() in chats  # what may be told is there: these are the right files
        nowhere(secrets, places)


def actions(elastic: ElasticsearchStandIn) -> set[str]:
    """Return the kinds of records that Elasticsearch holds."""
    return {source["event"]["action"] for source in elastic.sources().values()}


async def unavailable(running: Server) -> None:
    """Return once the server has said that Elasticsearch does not let it in."""
    async with asyncio.timeout(20):
        while "is unavailable" not in running.log:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "sections",
    [
        {"elasticsearch": {"enabled": True, "auth": {"username": USER, "password": [PASSWORD]}}},
        {"elasticsearch": {"enabled": True, "node": f"http://{USER}:{PASSWORD}@127.0.0.1:1"}},
        {"elasticsearch": {"api_key": {"id": PASSWORD}}},
        {"chroma": {"host": "127.0.0.1", "headers": {"Authorization": [CHROMA_TOKEN]}}},
        {"database": {"url": f"oracle://orbit:{DATABASE_PASSWORD}@127.0.0.1/orbit"}},
        {"database": {"url": f"postgresql+asyncpg://o:{DATABASE_PASSWORD}@127.0.0.1:1/orbit"}},
    ],
    ids=["password", "node", "api_key", "chroma", "database", "unreachable database"],
)
async def test_a_mistake_in_the_configuration(tmp_path: Path, sections: dict[str, Any]) -> None:
    """What is said about a wrong secret does not repeat it."""
    configure(tmp_path, **sections)
    results = [await command(tmp_path, "keys", "list"), await command(tmp_path, "logs", "status")]
    assert results[0].code != 0
    said = "\n".join(result.out + result.err for result in results).encode()
    nowhere([PASSWORD, CHROMA_TOKEN, DATABASE_PASSWORD], {"commands": said, **files(tmp_path)})


async def test_other_users_can_read_no_file(tmp_path: Path) -> None:
    """Documents, questions and logs are for the server's user alone, under a usual umask too."""
    configure(tmp_path, chroma={"path": "data/chroma"}, retrieval={"path": "data/words"})
    (tmp_path / "town.md").write_text(TOWN)
    given = {tmp_path / name for name in ("config.yaml", "town.md", "console")}
    before = os.umask(0o022)
    try:
        ingest = [sys.executable, "-m", "orbit_server", "ingest", "town.md", "--collection", "town"]
        process = await asyncio.create_subprocess_exec(*ingest, cwd=tmp_path, env=environment())
        assert await process.wait() == 0
        async with server(tmp_path) as running, aiohttp.ClientSession() as http:
            traffic = Traffic(running, http)
            made = await traffic(
                "POST",
                "/admin/api-keys",
                status=200,
                json={"collection_name": "town", "client_name": "Bob"},
                headers=ADMIN,
            )
            await traffic.ask({"X-API-Key": orjson.loads(made)["api_key"]})
            assert await running.ended(signal.SIGTERM) == 0
    finally:
        os.umask(before)
    modes = modes_below(tmp_path)
    assert {"chroma.sqlite3", "server.log"} <= {path.name for path in modes}
    assert {path for path, mode in modes.items() if mode & 0o077} == given


def modes_below(folder: Path) -> dict[Path, int]:
    """Return the permissions of everything below ``folder``."""
    return {path: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
