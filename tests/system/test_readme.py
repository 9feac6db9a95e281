"""Every command and program of the README does what the README says.

They are read from the README itself and run in a copy of the project, in Python environments made
by the commands themselves. Nothing is downloaded: pip finds the packages of the environment that
runs the tests, and no index. Port 3000 becomes a free one, Ollama is its stand-in.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from starlette.applications import Starlette

from ..support.ports import free_port
from ..support.program import ROOT
from ..support.server import serving

NOT_RUN = {
    "./test.sh": "runs this test",
    "ruff check . && ruff format --check . && mypy && lint-imports": "done by ./test.sh before",
    "python -m pytest": "runs this test",
    "ollama pull gemma3:4b && ollama pull bge-m3": "needs a real Ollama",
}
SATURDAYS = "10:00 to 14:00"
PATIENCE = 90.0
# Without uv, which would not take the packages of this environment.
PATH = ":".join(each for each in os.environ["PATH"].split(":") if not (Path(each) / "uv").exists())

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def blocks(heading: str, language: str) -> list[str]:
    """Return the fenced blocks of one language below a heading of the README, in order."""
    found = re.findall(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$",
        (ROOT / "README.md").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    wanted, section = [], ""
    for title, kind, text in found:
        section = title or section
        if (section, kind) == (heading, language):
            wanted.append(text)
    return wanted


def commands(block: str) -> list[str]:
    """Return the commands of a block that are run here; one may span several lines."""
    joined = block.replace("\\\n", " ").splitlines()
    return [line for line in joined if line not in NOT_RUN]


def json_values(text: str) -> list[Any]:
    """Return the JSON values that stand in ``text`` one after the other."""
    decoder, values = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def events_in(stream: str) -> list[dict[str, Any]]:
    """Return the events of a stream as ``curl`` printed it."""
    lines = stream.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


@dataclass(frozen=True, slots=True)
class Terminal:
    """A shell in a copy of the project, on a machine with Python and without our packages.

    ``key`` and ``key_id`` are put in where the README writes ``api_…`` and ``key_…``.
    """

    folder: Path
    port: int
    key: str = ""
    key_id: str = ""

    @property
    def variables(self) -> dict[str, str]:
        packages = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
        return {
            "PATH": f"{self.folder / 'bin'}:{PATH}",
            "HOME": str(self.folder),
            "PYTHONPATH": ":".join(packages),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the option's value: no isolation
            "PYTHONUNBUFFERED": "1",
        }

    def filled(self, text: str) -> str:
        """Return ``text`` of the README with this machine's port and key."""
        values = {"3000": str(self.port), "api_…": self.key, "key_…": self.key_id}
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        return text

    def run(self, *lines: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the lines in one shell; AssertionError with its output when one fails."""
        done = subprocess.run(
            ["bash", "-ec", self.filled("\n".join(lines))],
            cwd=self.folder,
            env=self.variables | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @contextmanager
    def serving(self, *lines: str) -> Iterator[Path]:
        """Run lines of which the last serves, until the block ends; the file of their output."""
        console = self.folder / "console"
        with console.open("wb") as output:
            shell = subprocess.Popen(
                ["bash", "-ec", self.filled("\n".join(lines))],
                cwd=self.folder,
                env=self.variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_for(shell, console)
            yield console
        finally:
            if shell.poll() is None:
                # Ctrl-C reaches the shell and all that it has started.
                os.killpg(shell.pid, signal.SIGINT)
            try:
                shell.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                raise

    def _wait_for(self, shell: subprocess.Popen[bytes], console: Path) -> None:
        give_up = time.monotonic() + PATIENCE
        while shell.poll() is None and time.monotonic() < give_up:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/health")
                connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        raise AssertionError(f"the server did not start:\n{console.read_text()}")


def fresh(folder: Path) -> Terminal:
    """Copy the project into ``folder`` and configure it: loopback, a free port, no Ollama."""
    ignored = shutil.ignore_patterns(
        ".*cache", ".git", ".venv", ".hypothesis", "__pycache__", "data", "logs", ".env"
    )
    shutil.copytree(ROOT, folder, ignore=ignored, dirs_exist_ok=True)
    port = free_port()
    configure(folder, port, base_url=f"http://127.0.0.1:{free_port()}")
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    return Terminal(folder, port)


def configure(folder: Path, port: int, **ollama: str) -> None:
    """Write the configuration of a server on loopback."""
    configuration = {"general": {"host": "127.0.0.1", "port": port}, "ollama": ollama}
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))


def printed_curl(console: Path) -> str:
    """Return the ``curl`` command that a demo has printed."""
    give_up = time.monotonic() + PATIENCE
    while not (found := re.search(r"^curl .+$", console.read_text(), flags=re.MULTILINE)):
        assert time.monotonic() < give_up, console.read_text()
        time.sleep(0.05)
    return found[0]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one has seen after typing the commands: the terminal, and what stood there."""

    terminal: Terminal
    said: str
    answer: str = ""
    folders: frozenset[str] = frozenset()  # there while it ran


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The demo in a fresh copy: what it said, and the answer to the command that it printed."""
    terminal = fresh(tmp_path_factory.mktemp("demo"))
    with terminal.serving(*commands(blocks("Try it", "bash")[0])) as console:
        asked = printed_curl(console)
        answer = terminal.run(asked).stdout if shutil.which("curl") else ""
        folders = frozenset(path.name for path in terminal.folder.iterdir())
        return Seen(terminal, console.read_text(), answer, folders)


@pytest.fixture(scope="module")
def town(demo: Seen) -> Iterator[Seen]:
    """A server with the README's own documents, key and admin token, where the demo was before.

    The token is made before the first start, so that the server starts only once.
    """
    made = demo.terminal
    with ollama() as url:
        configure(made.folder, made.port, base_url=url)
        ingest, create_key, start = commands(blocks("Your own documents", "bash")[0])
        ingested = made.run(ACTIVATE, ingest)
        key = made.run(ACTIVATE, create_key)
        made.run(*commands(blocks("Administration", "bash")[0]))
        town = Terminal(made.folder, made.port, key.stdout.strip(), id_in(key.stderr))
        with town.serving(start) as console:
            yield Seen(town, ingested.stderr + key.stderr + console.read_text())


ACTIVATE = ". .venv/bin/activate"


def id_in(text: str) -> str:
    """Return the id of the key that ``keys create`` speaks of."""
    found = re.search(r"\bkey_\w+", text)
    assert found, text
    return found[0]


@contextmanager
def ollama() -> Iterator[str]:
    """Run Ollama's stand-in, which answers with the first passage; its URL."""
    program = [sys.executable, "-m", "tests.support.ollama_standin", "--piece-delay=0"]
    with subprocess.Popen(
        program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as standin:
        try:
            assert standin.stdout
            yield standin.stdout.readline().strip()
        finally:
            standin.terminate()
            _, misuse = standin.communicate(timeout=30)
    assert misuse == ""


def test_nothing_is_left_out() -> None:
    """The tests below run every block of the README, and what is not run is still in it."""
    counts = {
        ("Try it", "bash"): 4,
        ("Your own documents", "bash"): 2,
        ("Ask it", "bash"): 2,
        ("Ask it", "text"): 1,  # in test_docs.py
        ("Ask it", "js"): 1,
        ("Ask it", "python"): 1,
        ("Administration", "bash"): 3,
        ("Inside another application", "python"): 1,
    }
    assert {place: len(blocks(*place)) for place in counts} == counts
    text = (ROOT / "README.md").read_text()
    assert len(re.findall(r"^```\w", text, flags=re.MULTILINE)) == sum(counts.values())
    lines = [line for place in counts if "bash" in place for line in blocks(*place)]
    assert set("".join(lines).splitlines()) >= NOT_RUN.keys()


def test_demo(demo: Seen) -> None:
    """One command makes the environment and starts; it says what it does."""
    said = demo.said
    assert "orbit-demo" in demo.folders and "data" not in demo.folders
    assert said.index("Creating a Python environment") < said.index("Installing the packages")
    assert "answers are quotations" in said and "ask in English" in said


@needs_curl
def test_demo_answers(demo: Seen) -> None:
    """The command that the demo prints streams the right answer."""
    events = events_in(demo.answer)
    assert SATURDAYS in "".join(event["text"] for event in events)
    assert events[-1]["done"]


def test_by_hand(tmp_path: Path) -> None:
    """The commands by hand lead to the same demo; the development packages install the same way."""
    terminal = fresh(tmp_path)
    by_hand, development = blocks("Try it", "bash")[2:]
    make, activate, install, start = commands(by_hand)
    installed = terminal.run(make, activate, install)
    assert "Requirement already satisfied: starlette" in installed.stdout
    with terminal.serving(activate, start) as console:
        assert printed_curl(console)
    installed = terminal.run(activate, *commands(development))
    assert "Requirement already satisfied: pytest" in installed.stdout


def test_own_documents(town: Seen) -> None:
    """Documents are loaded, a key is made, and what is there is shown through the server."""
    assert "4 of 4 files in collection 'town'" in town.said
    assert re.fullmatch(r"api_\w{32}", town.terminal.key)
    assert town.terminal.key not in town.said
    assert "Installing" not in town.said, "what the demo has installed is installed"
    collections, show, files, ask, keys = (
        town.terminal.run(ACTIVATE, command).stdout
        for command in commands(blocks("Your own documents", "bash")[1])
    )
    assert "town" in collections
    assert "examples/town-qa.json" in show
    assert "examples/town-qa.json" in files
    assert SATURDAYS in ask
    assert "website" in keys


@needs_curl
def test_asking_by_curl(town: Seen) -> None:
    """Both commands answer: in events, and in one object."""
    terminal = town.terminal
    streamed, whole = blocks("Ask it", "bash")
    export, ask = commands(streamed)
    events = events_in(terminal.run(export, ask).stdout)
    assert SATURDAYS in "".join(event["text"] for event in events)
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    reply = json.loads(terminal.run(export, *commands(whole)).stdout)
    assert SATURDAYS in reply["response"]
    assert reply["sources"][0]["source"] == "examples/town-qa.json"


@needs_node
def test_asking_in_javascript(town: Seen) -> None:
    """The program prints the answer and its sources."""
    terminal = town.terminal
    (program,) = blocks("Ask it", "js")
    (terminal.folder / "ask.mjs").write_text(terminal.filled(program))
    printed = terminal.run("node ask.mjs").stdout
    assert SATURDAYS in printed
    assert "source: 'examples/town-qa.json'" in printed


@needs_node
def test_javascript_notices_a_refusal(town: Seen) -> None:
    """Without a right key the program fails with the sentence for the reader."""
    terminal = town.terminal
    (program,) = blocks("Ask it", "js")
    wrong = terminal.filled(program).replace(terminal.key, "api_wrong")
    (terminal.folder / "wrong.mjs").write_text(wrong)
    printed = terminal.run("node wrong.mjs 2>&1 && exit 1 || true").stdout
    assert "Error: Invalid or missing API key" in printed


def test_asking_in_python(town: Seen) -> None:
    """The program prints the answer."""
    terminal = town.terminal
    (program,) = blocks("Ask it", "python")
    (terminal.folder / "ask.py").write_text(terminal.filled(program))
    printed = terminal.run("python3 -I ask.py", ORBIT_KEY=terminal.key).stdout
    assert SATURDAYS in printed


@needs_curl
def test_administration(town: Seen) -> None:
    """Keys are listed, made, looked at, switched off and deleted over HTTP."""
    running = town.terminal
    secret = (running.folder / ".env").stat()
    assert secret.st_mode & 0o077 == 0
    *_, create, _ = commands(blocks("Your own documents", "bash")[0])
    another = id_in(running.run(ACTIVATE, create).stderr)
    terminal = Terminal(running.folder, running.port, running.key, another)
    lines = commands(blocks("Administration", "bash")[1])
    found = json_values(terminal.run(*lines).stdout)
    listed, made, status, off, deleted, collections, uploaded = found
    assert {running.key_id, another} <= {key["id"] for key in listed}
    assert made["api_key"].startswith("api_") and made["expires_at"]
    assert status["exists"] and status["active"] and status["id"] == another
    assert off == {"status": "success", "message": "API key deactivated"}
    assert deleted == {"status": "success", "message": "API key deleted"}
    assert [collection["name"] for collection in collections] == ["town"]
    assert [file["source"] for file in uploaded["files"]] == ["swimming-pool.md"]
    health = terminal.run(*commands(blocks("Administration", "bash")[2])).stdout
    assert json.loads(health)["status"] == "ok"


@pytest.mark.anyio
async def test_mounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's application serves ours, with its services open."""
    (program,) = blocks("Inside another application", "python")
    (tmp_path / "orbit.yaml").write_text(
        "embedding: {provider: lexical}\nanswer: {provider: extractive}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT_CONFIG", "orbit.yaml")
    host: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), host)
    app = host["app"]
    assert isinstance(app, Starlette)
    async with serving(app, lifespan="on") as url, aiohttp.ClientSession(url) as http:
        async with http.get("/orbit/health") as response:
            assert (await response.json())["status"] == "ok"
        async with http.post("/orbit/chat", json={"message": "Hello?"}) as response:
            assert response.status == 401
