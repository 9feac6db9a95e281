"""The examples of docs/mounting.md under each server: chats, a client that leaves, a stop."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from orbit_server.config import load
from orbit_server.services import Services
from tests.support.ollama_standin import OllamaStandIn
from tests.support.ports import free_port
from tests.support.server import Running, events, records_in, text

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mounting.md").read_text()
QUESTION = "When does the library open?"
DRAIN_SECONDS = 0.5
SETTINGS: dict[str, Any] = {
    "general": {"drain_seconds": DRAIN_SECONDS},
    "chroma": {"path": "chroma"},
    "retrieval": {"path": "lexical"},
    "database": {"url": "sqlite+aiosqlite:///orbit.db"},
    "embedding": {"provider": "lexical"},
    "answer": {"condense": False},
}
DJANGO = {
    "mysite/__init__.py": "",
    "mysite/settings.py": "ROOT_URLCONF = 'mysite.urls'\nALLOWED_HOSTS = ['*']\n",
    "mysite/urls.py": (
        "from django.http import HttpResponse\nfrom django.urls import path\n"
        "urlpatterns = [path('', lambda request: HttpResponse('the host'))]\n"
    ),
}


def section(title: str, language: str) -> str:
    """Return the first block of ``language`` below the heading ``title`` of the page."""
    body = re.split(rf"^#+ {title}$", PAGE, flags=re.MULTILINE)[1]
    block = re.search(rf"^```{language}\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
    assert block, title
    return block[1]


FRAMEWORKS = ["Starlette", "FastAPI", "Litestar", "Quart", "Django"]
COMMANDS = {line.split()[0]: shlex.split(line) for line in section("Servers", "bash").splitlines()}


@dataclass
class Guest:
    """A host in a process of its own, with the server below ``url``."""

    url: str
    process: subprocess.Popen[bytes]
    http: aiohttp.ClientSession
    key: dict[str, str]
    folder: Path

    def asking(self) -> "aiohttp.client._RequestContextManager":
        """Ask the question; the response is entered as soon as its head is there."""
        return self.http.post(self.url + "/chat", json={"message": QUESTION}, headers=self.key)

    async def answer(self) -> Sequence[dict[str, Any]]:
        """Ask the question and return all events of the answer."""
        async with self.asking() as response:
            assert response.status == 200
            return events(await response.read())

    async def outcomes(self, count: int) -> list[str]:
        """Return how the exchanges of the chat log ended, once there are ``count``."""
        async with asyncio.timeout(30):
            while True:
                found = records_in(self.folder / "logs")
                ends = [each["outcome"] for each in found if each["kind"] == "exchange"]
                if len(ends) >= count:
                    return ends
                await asyncio.sleep(0.02)

    @property
    def output(self) -> str:
        """What the host has printed so far."""
        return (self.folder / "console").read_text()


@pytest.fixture(scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with a collection and a key, and the header that carries the key."""
    folder = tmp_path_factory.mktemp("loaded")
    here = {
        "chroma": {"path": folder / "chroma"},
        "retrieval": {"path": folder / "lexical"},
        "database": {"url": f"sqlite+aiosqlite:///{folder}/orbit.db"},
        "logging": {"file": {"directory": folder / "logs"}},
    }
    async with Services(load({**SETTINGS, **here}, environ={})) as services:
        running = Running("", services, folder / "logs")
        await running.pairs("town", {QUESTION: "The library opens at nine."})
        key = await running.key("town")
    shutil.rmtree(folder / "logs")
    return folder, key


def start(folder: Path, port: int, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a server on ``port``, with what it prints in ``folder/console``."""
    program, *arguments = command
    where = {"hypercorn": [f"--bind=127.0.0.1:{port}"]}.get(program, [f"--port={port}"])
    with (folder / "console").open("wb") as console:
        return subprocess.Popen(
            [Path(sys.executable).with_name(program), *arguments, *where],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{folder}:{ROOT}",
                "ORBIT_CONFIG": "orbit.yaml",
            },
            stdout=console,
            stderr=subprocess.STDOUT,
        )


@asynccontextmanager
async def guest(
    folder: Path, loaded: tuple[Path, dict[str, str]], host: str, command: Sequence[str]
) -> AsyncIterator[Guest]:
    """Run ``command`` with the module ``host`` in ``folder`` until the block ends."""
    shutil.copytree(loaded[0], folder, dirs_exist_ok=True)
    (folder / "host.py").write_text(host)
    port = free_port()
    process = start(folder, port, command)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    try:
        async with aiohttp.ClientSession(connector=connector) as http:
            yield Guest(f"http://127.0.0.1:{port}/orbit", process, http, loaded[1], folder)
    finally:
        process.kill()
        process.wait()


async def started(guest: Guest) -> None:
    """Return once the guest answers; AssertionError with its output when it ends instead."""
    async with asyncio.timeout(60):
        while guest.process.poll() is None:
            try:
                async with guest.http.get(guest.url + "/health") as response:
                    assert response.status == 200, await response.text()
                    assert (await response.json())["status"] == "ok"
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    raise AssertionError(guest.output)


@pytest.mark.parametrize("server", COMMANDS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_guest(
    framework: str, server: str, loaded: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """Ten chats at once, a client that leaves, and a stop in the middle of an answer."""
    for name, content in DJANGO.items() if framework == "Django" else ():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    async with OllamaStandIn() as ollama:
        settings = {**SETTINGS, "ollama": {"base_url": ollama.url, "concurrency": 0}}
        (tmp_path / "orbit.yaml").write_text(yaml.safe_dump(settings))
        host = section(framework, "python")
        async with guest(tmp_path, loaded, host, COMMANDS[server]) as running:
            await started(running)
            answers = await asyncio.gather(*(running.answer() for _ in range(10)))
            assert {text(answer) for answer in answers} == {"The library opens at nine."}
            assert all(answer[-1]["done"] for answer in answers)
            async with running.http.get(running.url + "/health/live/") as response:
                assert response.status == 200

            ollama.reply, ollama.piece_delay = ["on and on "] * 1000, 0.05
            async with running.asking() as response:
                await response.content.readany()
                response.close()
            await ollama.until(lambda: ollama.active == 0)
            assert (await running.outcomes(11))[10] == "disconnected"

            ollama.reply, ollama.piece_delay = ["word "] * 40, 0.05  # two seconds
            async with running.asking() as response:
                first = await response.content.readuntil(b"\n\n")
                running.process.send_signal(signal.SIGTERM)
                answer = events(first + await response.read())
            code = await asyncio.to_thread(running.process.wait, 30)
        last = answer[-1]
        if server == "uvicorn":  # which tells the guest
            assert (last["finish_reason"], last["error"]) == ("error", "shutting_down")
            assert code == -signal.SIGTERM, running.output
        else:
            assert (last["finish_reason"], text(answer)) == ("stop", "word " * 40)
            assert code == 0, running.output
        assert records_in(tmp_path / "logs")[-1]["event"] == "stopped"


async def test_several_workers(loaded: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """The second one cannot open the documents, and says what several need."""
    (tmp_path / "orbit.yaml").write_text(yaml.safe_dump(SETTINGS))
    command = [*COMMANDS["uvicorn"], "--workers=2"]
    async with guest(tmp_path, loaded, section("Starlette", "python"), command) as running:
        await asyncio.to_thread(running.process.wait, 60)
    assert "several, such as workers of a host, need a Chroma server (chroma.host)" in (
        running.output
    )
    assert section("Several workers", "text").partition(" is in use")[2].partition(". ")[2] in (
        running.output + "\n"
    )


async def test_a_mistake_in_the_configuration(
    loaded: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """The host's output says whose configuration it is, and where the mistake stands."""
    (tmp_path / "orbit.yaml").write_text("general:\n  prot: 1\n")
    host = section("Starlette", "python")
    async with guest(tmp_path, loaded, host, COMMANDS["uvicorn"]) as running:
        assert await asyncio.to_thread(running.process.wait, 60) != 0
    assert "ORBIT server (orbit.yaml)" in running.output
    assert "orbit.yaml:2: general.prot: unknown key" in running.output
