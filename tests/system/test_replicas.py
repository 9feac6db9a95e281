"""Three replicas behind nginx, and all that they share, while parts of it are taken away.

Everything but the models is real: nginx with the shipped file, PostgreSQL, Redis, a Chroma server,
the server in processes of its own; Elasticsearch is the one at ``ELASTICSEARCH_URL``, or a
stand-in. No client asks twice: what nginx may pass on to another replica, it passes on itself.

``ORBIT_CHATS`` says how many chats there are at least.
"""

import asyncio
import itertools
import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from orbit_server.documents.model import Chunk
from orbit_server.documents.remote_store import RemoteStore

from ..support import postgres, redis
from ..support.chroma_run import chroma_run
from ..support.elasticsearch_standin import ElasticsearchStandIn
from ..support.ollama_standin import Body, OllamaStandIn
from ..support.ports import free_port, listens
from ..support.program import ROOT, Server, answering, configure, start
from ..support.redis import RedisServer
from ..support.server import ADMIN_TOKEN, events, records_in
from .test_nginx import MAIN, NGINX

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: apt install nginx-light)"),
    pytest.mark.skipif(bool(redis.missing()), reason=f"needs {redis.missing()}"),
    pytest.mark.skipif(bool(postgres.missing()), reason=f"needs {postgres.missing()}"),
]

SEED = 20261127
CHATS = int(os.environ.get("ORBIT_CHATS", "800"))  # at least
AT_ONCE = 200
SOME = 60  # between one thing that happens and the next
REPLICAS = 3
TENANTS = ("alpha", "beta", "gamma")
GUEST = "guest"  # another key of the first tenant, which is revoked
SUBJECTS = ("library", "pool", "market", "museum", "harbour", "cinema", "garden", "theatre")
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


def chunks(tenant: str) -> list[Chunk]:
    """Return the documents of a tenant: each passage says whose it is."""
    made = []
    for position, subject in enumerate(SUBJECTS * 3):
        text = f"The {subject} of ward {position} opens at {position}, says MARK{tenant}."
        made.append(Chunk.of(text, text, {"source": f"{tenant}.md", "position": position}))
    return made


def notice(edition: int) -> Chunk:
    """Return an edition of the document that is replaced."""
    text = f"Notice of the ferry: it leaves as EDITION{edition} says, says MARK{TENANTS[0]}."
    return Chunk.of(text, text, {"source": f"{TENANTS[0]}-notice.md", "position": 0})


def echo(body: Body) -> str:
    """Say whose passages the prompt has, of which editions, and which question it is."""
    prompt = orjson.dumps(body["messages"]).decode()
    name = re.findall(r"chat-\d+", prompt)[-1]
    told = sorted(set(re.findall(r"MARK[a-z]+|EDITION\d", prompt)))
    return f"{name} was asked of {' '.join(told)} and that is all there is to say of END{name}"


@dataclass
class Chat:
    """A question, and what came of it; times are those of ``time.monotonic``."""

    name: str
    tenant: str
    key: str
    began: float
    ended: float = 0.0
    status: int = 0
    text: str = ""
    sources: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    error: str = ""

    @property
    def crossed(self) -> bool:
        """Whether something of another tenant, or of another question, is in it."""
        said = set(re.findall(r"MARK([a-z]+)", self.text)) - {self.tenant}
        asked = set(re.findall(r"chat-\d+", self.text)) - {self.name}
        others = [each for each in self.sources if not each["source"].startswith(self.tenant)]
        return bool(said or asked or others)

    @property
    def revoked(self) -> bool:
        """Whether it was refused or ended since its key is none any more."""
        return self.status == 401 or self.error == "key_ended"

    @property
    def complete(self) -> bool:
        """Whether all that the model said is there."""
        return self.text.startswith(self.name) and self.text.endswith(f"END{self.name}")

    @property
    def old(self) -> bool:
        """Whether it has the edition that was replaced."""
        return "EDITION1" in self.text


@dataclass
class Replica:
    """One of the servers: its folder and port, and its process."""

    folder: Path
    port: int
    running: Server | None = None

    async def start(self) -> None:
        """Start it, and return when it answers."""
        process = start(self.folder, "--host", "127.0.0.1", f"--port={self.port}")
        self.running = Server(f"http://127.0.0.1:{self.port}", self.folder, process)
        await answering(self.running)

    def kill(self) -> None:
        """End it as a failing machine does."""
        if self.running is not None:
            self.running.process.kill()
            self.running.process.wait()

    async def drain(self) -> int:
        """Let it end in its own time; the exit code."""
        assert self.running is not None
        self.running.process.terminate()
        return await asyncio.to_thread(self.running.process.wait, 60)


def started_balancer(folder: Path, port: int, ports: Sequence[int]) -> "subprocess.Popen[bytes]":
    """Start nginx at ``port`` with the shipped file, before the replicas at ``ports``."""
    folder.mkdir()
    site = (ROOT / "deploy" / "nginx.replicas.conf").read_text()
    for number, each in enumerate(ports, start=1):
        assert f"orbit-{number}:3000" in site
        site = site.replace(f"orbit-{number}:3000", f"127.0.0.1:{each}")
    (folder / "site.conf").write_text(site.replace("listen 80;", f"listen 127.0.0.1:{port};"))
    user = "user root;" if os.geteuid() == 0 else ""  # else it could not read the folder
    main = MAIN.format(folder=folder, user=user)
    main = main.replace("events {}", "events { worker_connections 2048; }")
    (folder / "nginx.conf").write_text(main)
    assert NGINX is not None
    command: list[str | Path] = [
        NGINX,
        "-p",
        folder,
        "-c",
        folder / "nginx.conf",
        "-e",
        folder / "error.log",
    ]
    return subprocess.Popen(command)


@asynccontextmanager
async def balancer(folder: Path, ports: Sequence[int]) -> AsyncIterator[str]:
    """Run nginx before the replicas; its address."""
    port = free_port()
    process = started_balancer(folder, port, ports)
    try:
        async with asyncio.timeout(30):
            while not await listens(port):
                assert process.poll() is None, (folder / "error.log").read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Cluster:
    """All of it: where clients ask, what can be taken away, and what was asked."""

    url: str
    replicas: list[Replica]
    redis: RedisServer
    keys: dict[str, str]
    chance: random.Random
    chats: list[Chat] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def ask(self, http: aiohttp.ClientSession) -> None:
        """Ask as somebody, streamed or not."""
        key = self.chance.choice([*TENANTS, GUEST])
        tenant = TENANTS[0] if key == GUEST else key
        ferry = tenant == TENANTS[0] and self.chance.random() < 0.5
        subject = "ferry of the notice" if ferry else self.chance.choice(SUBJECTS)
        number = next(self._numbers)
        chat = Chat(f"chat-{number}", tenant, key, time.monotonic())
        self.chats.append(chat)
        stream = number % 4 > 0
        body = {"message": f"{chat.name}: when does the {subject} open?", "stream": stream}
        headers = {"X-API-Key": self.keys[key], "X-Request-ID": chat.name}
        try:
            async with http.post(f"{self.url}/chat", json=body, headers=headers) as response:
                chat.status = response.status
                content = b"".join([part async for part in response.content.iter_any()])
        except (aiohttp.ClientError, OSError) as error:
            chat.error = f"{type(error).__name__}: {error}"
        else:
            if chat.status == 200:
                self._read(chat, content, stream=stream)
            else:
                chat.error = content.decode(errors="replace")
        chat.ended = time.monotonic()

    def _read(self, chat: Chat, content: bytes, *, stream: bool) -> None:
        if not stream:
            reply = orjson.loads(content)
            chat.text, chat.sources, chat.done = reply["response"], reply["sources"], True
            return
        whole = content[: content.rfind(b"\n\n") + 2]
        found = events(whole) if whole else []
        chat.text = "".join(event["text"] for event in found)
        last = found[-1] if found else {}
        chat.done = bool(last.get("done")) and "error" not in last
        chat.sources = last.get("sources") or []
        chat.error = "" if chat.done else str(last.get("error") or "cut")

    async def ask_all(self, enough: asyncio.Event) -> None:
        """Ask all questions, so many at once; more, until it is ``enough``."""

        async def keep_asking() -> None:
            async with aiohttp.ClientSession() as http:
                while len(self.chats) < CHATS or not enough.is_set():
                    await self.ask(http)

        await asyncio.gather(*(keep_asking() for _ in range(AT_ONCE)))

    async def answered(self, number: int) -> None:
        """Return when so many more questions have been answered that were asked from now on."""
        before = len(self.chats)
        while sum(1 for chat in self.chats[before:] if chat.ended) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def store(self, number: int) -> AsyncIterator[RemoteStore]:
        """Open the store behind one of the replicas."""
        url = f"http://127.0.0.1:{self.replicas[number].port}"
        async with RemoteStore(url, ADMIN_TOKEN) as store:
            yield store

    async def admin(self, number: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post to an admin route of one of the replicas."""
        url = f"http://127.0.0.1:{self.replicas[number].port}/admin{path}"
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, json=body, headers=ADMIN) as response,
        ):
            reply: dict[str, Any] = await response.json()
            assert response.status == 200, reply
            return reply

    def logged(self) -> dict[str, list[dict[str, Any]]]:
        """Return the exchanges in the logs of all replicas by request id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for replica in self.replicas:
            for record in records_in(replica.folder / "logs"):
                if record["kind"] == "exchange":
                    found.setdefault(record["request_id"], []).append(record)
        return found


@asynccontextmanager
async def cluster(folder: Path, chance: random.Random) -> AsyncIterator[Cluster]:
    """Run everything, with documents and keys of three tenants."""
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres.postgres())
        counters = stack.enter_context(redis.redis_server())
        chroma = await stack.enter_async_context(chroma_run(folder / "chroma"))
        ollamas = [await stack.enter_async_context(OllamaStandIn()) for _ in range(2)]
        for ollama in ollamas:
            ollama.reply, ollama.piece_delay, ollama.record = echo, 0.1, False
        elastic = os.environ.get("ELASTICSEARCH_URL")
        if elastic is None:
            elastic = (await stack.enter_async_context(ElasticsearchStandIn())).url
        replicas = [Replica(folder / f"replica{number}", free_port()) for number in range(REPLICAS)]
        for replica in replicas:
            replica.folder.mkdir()
            configure(
                replica.folder,
                database={"url": f"postgresql+asyncpg://orbit:secret@127.0.0.1:{database}/orbit"},
                chroma={
                    "host": chroma.host,
                    "port": chroma.port,
                    "confidence_threshold": 0.0,
                    "relevance_threshold": 0.0,
                },
                ollama={
                    "hosts": [{"url": ollama.url} for ollama in ollamas],
                    "concurrency": 50,
                    "queue": 200,
                },
                embedding={"provider": "ollama"},
                answer={"provider": "ollama"},
                limits={
                    "storage": counters.url,
                    "streams": 1000,
                    "wrong_keys_per_minute": 0,
                },
                retrieval={"words": "elasticsearch"},
                elasticsearch={
                    "enabled": True,
                    "node": elastic,
                },
            )
            stack.callback(replica.kill)
        await asyncio.gather(*(replica.start() for replica in replicas))
        url = await stack.enter_async_context(
            balancer(folder / "nginx", [replica.port for replica in replicas])
        )
        made = Cluster(url, replicas, counters, {}, chance)
        for number, tenant in enumerate(TENANTS):
            async with made.store(number) as store:
                await store.put(tenant, chunks(tenant), [])
        async with made.store(0) as store:
            await store.put(TENANTS[0], [notice(1)], [])
        for key in (*TENANTS, GUEST):  # which all have one address here
            body = {"collection_name": TENANTS[0] if key == GUEST else key, "client_name": key}
            made.keys[key] = (await made.admin(0, "/api-keys", body))["api_key"]
        yield made


async def test_two_thousand_chats_while_parts_go_away(tmp_path: Path) -> None:
    """Nothing crossed, no false end, nothing lost from the log, and what is revoked is over."""
    marks: dict[str, float] = {}
    async with cluster(tmp_path, random.Random(SEED)) as made:
        enough = asyncio.Event()
        asking = asyncio.create_task(made.ask_all(enough))
        await made.answered(SOME)
        marks["killed"] = time.monotonic()
        made.replicas[0].kill()
        await made.replicas[0].start()
        await made.answered(SOME)
        assert await made.replicas[1].drain() == 0
        await made.replicas[1].start()
        await made.answered(SOME)
        made.redis.kill()
        await made.answered(SOME)
        made.redis.start()
        marks["revoking"] = time.monotonic()
        await made.admin(1, "/api-keys/deactivate", {"api_key": made.keys[GUEST]})
        marks["revoked"] = time.monotonic()
        async with made.store(2) as store:
            await store.put(TENANTS[0], [notice(2)], [notice(1).id])
        marks["replaced"] = time.monotonic()
        await asyncio.sleep(1)
        await made.answered(SOME)
        enough.set()
        await asking
        assert [await replica.drain() for replica in made.replicas] == [0] * REPLICAS
        logged = made.logged()
    report(made.chats, logged, marks)

    chats = made.chats
    assert len(chats) >= CHATS
    done = [chat for chat in chats if chat.done]
    assert [chat.name for chat in chats if chat.crossed] == []
    assert [chat.name for chat in done if not chat.complete] == []
    assert [chat.name for chat in done if chat.name not in logged] == []
    assert max(map(len, logged.values())) == 1
    late = [chat for chat in chats if chat.key == GUEST and chat.began > marks["revoked"] + 1]
    assert late, "else nothing is shown of the key"
    assert {chat.status for chat in late} == {401}
    after = [chat for chat in chats if chat.began > marks["replaced"]]
    assert any("EDITION2" in chat.text for chat in after), "else nothing is shown of the document"
    assert [chat.name for chat in after if chat.old] == []
    # What was asked of the replica that was killed ends there; nothing else is lost.
    lost = [chat for chat in chats if not chat.done and not chat.revoked]
    lost = [chat for chat in lost if not chat.began <= marks["killed"] + 0.2 <= chat.ended + 0.4]
    # A server may close an idle connection in the moment in which a request is sent on it, and
    # nginx does not repeat a POST: RFC 9112, section 9.5.
    crossing = [
        chat
        for chat in lost
        if chat.status == 503 and marks["draining"] <= chat.ended and chat.began <= marks["drained"]
    ]
    assert len(crossing) <= 1
    assert [(chat.name, chat.status, chat.error) for chat in lost if chat not in crossing] == []
    revoked = [chat for chat in chats if chat.revoked]
    assert all(chat.key == GUEST and chat.ended > marks["revoking"] for chat in revoked)


def report(
    chats: Sequence[Chat], logged: dict[str, list[dict[str, Any]]], marks: dict[str, float]
) -> None:
    """Print what became of the chats."""
    done = [chat for chat in chats if chat.done]

    def count(chosen: Iterable[Chat]) -> int:
        return len(list(chosen))

    rows = {
        "sent": len(chats),
        "done": len(done),
        "cut or refused when a replica was killed": count(
            chat for chat in chats if not chat.done and not chat.revoked
        ),
        "refused or ended with the revoked key": count(chat for chat in chats if chat.revoked),
        "answered with it later than a second": count(
            chat for chat in done if chat.key == GUEST and chat.began > marks["revoked"] + 1
        ),
        "crossed": count(chat for chat in chats if chat.crossed),
        "false done": count(chat for chat in done if not chat.complete),
        "done, and not in a log": count(chat for chat in done if chat.name not in logged),
        "old text after the replacement": count(
            chat for chat in chats if chat.old and chat.began > marks["replaced"]
        ),
        "with the document as it was": count(chat for chat in chats if chat.old),
        "with the document that replaced it": count(
            chat for chat in chats if "EDITION2" in chat.text
        ),
        "asked again by a client": 0,
    }
    took = max(chat.ended for chat in chats) - min(chat.began for chat in chats)
    longest = max(chat.ended - chat.began for chat in chats)
    errors = Counter((chat.status, chat.error[:80]) for chat in chats if not chat.done)
    print(f"\n{took:.0f} s, the longest chat {longest:.1f} s; not done: {dict(errors)}\n")
    print("| chats | |\n| --- | ---: |")
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))
