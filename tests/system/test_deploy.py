"""What ``deploy/`` ships for systemd, certbot and Docker fits the server and works."""

import asyncio
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from typer.main import get_command

from orbit_server.cli import main as cli
from orbit_server.config.loader import Config, load

from ..support.ports import free_port
from ..support.program import (
    ROOT,
    command,
    configure,
    environment,
    serve_options,
    server,
)
from ..support.server import ADMIN_TOKEN

DEPLOY = ROOT / "deploy"
OPERATIONS = ROOT / "docs" / "operations.md"
VARIABLES = {"ADMIN_TOKEN": ADMIN_TOKEN}
DRAIN = Config().general.drain_seconds

systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze (Debian: apt install systemd)",
)


# -- systemd ----------------------------------------------------------------------------------


def unit() -> dict[str, str]:
    """Return the directives of the unit; of one that is given twice the last."""
    lines = (DEPLOY / "orbit.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


@pytest.fixture
def unit_here(tmp_path: Path) -> Path:
    """The unit as it would be if the server was installed where this Python and project are."""
    text = (DEPLOY / "orbit.service").read_text()
    assert "/opt/orbit/.venv/bin/orbit " in text
    text = text.replace("/opt/orbit/.venv/bin/orbit ", f"{sys.executable} -m orbit_server ")
    unit = tmp_path / "orbit.service"
    unit.write_text(text.replace("/opt/orbit/", f"{ROOT}/"))
    return unit


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``systemd-analyze``."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


@systemd
def test_systemd_has_no_complaint(unit_here: Path) -> None:
    """Every directive is known and every value understood."""
    done = analyze("verify", unit_here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@systemd
def test_the_unit_is_locked_down(unit_here: Path) -> None:
    """systemd's own measure of exposure, from 0 to 10, stays below 2."""
    done = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", unit_here)
    if "offline" in done.stderr:
        pytest.skip("needs systemd-analyze 250 or newer")
    assert done.returncode == 0, done.stdout


def test_the_unit_starts_what_there_is() -> None:
    """The command line is one that ``orbit`` takes, with the configuration that is shipped."""
    program, command, *arguments = shlex.split(unit()["ExecStart"])
    assert (program, command) == ("/opt/orbit/.venv/bin/orbit", "serve")
    assert serve_options(*arguments)["config"] == Path("/etc/orbit/config.yaml")


@systemd
def test_systemd_has_no_complaint_about_the_nightly_load(tmp_path: Path) -> None:
    """Service and timer are understood, and the service is as locked down as the server."""
    text = (DEPLOY / "orbit-ingest.service").read_text()
    service, timer = tmp_path / "orbit-ingest.service", tmp_path / "orbit-ingest.timer"
    text = text.replace("/opt/orbit/.venv/bin/orbit ", f"{sys.executable} -m orbit_server ")
    service.write_text(text.replace("/opt/orbit/", f"{ROOT}/"))
    timer.write_text((DEPLOY / "orbit-ingest.timer").read_text())
    done = analyze("verify", service, timer)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_nightly_load_runs_what_there_is() -> None:
    """Each line is one that ``orbit`` takes, a folder and a web site, and cron has the same."""
    text = (DEPLOY / "orbit-ingest.service").read_text()
    lines = re.findall(r"^ExecStart=-?(.*)$", text, re.M)
    loaded = []
    for line in lines:
        program, config, name, *arguments = shlex.split(line)
        assert program == "/opt/orbit/.venv/bin/orbit"
        assert config == "--config=/etc/orbit/config.yaml"
        ingest = get_command(cli.app).commands[name]  # type: ignore[attr-defined]
        options = ingest.make_context(name, arguments).params
        assert (options["collection"], options["prune"]) == ("town", True)
        loaded += options["paths"]
    assert loaded == ["documents", "https://town.example"]
    assert lines[1] in (ROOT / "docs" / "web-sites.md").read_text()


def test_systemd_waits_for_running_answers() -> None:
    """It kills only after the server has cut off answers, closed its parts and written its log."""
    assert float(unit()["TimeoutStopSec"]) >= DRAIN + 45
    assert unit()["KillMode"] == "mixed"


def test_a_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    """The exit code that the unit names is the one of a wrong configuration."""
    (tmp_path / "config.yaml").write_text("genral: {}\n")
    done = subprocess.run(
        [sys.executable, ROOT / "run.py"], cwd=tmp_path, env=environment(), capture_output=True
    )
    assert done.returncode == int(unit()["RestartPreventExitStatus"])


def kept_in(config: Config) -> list[str]:
    """Return every file and folder that the configuration lets the server write."""
    return [
        config.chroma.path,
        config.retrieval.path,
        config.database.url.removeprefix("sqlite+aiosqlite:///"),
        config.elasticsearch.checkpoint,
        config.logging.file.directory,
    ]


def test_the_configuration_keeps_to_the_folders_of_the_unit() -> None:
    """It says nothing to warn of, and all that is written lies where the unit lets it."""
    config = load(DEPLOY / "config.yaml", environ=VARIABLES)
    assert config.warnings == ()
    allowed = (f"/var/lib/{unit()['StateDirectory']}/", f"/var/log/{unit()['LogsDirectory']}")
    assert [path for path in kept_in(config) if not path.startswith(allowed)] == []


@pytest.mark.anyio
async def test_the_configuration_starts_a_server(tmp_path: Path) -> None:
    """With the folders moved, a server starts from it and keeps everything in them."""
    text = (DEPLOY / "config.yaml").read_text()
    for folder in ("/var/lib/orbit", "/var/log/orbit"):
        text = text.replace(folder, f"{tmp_path}{folder}")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").write_text(text)
    async with server(tmp_path, "--config=etc/config.yaml") as running:
        assert await running.ended() == 0
    assert (tmp_path / "var/lib/orbit/data/orbit.db").exists()
    assert list((tmp_path / "var/log/orbit").glob("chat-*.log"))
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "logs").exists()


# -- a background process ----------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_background_process_can_be_told_and_stopped(tmp_path: Path) -> None:
    """The documented lines start it, reload it, and return when it has ended."""
    port = free_port()
    configure(tmp_path, general={"host": "127.0.0.1", "port": port})
    start = commands("mkdir -p logs") + commands("nohup ./start.sh ")
    tell = commands('kill -HUP "$(cat orbit.pid)"')
    stop = commands('kill "$(cat orbit.pid)"')
    program = f"{sys.executable} {ROOT}/run.py"
    lines = "\n".join(start).replace("./start.sh", program)
    assert program in lines
    try:
        await in_bash(tmp_path, lines)
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while not await lives(http, port):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await in_bash(tmp_path, *tell)
            await in_bash(tmp_path, *stop)
            assert not await lives(http, port)
    finally:
        if (tmp_path / "orbit.pid").exists():
            os.kill(int((tmp_path / "orbit.pid").read_text()), signal.SIGKILL)
    assert "Finished server process" in (tmp_path / "logs" / "console.log").read_text()


async def in_bash(folder: Path, *lines: str) -> None:
    """Run lines in ``folder`` as one would type them."""
    assert lines
    bash = await asyncio.create_subprocess_exec(
        "bash", "-c", "\n".join(lines), cwd=folder, env=environment()
    )
    assert await bash.wait() == 0


async def lives(http: aiohttp.ClientSession, port: int) -> bool:
    """Tell whether a server answers on ``port``."""
    try:
        async with http.get(f"http://127.0.0.1:{port}/health/live") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


# -- certbot ----------------------------------------------------------------------------------


class Machine:
    """What the hook finds: a lineage of certbot, a ``systemctl``, and the folder to copy into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lineage = folder / "live" / "chat.example.org"
        self.target = folder / "etc" / "tls"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.lineage.mkdir(parents=True)
        self.renew("first")
        self.program("systemctl", f'echo "$@" >> {folder}/asked; [ ! -e {folder}/inactive ]')

    def program(self, name: str, script: str) -> None:
        """Put a program before those of the system."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def renew(self, content: str) -> None:
        """Write new files and let certbot's links lead to them."""
        archive = self.folder / "archive" / content
        archive.mkdir(parents=True)
        for name in ("privkey.pem", "fullchain.pem", "cert.pem"):
            (archive / name).write_text(f"{content} {name}")
            (archive / name).chmod(0o644)
            (self.lineage / name).unlink(missing_ok=True)
            (self.lineage / name).symlink_to(archive / name)

    def hook(self, **changed: str | None) -> subprocess.CompletedProcess[str]:
        """Run the hook as certbot does, with the laxest umask there is."""
        variables: dict[str, str | None] = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "RENEWED_LINEAGE": str(self.lineage),
            "RENEWED_DOMAINS": "chat.example.org",
            "ORBIT_TLS_DIR": str(self.target),
            "ORBIT_TLS_GROUP": str(os.getgid()),
            **changed,
        }
        return subprocess.run(
            [DEPLOY / "certbot-deploy-hook"],
            env={name: value for name, value in variables.items() if value is not None},
            umask=0,
            capture_output=True,
            text=True,
        )

    @property
    def copies(self) -> dict[str, tuple[str, int]]:
        """Content and mode of everything in the target folder."""
        return {
            path.name: (path.read_text(), stat.S_IMODE(path.stat().st_mode))
            for path in self.target.iterdir()
        }

    @property
    def asked(self) -> list[str]:
        """What ``systemctl`` was asked."""
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which certbot has just renewed a certificate."""
    return Machine(tmp_path)


def copied(content: str) -> Mapping[str, tuple[str, int]]:
    """Return what the target folder holds after a renewal."""
    return {name: (f"{content} {name}", 0o640) for name in ("privkey.pem", "fullchain.pem")}


def test_the_hook_makes_the_folder_and_copies(machine: Machine) -> None:
    """The first time: folder and files for the group only, and the server looks at once."""
    done = machine.hook()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.copies == copied("first")
    assert stat.S_IMODE(machine.target.stat().st_mode) == 0o750
    assert machine.asked == ["--quiet is-active orbit", "reload orbit"]


def test_the_hook_mends_what_a_failed_run_left(machine: Machine) -> None:
    """Without its group nothing is made; a folder nobody may enter is opened for the group."""
    failed = machine.hook(ORBIT_TLS_GROUP="no-such-group")
    assert failed.returncode != 0
    assert "no-such-group" in failed.stderr
    assert not machine.target.exists()
    machine.target.mkdir(parents=True)
    machine.target.chmod(0o700)
    group = 65534 if os.geteuid() == 0 else os.getgid()
    assert machine.hook(ORBIT_TLS_GROUP=str(group)).returncode == 0
    made = machine.target.stat()
    assert (stat.S_IMODE(made.st_mode), made.st_gid) == (0o750, group)
    assert machine.copies == copied("first")


def test_the_server_can_enter_what_the_hook_makes(machine: Machine) -> None:
    """The folders above, too: they are not shut as the key is."""
    assert machine.hook().returncode == 0
    assert stat.S_IMODE(machine.target.parent.stat().st_mode) == 0o755


def test_the_hook_replaces(machine: Machine) -> None:
    """A renewal puts new files in place of the old ones instead of writing into them."""
    assert machine.hook().returncode == 0
    with (machine.target / "privkey.pem").open() as opened:
        machine.renew("second")
        assert machine.hook().returncode == 0
        assert machine.copies == copied("second")
        assert opened.read() == "first privkey.pem"


def test_the_key_is_never_readable_for_others(machine: Machine) -> None:
    """Looked at before each step of the hook, no file in the folder is open to everybody."""
    for name in ("chgrp", "chmod", "mv"):
        program = shutil.which(name, path="/usr/bin:/bin")
        look = f"find {machine.target} -type f -perm /007 >> {machine.folder}/open"
        machine.program(name, f'{look}\nexec {program} "$@"')
    for content in ("second", "third"):
        assert machine.hook().returncode == 0
        machine.renew(content)
    assert (machine.folder / "open").read_text() == ""


def test_a_server_that_does_not_run_is_left_alone(machine: Machine) -> None:
    """The copies are made, nothing is started, and certbot hears of no failure."""
    (machine.folder / "inactive").touch()
    assert machine.hook().returncode == 0
    assert machine.copies == copied("first")
    assert machine.asked == ["--quiet is-active orbit"]


def test_half_a_lineage_changes_nothing(machine: Machine) -> None:
    """Without the chain the key stays as it was too, and certbot is told."""
    assert machine.hook().returncode == 0
    machine.renew("second")
    (machine.lineage / "fullchain.pem").unlink()
    failed = machine.hook()
    assert failed.returncode != 0
    assert "fullchain.pem" in failed.stderr
    assert machine.copies == copied("first")


def test_the_hook_by_hand_says_what_it_needs(machine: Machine) -> None:
    """Without certbot's variable there is a sentence, and nothing happens."""
    failed = machine.hook(RENEWED_LINEAGE=None)
    assert failed.returncode != 0
    assert "RENEWED_LINEAGE=/etc/letsencrypt/live/NAME" in failed.stderr
    assert not machine.target.exists()


# -- Docker -----------------------------------------------------------------------------------


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile, each with what follows it."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line:
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def last(name: str) -> str:
    """Return what follows the last instruction of a kind."""
    return [rest for kind, rest in instructions() if kind == name][-1]


def ignored(path: str) -> bool:
    """Tell whether ``.dockerignore`` keeps ``path`` out; its last line that fits decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and line[0] != "#" and fnmatch.fnmatch(path.split("/")[-1], pattern):
            out = line[0] != "!"
        elif line.startswith("!") and path.split("/")[0] == pattern:
            out = False
    return out


def test_the_image_holds_what_is_needed_and_no_more() -> None:
    """Every source of ``COPY`` is there and gets through; data, secrets and history do not."""
    copies = [rest.split() for name, rest in instructions() if name == "COPY"]
    sources = [name for words in copies if "--from" not in words[0] for name in words[:-1]]
    needed = {"requirements.txt", "pyproject.toml", "orbit_server", "middleware", "examples"}
    assert needed <= set(sources)
    assert [name for name in sources if not (ROOT / name).exists() or ignored(name)] == []
    private = ["data", "logs", ".env", ".git", ".venv", "config.yaml", "tests", "orbit_server/.env"]
    assert [name for name in private if not ignored(name)] == []


def test_the_image_runs_the_server_itself_without_rights() -> None:
    """A fixed user, no shell in between that would keep SIGTERM to itself, no compiler."""
    assert last("USER") == "10001:10001"
    assert json.loads(last("ENTRYPOINT")) == ["orbit"]
    command, *arguments = json.loads(last("CMD"))
    assert command == "serve"
    serve_options(*arguments)
    assert not re.search(r"apt|apk|gcc|build-essential", (DEPLOY / "Dockerfile").read_text())


@pytest.mark.anyio
async def test_what_the_image_copies_is_a_whole_server(tmp_path: Path) -> None:
    """Installed from these files alone the demo answers; the health check passes until it stops."""
    installed = install_from_image(tmp_path)
    configure(tmp_path)
    program = [sys.executable, "-m", "orbit_server", "serve"]
    variables = {"PYTHONPATH": str(installed)}
    async with server(tmp_path, "--demo", program=program, variables=variables) as running:
        port = int(running.url.rpartition(":")[2])
        configure(tmp_path, general={"port": port})
        assert await healthy(tmp_path, installed)
        assert await running.ended() == 0
        assert not await healthy(tmp_path, installed)


def install_from_image(folder: Path) -> Path:
    """Install what the Dockerfile copies as it does; the folder of the packages."""
    source, installed = folder / "src", folder / "opt"
    source.mkdir()
    for name in [name for kind, rest in instructions() if kind == "COPY" for name in rest.split()]:
        if (ROOT / name).is_dir() and not name.startswith("/"):
            shutil.copytree(ROOT / name, source / name)
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--no-deps", "--target", installed, source], check=True)
    return installed


async def healthy(folder: Path, root: Path) -> bool:
    """Run the health check of the image with the configuration in ``folder``."""
    python, *arguments = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert python == "python"
    check = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(root)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await check.wait() == 0


@pytest.fixture
def compose() -> dict[str, Any]:
    """The Compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_compose_refers_to_what_there_is(compose: dict[str, Any]) -> None:
    """Volumes, files, services and the Dockerfile that are named exist; every volume is used."""
    services = compose["services"]
    mounts = [each.split(":")[0] for one in services.values() for each in one.get("volumes", [])]
    files = {name for name in mounts if name.startswith(".")}
    assert all((DEPLOY / name).is_file() for name in files)
    assert set(mounts) - files == set(compose["volumes"])
    waited = {name for one in services.values() for name in one.get("depends_on", {})}
    assert waited <= services.keys()
    build = services["orbit"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_compose_restarts_and_checks_everything(compose: dict[str, Any]) -> None:
    """Each service comes back by itself and has a health check, in its image or here."""
    services = compose["services"]
    assert {one["restart"] for one in services.values()} == {"unless-stopped"}
    assert {name for name, one in services.items() if "healthcheck" not in one} == {"orbit"}
    assert services["elasticsearch"]["profiles"] == ["elasticsearch"]
    assert [name for name, one in services.items() if "profiles" in one] == ["elasticsearch"]


def test_compose_shows_only_the_server_and_only_here(compose: dict[str, Any]) -> None:
    """No other service has a port outside, and the server's is on loopback."""
    published = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}
    port = Config().general.port
    assert published == {"orbit": [f"127.0.0.1:{port}:{port}"]}


def test_docker_waits_for_running_answers(compose: dict[str, Any]) -> None:
    """It kills only after the server has cut off answers, closed its parts and written its log."""
    grace = compose["services"]["orbit"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= DRAIN + 45


def test_compose_fits_its_configuration(compose: dict[str, Any]) -> None:
    """The hosts in it are services, what is written lies in volumes, the token is required."""
    config = load(DEPLOY / "config.docker.yaml", environ=VARIABLES)
    assert config.warnings == ()
    services = compose["services"]
    urls = [config.ollama.base_url, config.elasticsearch.node]
    hosts = {config.chroma.host, *(re.split(r"[/:]+", url)[1] for url in urls)}
    assert hosts == services.keys() - {"orbit"}
    orbit = services["orbit"]
    volumes = [each.split(":")[1] for each in orbit["volumes"]]
    written = kept_in(config)[1:]  # Chroma keeps the first
    assert [path for path in written if not path.startswith(tuple(volumes))] == []
    assert orbit["environment"]["ADMIN_TOKEN"].startswith("${ADMIN_TOKEN:?")
    variables = {**VARIABLES, "ELASTICSEARCH_PASSWORD": "changeme"}
    overrides = {"elasticsearch.enabled": True}
    full = load(DEPLOY / "config.docker.yaml", environ=variables, overrides=overrides)
    assert full.elasticsearch.auth.username == "elastic"


# -- backup -----------------------------------------------------------------------------------


def commands(beginning: str) -> list[str]:
    """Return the command lines of docs/operations.md that begin so, without ``sudo``."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```$", OPERATIONS.read_text(), re.M | re.S)
    lines = [line.strip().removeprefix("sudo ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(beginning)]


@pytest.mark.anyio
async def test_a_backup_brings_the_same_answers(tmp_path: Path) -> None:
    """Copied and restored by the documented commands, the data answer as before, key included."""
    state = tmp_path / "orbit"
    state.mkdir()
    configure(state)
    shutil.copy(ROOT / "examples" / "town-qa.json", state)
    assert (await command(state, "ingest", "town-qa.json", "--collection", "town")).code == 0
    made = await command(state, "keys", "create", "--collection", "town", "--name", "kiosk")
    key = re.findall(r"api_\w[\w-]{20,}", made.out)[0]
    before = await answer(state, key)
    assert "10:00" in before["response"]

    (save,) = commands("tar -czf /var/backups/")
    (restore,) = commands("tar -xzf /var/backups/")
    shell(save, state, tmp_path)
    shutil.rmtree(state / "data")
    shell(restore, state, tmp_path)
    assert await answer(state, key) == before


@pytest.mark.anyio
async def test_keys_can_be_copied_while_the_server_runs(tmp_path: Path) -> None:
    """The documented copy of the key table is whole, and knows the keys."""
    configure(tmp_path)
    async with server(tmp_path):
        made = await command(tmp_path, "keys", "create", "--collection", "town", "--name", "kiosk")
        assert made.code == 0
        (save,) = commands("/opt/orbit/.venv/bin/python -c ")
        save = save.replace("/opt/orbit/.venv/bin/python", sys.executable)
        shell(save, tmp_path, tmp_path)
    (tmp_path / "data" / "orbit.db").write_bytes((tmp_path / "keys.db").read_bytes())
    assert "kiosk" in (await command(tmp_path, "keys", "list")).out


def shell(line: str, state: Path, backup: Path) -> None:
    """Run a documented command with the paths of this test."""
    line = line.replace("/var/lib/orbit", str(state)).replace("/var/backups", str(backup))
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def answer(folder: Path, key: str) -> dict[str, Any]:
    """Start a server in ``folder``, ask it with ``key``, and stop it."""
    question = {"message": "When is the library open on Saturdays?", "stream": False}
    async with server(folder) as running, aiohttp.ClientSession() as http:
        async with http.post(
            f"{running.url}/chat", json=question, headers={"X-API-Key": key}
        ) as response:
            assert response.status == 200
            reply: dict[str, Any] = await response.json()
        assert await running.ended() == 0
    assert reply.pop("id")  # every answer has another
    return reply
