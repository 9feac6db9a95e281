"""``start.sh`` and ``run.py``: options, refusals, the demo, restarts and the end."""

import asyncio
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orbit_server.cli.main import app
from orbit_server.config.loader import load
from orbit_server.retrieval.chroma.lock import holder
from orbit_server.server.sockets import address

from ..support.ollama_standin import OllamaStandIn, quote_passage
from ..support.ports import free_port
from ..support.program import (
    ROOT,
    Server,
    answering,
    command,
    configure,
    environment,
    serve_options,
    server,
    start,
)
from ..support.server import ADMIN_TOKEN, events, text

pytestmark = pytest.mark.anyio

NOBODY = 65534


# -- start.sh ---------------------------------------------------------------------------------

PYTHONS = ("python", "python3", *(f"python3.{minor}" for minor in range(11, 15)))
FAKE_PYTHON = """#!/bin/sh
echo "python $@" >> "$(dirname "$0")/called"
case "$*" in
    *install*) echo "no such package"; exit $(cat "$(dirname "$0")/pip" 2>/dev/null || echo 0) ;;
esac
"""
FAKE_ORBIT = """#!/bin/sh
echo "orbit $@" >> "$(dirname "$0")/called"
pwd > "$(dirname "$0")/folder"
"""
# It makes what uv would, and notes how it was called.
FAKE_UV = """#!/bin/sh
mkdir -p .venv/bin
echo "uv $@" >> .venv/bin/called
for name in activate python orbit; do printf '#!/bin/sh\n' > .venv/bin/$name; done
chmod +x .venv/bin/python .venv/bin/orbit
"""
# A project whose program prints a line, built without any package.
BACKEND = """
import zipfile

FILES = {
    "orbit_server.py": "def main(): print('it runs')",
    "orbit_server-0.dist-info/METADATA":
        "Metadata-Version: 2.1\\nName: orbit-server\\nVersion: 0\\n",
    "orbit_server-0.dist-info/WHEEL":
        "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "orbit_server-0.dist-info/entry_points.txt": "[console_scripts]\\norbit = orbit_server:main\\n",
    "orbit_server-0.dist-info/RECORD": "",
}

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(folder + "/orbit_server-0-py3-none-any.whl", "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return "orbit_server-0-py3-none-any.whl"
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone without ``.venv``, on a machine whose every Python fails."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("start.sh", "environment.sh", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in PYTHONS:
        stub(folder, name, f'#!/bin/sh\ntouch "{tmp_path}/python-was-called"\nexit 1\n')
    return folder


def stub(clone: Path, name: str, script: str) -> None:
    """Put a program before those of the system."""
    stubs = clone.parent / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / name).write_text(script)
    (stubs / name).chmod(0o755)


@pytest.fixture
def called(clone: Path) -> Path:
    """What the programs of a ``.venv`` in the clone were called with, a line each."""
    binaries = clone / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").touch()
    for name, script in (("python", FAKE_PYTHON), ("orbit", FAKE_ORBIT)):
        (binaries / name).write_text(script)
        (binaries / name).chmod(0o755)
    return binaries / "called"


def with_stubs(clone: Path) -> dict[str, str]:
    return {"PATH": f"{clone.parent / 'stubs'}:/usr/bin:/bin"}


def start_sh(
    clone: Path,
    *arguments: str,
    program: Path | None = None,
    cwd: Path | None = None,
    shell: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, program or clone / "start.sh", *arguments],
        cwd=cwd,
        env=with_stubs(clone),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--demo", "extra"],
        ["--port"],
        ["--host", ""],
        ["--config="],
        ["--demo=yes"],
        ["-p", "3000"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_options_are_those_of_orbit_serve(clone: Path, called: Path, arguments: list[str]) -> None:
    """They are passed on unread, so that they are written down in one place only."""
    assert start_sh(clone, *arguments).returncode == 0
    passed = called.read_text().splitlines()[-1]
    assert passed == " ".join(["orbit serve", f"--directory={clone}", *arguments])


@pytest.mark.skipif(
    os.path.realpath("/bin/sh").endswith("bash"), reason="needs a sh that is not bash"
)
def test_another_shell_is_told_which_one_it_takes(clone: Path) -> None:
    """``sh start.sh`` says that it needs bash, and does nothing."""
    result = start_sh(clone, "--demo", shell=["sh"])
    assert (result.returncode, result.stdout) == (2, "")
    assert "needs bash" in result.stderr
    assert not (clone / ".venv").exists()


def test_without_a_python_there_is_a_sentence(clone: Path) -> None:
    """A machine with an old Python only is told which one is needed."""
    result = start_sh(clone, "--demo")
    assert result.returncode == 1
    assert "needs Python 3.11 or newer" in result.stderr


def test_packages_are_installed_once(clone: Path, called: Path) -> None:
    """The second start goes straight to the server; new requirements are installed again."""

    def calls(*arguments: str) -> list[str]:
        called.write_text("")
        assert start_sh(clone, *arguments).returncode == 0
        return called.read_text().splitlines()

    options = "--disable-pip-version-check --no-input"
    install = f"python -m pip install {options} -r requirements.txt -e ."
    checked = "python -m pip --version"
    serve = f"orbit serve --directory={clone}"
    assert calls("--demo", "--port", "3001") == [checked, install, f"{serve} --demo --port 3001"]
    assert calls("--host=::1", "--reload") == [f"{serve} --host=::1 --reload"]
    with (clone / "requirements.txt").open("a") as requirements:
        requirements.write("another\n")
    called.with_name("pip").write_text("1")
    failed = start_sh(clone)
    assert failed.returncode == 1
    assert "could not be installed" in failed.stderr
    assert "no such package" in failed.stderr, "what pip said"
    called.with_name("pip").write_text("0")
    assert calls() == [checked, install, serve]
    assert calls() == [serve]


def test_uv_is_used_where_it_is_installed(clone: Path) -> None:
    """It also finds a Python for those who have none; pip is not asked."""
    stub(clone, "uv", FAKE_UV)
    result = start_sh(clone)
    assert result.returncode == 0, result.stderr
    assert (clone / ".venv" / "bin" / "called").read_text().splitlines() == [
        "uv --version",
        "uv venv --quiet --clear --python >=3.11 .venv",
        "uv pip install --python .venv/bin/python -r requirements.txt -e .",
    ]
    assert not (clone.parent / "python-was-called").exists()


def test_the_caller_stays_where_it_is(clone: Path, called: Path, tmp_path: Path) -> None:
    """Also through a link to ``start.sh``: files in options are the caller's."""
    there, link = tmp_path / "there", tmp_path / "orbit"
    there.mkdir()
    link.symlink_to(clone / "start.sh")
    done = start_sh(clone, "--config", "a b.yaml", program=link, cwd=there)
    assert done.returncode == 0, done.stderr
    assert called.read_text().splitlines()[-1] == (
        f"orbit serve --directory={clone} --config a b.yaml"
    )
    assert called.with_name("folder").read_text() == f"{there}\n"


def test_starts_that_meet_or_were_killed(clone: Path) -> None:
    """What a killed start left is created again, once, though two need it at the same moment."""
    stub(clone, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (clone / "requirements.txt").write_text("")
    (clone / "pyproject.toml").write_text(PROJECT)
    (clone / "backend.py").write_text(BACKEND)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [clone / "start.sh"],
            env=with_stubs(clone),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    with start() as killed:
        deadline = time.monotonic() + 60
        while not (clone / ".venv" / "bin" / "python").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
    assert not (clone / ".venv" / "bin" / "activate").exists()
    starts = [start(), start()]
    said = [each.communicate(timeout=120)[0] for each in starts]
    assert [each.returncode for each in starts] == [0, 0], said
    assert all(each.endswith("it runs\n") for each in said)
    assert sum(each.count("Creating a Python environment") for each in said) == 1


def test_a_folder_that_cannot_be_written_is_a_sentence(clone: Path, public: Path) -> None:
    """Nothing is to be installed on the system because of it."""
    copy = public / "copy"
    shutil.copytree(clone, copy)
    copy.chmod(0o555)
    done = subprocess.run(
        [copy / "start.sh"],
        env={"PATH": "/usr/bin:/bin"},
        user=NOBODY if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot write in {copy}" in done.stderr
    assert "apt" not in done.stderr


# -- run.py, refusing -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a configuration; ``run`` leaves the tests' log as it is."""
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orbit_server.observability.logging.configure", lambda config: None)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return exit code and standard error of a ``run.py`` that does not get to serving."""
    with pytest.raises(SystemExit) as end:
        app(["serve", *arguments], prog_name="orbit")
    assert isinstance(end.value.code, int)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return end.value.code, captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["extra"],
        ["--port", "many"],
        ["--po", "3000"],
        ["--workers=0"],
        ["--workers=two"],
        ["--workers=257"],
        ["--demo", "--reload"],
        ["--demo", "--workers=2"],
        ["--reload", "--workers=2"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """The usage and what is wrong, without opening anything."""
    code, said = refused(capsys, *arguments)
    assert code == 2
    assert said.startswith("Usage: orbit serve [OPTIONS]")
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "::1", "--port", "3001", "--config", "x.yaml"],
        ["--host=::1", "--port=3001", "--config=x.yaml"],
    ],
    ids=["space", "equals"],
)
def test_options_may_be_written_both_ways(arguments: list[str]) -> None:
    """With a space and with an equals sign."""
    options = serve_options(*arguments)
    assert (options["host"], options["port"], options["config"]) == ("::1", 3001, Path("x.yaml"))


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_an_impossible_port_is_2(
    folder: Path, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    """Nobody could be told which port 0 became, so it is refused like the others."""
    code, said = refused(capsys, f"--port={port}")
    assert code == 2
    assert f"general.port: {port} is not allowed" in said


def test_all_mistakes_of_the_configuration_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With their lines, at once, exit 2; the demo says the same."""
    (folder / "config.yaml").write_text("general: {prot: 1}\nchat: {head_timeout: soon}\n")
    for arguments in ([], ["--demo"], ["--reload"]):
        code, said = refused(capsys, *arguments)
        assert code == 2
        assert "config.yaml:1: general.prot: unknown key" in said
        assert "config.yaml:2: chat.head_timeout: 'soon' is not allowed" in said
    code, said = refused(capsys, "--config", "missing.yaml")
    assert (code, "missing.yaml: cannot be read" in said) == (2, True)


@pytest.mark.parametrize("more", [(), ("--workers=2",), ("--reload",)], ids=" ".join)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], host: str, more: Sequence[str]
) -> None:
    """Exit 1, the address, and that it is in use; nothing was opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused(capsys, f"--host={host}", f"--port={port}", *more)
    assert (code, len(said.splitlines())) == (1, 1)
    assert f"{host}:{port}" in said
    assert "in use" in said.lower()
    assert not (folder / "data").exists()


def test_a_host_that_is_not_ours_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address of another machine, and a name that does not exist."""
    for host in ("192.0.2.1", "nowhere.invalid"):
        code, said = refused(capsys, f"--host={host}", f"--port={free_port()}")
        assert (code, len(said.splitlines())) == (1, 1)
        assert host in said


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://[::1]:3000"),
        ("::1", "http://[::1]:3000"),
        ("localhost", "http://localhost:3000"),
    ],
)
def test_the_address_can_be_used_on_this_machine(folder: Path, host: str, url: str) -> None:
    """What is printed and written into the lock is a URL, also where the server listens to all."""
    assert address(load(overrides={"general.host": host})) == url


# Opens everything once, to import it, because another user may not be able to; then becomes that
# user in a child of its own for each folder.
AS_NOBODY = """
import asyncio, os, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from orbit_server.cli.main import app
from orbit_server.config import load
from orbit_server.server import worker
from orbit_server.services import Services
from tests.support.server import lexical

async def open_once(folder):
    async with Services(lexical(folder)):
        pass

load(Path(sys.argv[3], "config.yaml"))
with tempfile.TemporaryDirectory() as folder:
    asyncio.run(open_once(Path(folder)))
for folder in sys.argv[3:]:
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT), 2)
        os.setgid(65534)
        os.setuid(65534)
        app(["serve", "--host=127.0.0.1", "--port", sys.argv[2]])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_another_user_may_not_do_is_a_sentence(public: Path) -> None:
    """An unreadable configuration is 2, data that cannot be written 1; both are named."""
    names = ("secret", "shut", "half")
    for name in names:
        (public / name).mkdir()
        configure(public / name)
    (public / "secret" / "config.yaml").chmod(0o600)
    (public / "half" / "data").mkdir()
    (public / "half" / "data" / "orbit.db").touch()
    os.chown(public / "half" / "data" / "orbit.db", NOBODY, NOBODY)
    codes = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, ROOT, str(free_port()), *names],
        cwd=public,
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert codes.stdout.split() == [b"2", b"1", b"1"]
    for name, cause in zip(
        names,
        ("config.yaml: cannot be read: Permission denied", "database.url", "database.url"),
        strict=True,
    ):
        said = (public / name / "said").read_text()
        assert "Traceback" not in said
        assert cause in said[said.index("orbit: ") :]
    assert not (public / "shut" / "data").exists()


# -- run.py, serving --------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def orbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that logs all it can, to the console and to its files."""
    folder = tmp_path_factory.mktemp("orbit")
    configure(folder, general={"verbose": True}, logging={"level": "DEBUG"})
    async with server(folder) as running:
        yield running


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_second_server_says_who_holds_the_folder(orbit: Server, workers: str) -> None:
    """Exit 1, the folder, the process and where it answers; the first one is not disturbed."""
    before = len(orbit.log)
    second = start(orbit.folder, "--host=127.0.0.1", f"--port={free_port()}", "--workers", workers)
    assert await asyncio.to_thread(second.wait, 30) == 1
    said = orbit.log[before:]
    last = said.splitlines()[-1]
    assert last.startswith("orbit: ") and "Traceback" not in said
    for part in ("data/chroma", f"process {orbit.process.pid}", orbit.url):
        assert part in last
    await answering(orbit)


async def test_no_output_of_a_server_holds_a_key(orbit: Server) -> None:
    """Not at the most talkative level, not in paths, not in the console or any file of the log."""
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(orbit.url) as http:
        body = {"collection_name": "town", "client_name": "Ann"}
        async with http.post("/admin/api-keys", json=body, headers=admin) as response:
            secret = (await response.json())["api_key"]
        key = {"X-API-Key": secret}
        async with http.post("/chat", json={"message": "Where is it?"}, headers=key) as response:
            assert response.status == 503, "there is no such collection yet"
        for method, path in (
            ("GET", f"/admin/api-keys/{secret}/status"),
            ("GET", f"/{secret}"),
            ("GET", f"/health?key={secret}"),
            ("DELETE", f"/admin/api-keys/{secret}"),
            ("DELETE", f"/admin/api-keys/{secret}"),
        ):
            async with http.request(method, path, headers=admin) as response:
                await response.read()
    outputs = [orbit.log, *(path.read_text() for path in (orbit.folder / "logs").iterdir())]
    assert any("/admin/api-keys/{key}/status" in output for output in outputs)
    assert not [output for output in outputs if secret in output]
    assert not [output for output in outputs if ADMIN_TOKEN in output]


async def test_one_connection_cannot_cost_much(orbit: Server) -> None:
    """As many connections as the machine allows, and none with headers without an end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(orbit.process.pid, resource.RLIMIT_NOFILE) == (most, most)
    port = int(orbit.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begin = b"GET /health HTTP/1.1\r\nX: "
    async with asyncio.timeout(30):
        writer.write(begin + b"x" * (64 * 1024 + 1 - len(begin)))
        reply = await reader.read()
    writer.close()
    assert reply.startswith(b"HTTP/1.1 431 ")
    assert b"headers_too_large" in reply


async def test_a_signal_ends_it_well(tmp_path: Path) -> None:
    """SIGTERM: exit 0, the lock is free, and no traceback was written."""
    configure(tmp_path)
    async with server(tmp_path) as running:
        held = holder(tmp_path / "data" / "chroma")
        assert held == {"pid": running.process.pid, "address": running.url}
        assert await running.ended() == 0
        assert holder(tmp_path / "data" / "chroma") is None
        assert "Traceback" not in running.log


async def test_reload_restarts_when_the_code_changes(tmp_path: Path) -> None:
    """A changed file is served by a new process; the lock goes along, and SIGTERM ends both."""
    copy = tmp_path / "copy"
    for name in ("orbit_server", "middleware"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", copy)
    configure(copy)
    async with server(copy, "--reload", root=copy) as running:
        route = copy / "orbit_server" / "api" / "health.py"
        source = route.read_text()
        assert "await services.health()" in source
        changed = '{**await services.health(), "edition": 2}'
        route.write_text(source.replace("await services.health()", changed))
        async with asyncio.timeout(120), aiohttp.ClientSession() as http:
            while (await edition(http, running.url)) != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await running.ended() == 0
        assert holder(copy / "data" / "chroma") is None
        assert "Traceback" not in running.log


async def edition(http: aiohttp.ClientSession, url: str) -> Any:
    """Return what the changed route says, or None while nobody or the old one answers."""
    try:
        async with http.get(f"{url}/health") as response:
            return (await response.json()).get("edition")
    except aiohttp.ClientError:
        return None


# -- the demo ---------------------------------------------------------------------------------


def curl(demo: Server) -> str:
    """Return the command that the demo printed last."""
    return [line for line in demo.log.splitlines() if line.startswith("curl ")][-1]


async def asked(line: str) -> str:
    """Run a printed command as it is, in a shell, and return the streamed answer."""
    shell = await asyncio.create_subprocess_exec("bash", "-c", line, stdout=PIPE, stderr=DEVNULL)
    output, _ = await shell.communicate()
    assert shell.returncode == 0
    *pieces, last = events(output)
    assert last["done"] is True
    assert last["sources"]
    assert len(pieces) > 3, "the answer is streamed"
    return text(pieces)


async def test_the_demo_answers_what_it_prints(tmp_path: Path) -> None:
    """On a bare machine, twice, and then with Ollama: each time the printed line works as it is.

    The key stays the same, and all of it lies in one folder.
    """
    port = free_port()
    configure(tmp_path, ollama={"base_url": f"http://127.0.0.1:{port}"}, embedding={}, answer={})
    async with server(tmp_path, "--demo") as demo:
        first = curl(demo)
        assert "10:00 to 14:00" in await asked(first)
        assert re.search(r"loaded \d\d+ passages", demo.log)
        assert "quotations" in demo.log
        assert (await demo.ended(signal.SIGINT)) == 0
    (tmp_path / "console").unlink()
    async with server(tmp_path, "--demo") as demo:
        assert "already loaded" in demo.log
        assert "10:00 to 14:00" in await asked(curl(demo))
        assert re.findall("X-API-Key: .*?'", curl(demo)) == re.findall("X-API-Key: .*?'", first)
        assert (tmp_path / "orbit-demo" / "key").stat().st_mode & 0o077 == 0
        assert await demo.ended() == 0
    (tmp_path / "console").unlink()
    async with OllamaStandIn(port=port) as ollama:
        ollama.reply = quote_passage
        ollama.dimension = 256
        async with server(tmp_path, "--demo") as demo:
            assert "through Ollama at" in demo.log
            assert "10:00 to 14:00" in await asked(curl(demo))
            assert ollama.bodies("/api/chat")
            assert await demo.ended() == 0
    there = await asyncio.to_thread(lambda: {path.name for path in tmp_path.iterdir()})
    assert there == {"config.yaml", "console", "orbit-demo"}


async def test_the_demo_can_be_stopped_while_it_loads(tmp_path: Path) -> None:
    """Ctrl-C before the server answers is a word, not a traceback, and the folder is free."""
    async with OllamaStandIn() as ollama:
        ollama.embed_delay = 60
        configure(tmp_path, ollama={"base_url": ollama.url}, embedding={}, answer={})
        process = start(tmp_path, "--demo", f"--port={free_port()}")
        try:
            await ollama.until(lambda: bool(ollama.bodies("/api/embed")), timeout=60)
            process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.wait, 30) == 130
        finally:
            process.kill()
    said = (tmp_path / "console").read_text()
    assert said.endswith("orbit: stopped\n")
    assert "Traceback" not in said
    assert (await command(tmp_path, "collections", "list")).code == 0
