"""``orbit doctor``: what an administrator is told about a set-up."""

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ...support.certificates import Authority
from ...support.chroma_run import chroma_run
from ...support.elasticsearch_standin import ElasticsearchStandIn
from ...support.ollama_standin import OllamaStandIn
from ...support.ports import free_port
from ...support.program import (
    ROOT,
    Result,
    command,
    configure,
    environment,
    server,
    start,
)
from ...support.server import ADMIN_TOKEN

pytestmark = [pytest.mark.anyio, pytest.mark.process]


NOBODY = 65534
USER, PASSWORD = "orbit-writer", "es-Pa55word-7391"
PRIVILEGED = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
Found = dict[str, list[dict[str, str]]]


def free(**sections: Any) -> dict[str, Any]:
    """Return ``sections`` and a port that nobody has."""
    return {"general": {"port": free_port()}, **sections}


async def load_town(folder: Path) -> None:
    """Load a document into the collection ``town``, and make a key for it."""
    (folder / "library.md").write_text("# Library\n\nThe library opens at nine.\n")
    loaded = await command(folder, "ingest", folder / "library.md", "--collection", "town")
    assert loaded.code == 0, loaded.err
    await command(folder, "keys", "create", "--collection", "town", "--name", "page")


async def doctor(folder: Path, **more: Any) -> tuple[int, Found]:
    """Run the command for programs; the exit code, and the findings by the name of the check."""
    return read(await command(folder, "doctor", "--json", **more))


def read(result: Result) -> tuple[int, Found]:
    """Return the exit code and the findings, having checked what holds for all of them."""
    told = json.loads(result.out)
    found: Found = {}
    for each in told["checks"]:
        assert each.keys() == {"name", "status", "message", "remedy"}
        assert bool(each["remedy"]) == (each["status"] != "ok"), each
        assert each["message"] and "\n" not in each["message"] + each["remedy"]
        assert "could not be checked" not in each["message"], each
        found.setdefault(each["name"], []).append(each)
    statuses = [each["status"] for each in told["checks"]]
    assert told["status"] == max(statuses, key=["ok", "warn", "fail"].index)
    return result.code, found


def bad(found: Found) -> list[dict[str, str]]:
    """Return all that is not green."""
    return [each for several in found.values() for each in several if each["status"] != "ok"]


def one(found: Found, name: str, words: str) -> dict[str, str]:
    """Return the one finding of the check ``name`` that says ``words``."""
    [finding] = [each for each in found[name] if words in each["message"]]
    return finding


def tree(folder: Path) -> list[str]:
    """Return everything below ``folder``."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- all is well ------------------------------------------------------------------------------


async def test_a_small_set_up(tmp_path: Path) -> None:
    """Without Ollama all is green, a line each, and nothing new lies in the folder."""
    configure(tmp_path, **free())
    await load_town(tmp_path)
    before = tree(tmp_path)
    result = await command(tmp_path, "doctor")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines and all(line.startswith("ok    ") for line in lines), result.out
    for words in ("1 with 1 chunks, embedded by lexical/hashed-words-1", "1 can be used"):
        assert words in result.out
    assert tree(tmp_path) == before


async def test_public_keys(tmp_path: Path) -> None:
    """One in a page, or for a site, that nothing limits; and a page whose key opens nothing."""
    configure(tmp_path, **free(), web={"page_key": "api_none"})
    await load_town(tmp_path)
    _, found = await doctor(tmp_path)
    assert "page_key" in one(found, "keys", "refuses its visitors")["message"]
    make = ("keys", "create", "--collection=town", "--name=site")
    limited = await command(tmp_path, *make, "--website=https://town.example")
    configure(tmp_path, **free(), web={"page_key": limited.out.strip()})
    _, found = await doctor(tmp_path)
    assert [each["status"] for each in found["keys"]] == ["ok"]
    unlimited = await command(tmp_path, *make)
    configure(tmp_path, **free(), web={"page_key": unlimited.out.strip()})
    _, found = await doctor(tmp_path)
    assert "keys limit" in one(found, "keys", "has no limits")["remedy"]
    assert unlimited.out.strip() not in str(found)


async def test_a_large_set_up(tmp_path: Path) -> None:
    """HTTPS, Ollama for everything, a Chroma server and Elasticsearch: green, and no secret."""
    Authority().issue(1).write(tmp_path / "cert.pem", tmp_path / "key.pem")
    (tmp_path / "words.txt").write_text("a bad word\n")
    async with (
        OllamaStandIn() as ollama,
        ElasticsearchStandIn() as elastic,
        chroma_run(tmp_path / "chroma") as chroma,
    ):
        ollama.models["gemma3:12b"] = ["completion"]
        elastic.users[USER] = PASSWORD
        https = {"enabled": True, "port": free_port(), "redirect_http": True}
        configure(
            tmp_path,
            general={"port": free_port(), "https": https},
            embedding={"provider": "ollama"},
            answer={"provider": "ollama"},
            ollama={"base_url": ollama.url},
            safety={"mode": "strict", "blocklist": "words.txt"},
            reranker={"enabled": True},
            chroma={"host": chroma.host, "port": chroma.port},
            elasticsearch={
                "enabled": True,
                "node": elastic.url,
                "auth": {"username": USER, "password": PASSWORD},
            },
        )
        await load_town(tmp_path)
        before = tree(tmp_path / "data"), list(elastic.indices)
        result = await command(tmp_path, "doctor", "--json")
        code, found = read(result)
        assert (code, bad(found)) == (0, [])
        assert (tree(tmp_path / "data"), list(elastic.indices)) == before
    assert {"certificate", "ports", "ollama", "safety", "reranker"} <= found.keys()
    assert {"chroma", "collections", "keys", "elasticsearch", "disk"} <= found.keys()
    assert len(found["ports"]) == 2
    assert "gemma3:4b, bge-m3, gemma3:12b" in found["ollama"][0]["message"]
    for secret in (PASSWORD, ADMIN_TOKEN):
        assert secret not in result.out + result.err


async def test_nothing_is_created_by_checking(tmp_path: Path) -> None:
    """Where nothing is yet, the defaults are checked, and nothing is there afterwards."""
    code, found = await doctor(tmp_path, token=None)
    assert code == 1  # no Ollama here
    assert tree(tmp_path) == []
    assert "ollama serve" in one(found, "ollama", "cannot be reached")["remedy"]
    assert "ingest" in one(found, "collections", "no documents")["remedy"]
    assert "keys create" in one(found, "keys", "no key yet")["remedy"]
    assert ">> .env" in one(found, "configuration", "no ADMIN_TOKEN")["remedy"]


# -- a running server -------------------------------------------------------------------------


async def test_a_running_server_is_asked(tmp_path: Path) -> None:
    """What a server holds is checked through it; without any token only that it is there.

    Whoever may read the folder needs no admin token.
    """
    configure(tmp_path, **free())
    await load_town(tmp_path)
    async with server(tmp_path) as running:
        code, found = await doctor(tmp_path)
        assert (code, bad(found)) == (0, [])
        assert running.url in one(found, "ports", "the server answers")["message"]
        assert running.url in one(found, "chroma", "is in use by the server")["message"]
        assert "1 with 1 chunks" in found["collections"][0]["message"]
        for token in (None, "another-token-0123456789"):
            code, found = await doctor(tmp_path, token=token)
            assert code == 0
            assert "1 with 1 chunks" in found["collections"][0]["message"]
        (tmp_path / "data" / "chroma" / "orbit.token").unlink()
        for token in (None, "another-token-0123456789"):
            code, found = await doctor(tmp_path, token=token)
            assert code == 0
            assert "ADMIN_TOKEN" in one(found, "chroma", "is in use by process")["remedy"]
            assert "collections" not in found


async def test_a_running_server_beside_chroma(tmp_path: Path) -> None:
    """No lock tells of it, but it answers at the configured port, also who has no key."""
    async with chroma_run(tmp_path / "chroma") as chroma:
        sections: dict[str, Any] = {"chroma": {"host": chroma.host, "port": chroma.port}}
        configure(tmp_path, api_keys={"require_for_health": True}, **sections)
        await load_town(tmp_path)
        async with server(tmp_path) as running:
            port = int(running.url.rpartition(":")[2])
            configure(tmp_path, general={"host": "127.0.0.1", "port": port}, **sections)
            code, found = await doctor(tmp_path)
    assert (code, bad(found)) == (0, [])
    assert running.url in one(found, "ports", "the server answers")["message"]


async def test_a_running_server_with_https(tmp_path: Path) -> None:
    """Its certificate names no address; the file is believed, and another one is not."""
    authority, port = Authority(), free_port()
    authority.issue(1).write(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.issue(2).write(tmp_path / "cert2.pem", tmp_path / "key2.pem")
    https: dict[str, Any] = {"enabled": True, "port": port}
    configure(tmp_path, general={"host": "127.0.0.1", "port": free_port(), "https": https})
    await load_town(tmp_path)
    running = start(tmp_path)
    try:
        async with asyncio.timeout(60):
            while "answers at" not in (tmp_path / "console").read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        code, found = await doctor(tmp_path)
        assert (code, bad(found)) == (0, [])
        assert f"https://127.0.0.1:{port}" in one(found, "chroma", "is in use")["message"]
        assert (await command(tmp_path, "collections", "list")).code == 0
        https |= {"cert_file": "cert2.pem", "key_file": "key2.pem"}
        configure(tmp_path, general={"host": "127.0.0.1", "port": free_port(), "https": https})
        _, found = await doctor(tmp_path)
        assert "is in use by process" in bad(found)[0]["message"]
    finally:
        running.kill()
        running.wait()


async def test_a_server_of_another_folder_is_in_the_way(tmp_path: Path) -> None:
    """It is an ORBIT server, but not the one that works on these documents."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    configure(tmp_path / "theirs")
    async with server(tmp_path / "theirs") as running:
        port = int(running.url.rpartition(":")[2])
        configure(tmp_path / "ours", general={"port": port, "host": "127.0.0.1"})
        code, found = await doctor(tmp_path / "ours")
    assert code == 1
    assert "ss -ltnp" in one(found, "ports", f"{port} is taken by another")["remedy"]


# -- what is wrong ----------------------------------------------------------------------------

# As the command does it, but with time for a machine that is busy.
PATIENT = """
from functools import partial
from orbit_server.cli.doctor import checks
from orbit_server.cli import main as cli
checks.diagnose = partial(checks.diagnose, limit=100.0)
"""

# Checks once to import everything, because another user may not be able to; then becomes that user.
AS_NOBODY = f"""{PATIENT}
import contextlib, io, os, resource, sys
sys.argv = ["orbit", "doctor", *sys.argv[1:]]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    cli.main()
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
cli.main()
"""


def as_nobody(folder: Path, *arguments: str) -> Result:
    """Run the command as somebody who owns nothing in ``folder``, if this is root."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *arguments],
        cwd=folder,
        env=environment(token=None) | {"TOKEN_OF_ELASTIC": PASSWORD},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout and "Traceback" not in done.stderr, (done.returncode, done.stderr)
    return Result(done.returncode, done.stdout, done.stderr)


@contextmanager
def taken_port() -> Iterator[int]:
    """A port on which a program listens that never says anything."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def test_all_that_can_be_wrong(public: Path) -> None:
    """Everything at once: each has its line and its remedy, and nothing hides another."""
    ended = Authority().issue(1, begin=timedelta(days=-9), end=timedelta(days=-3))
    ended.write(public / "cert.pem", public / "key.pem")
    for name in ("key.pem", ".env", "orbit.db"):
        (public / name).touch()
        (public / name).chmod(0o644)
    (public / "orbit.db").write_bytes(b"this is no database" * 100)
    (public / "lexical").touch()
    (public / "logs").mkdir()
    (public / "logs" / "chat-2026-03-01.log").write_text("{}\n")
    (public / "logs" / "chat-2026-03-01.log").chmod(0o444)
    (public / "logs").chmod(0o555)
    (public / "shut").mkdir(mode=0o555)
    (public / "words.txt").write_text("fine\n/(unclosed/\n")
    closed = free_port()
    async with OllamaStandIn() as ollama, ElasticsearchStandIn() as elastic:
        ollama.models = {"bge-m3:latest": ["embedding"]}
        elastic.users[USER] = "another"
        with taken_port() as port:
            https = {"enabled": True, "port": 443, "redirect_http": True}
            configure(
                public,
                general={"port": port, "https": https},
                mongodb={"host": "localhost"},
                logging={"file": {"enabled": False}},
                embedding={"provider": "ollama"},
                answer={"provider": "ollama"},
                ollama={"base_url": ollama.url},
                safety={"mode": "strict", "blocklist": "words.txt"},
                reranker={"enabled": True, "model": "bge-reranker-v2-m3"},
                chroma={"path": "shut/chroma"},
                retrieval={"path": "lexical"},
                database={"url": "sqlite+aiosqlite:///orbit.db"},
                elasticsearch={
                    "enabled": True,
                    "node": elastic.url,
                    "auth": {"username": USER, "password": "${TOKEN_OF_ELASTIC}"},
                    "checkpoint": f"shut/{closed}.json",
                },
            )
            (public / "config.yaml").chmod(0o644)
            result = await asyncio.to_thread(as_nobody, public, "--json")
    code, found = read(result)
    assert code == 1
    expected = [
        ("warn", "configuration", "mongodb", "docs/configuration.md"),
        ("warn", "configuration", "logging.file.enabled", "docs/configuration.md"),
        ("warn", "configuration", "no ADMIN_TOKEN", "secrets.token_urlsafe"),
        ("warn", "open files", "only 1000", "LimitNOFILE"),
        ("warn", "secrets", ".env orbit.db key.pem", "chmod o-rwx .env orbit.db key.pem"),
        ("warn", "secrets", "what people asked", "chmod -R o-rwx logs"),
        ("fail", "folders", "chroma.path: shut/chroma does not exist", "sudo install -d -o"),
        ("fail", "folders", "lexical is not a folder", "retrieval.path"),
        ("fail", "folders", "logging.file.directory: the folder logs", "sudo chown"),
        ("fail", "folders", "elasticsearch.checkpoint: the folder shut", "sudo chown"),
        ("fail", "certificate", "has expired", "certbot renew"),
        ("fail", "ports", f"general.port: {port} is taken", "ss -ltnp"),
        ("fail", "ollama", "gemma3:4b is not installed", "ollama pull gemma3:4b"),
        ("fail", "ollama", "gemma3:12b is not installed", "ollama pull gemma3:12b"),
        ("warn", "ollama", "bge-reranker-v2-m3 is not", "ollama pull bge-reranker-v2-m3"),
        ("fail", "safety", "words.txt:2", "safety"),
        ("fail", "reranker", "cannot rate passages", "reranker"),
        ("fail", "elasticsearch", "status 401", "elasticsearch.auth"),
        ("warn", "collections", "no documents", "ingest"),
        ("fail", "keys", "the key table cannot be read", "database.url"),
    ]
    if PRIVILEGED > 443:
        expected.append(("fail", "ports", "only root may listen on 443", "CAP_NET_BIND_SERVICE"))
    if os.geteuid() == 0:
        words = "database.url: the folder . cannot be written"
        expected.append(("fail", "folders", words, "sudo chown"))
    for status, name, words, remedy in expected:
        finding = one(found, name, words)
        assert finding["status"] == status, finding
        assert remedy in finding["remedy"], finding
    assert PASSWORD not in result.out + result.err
    assert tree(public / "shut") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_folders_of_somebody_else(public: Path) -> None:
    """Who may not look is told so; root, who may, is told to check as their owner."""
    configure(public, **free())
    await load_town(public)
    (public / "data").chmod(0o700)
    code, found = read(await asyncio.to_thread(as_nobody, public, "--json"))
    assert code == 1
    assert "Permission denied" in found["chroma"][0]["message"]
    assert "Permission denied" in found["keys"][0]["message"]
    assert "check as its user" in found["folders"][0]["remedy"]

    (public / "data").chmod(0o755)
    (public / "data" / "lexical").chmod(0o777)
    code, found = read(await asyncio.to_thread(as_nobody, public, "--json"))
    assert (code, found["folders"][0]["status"]) == (1, "fail")

    for path in (public / "data").rglob("*"):
        os.chown(path, NOBODY, NOBODY)
    code, found = await doctor(public)
    assert code == 0
    user = one(found, "folders", "this runs as root")["remedy"]
    assert "sudo -u nobody" in user
    assert "root does not open it" in found["chroma"][0]["message"]


async def test_documents_that_do_not_fit(tmp_path: Path) -> None:
    """Another embedder, a lost word index, a key to nothing, and keys that have ended."""
    configure(tmp_path, **free())
    await load_town(tmp_path)
    [index] = (tmp_path / "data" / "lexical").glob("*.words")
    shutil.rmtree(index)
    for collection in ("gone", "town"):
        arguments = ("--collection", collection, "--name", "kiosk")
        assert (await command(tmp_path, "keys", "create", *arguments)).code == 0
    with closing(sqlite3.connect(tmp_path / "data" / "orbit.db")) as table:
        table.execute("UPDATE api_keys SET expires_at='2026-01-01' WHERE client_name = 'page'")
        table.commit()
    code, found = await doctor(tmp_path)
    assert code == 0
    index_of = one(found, "collections", "0 of 1 chunks")
    assert index_of["remedy"] == "orbit collections reindex town"
    assert one(found, "keys", "'gone'")["status"] == "warn"
    assert one(found, "keys", "2 can be used, 1 expired or inactive")["status"] == "ok"

    async with OllamaStandIn() as ollama:
        settings = {"ollama": {"base_url": ollama.url}, "embedding": {"provider": "ollama"}}
        configure(tmp_path, **free(**settings))
        code, found = await doctor(tmp_path)
    assert code == 1
    mismatch = one(found, "collections", "embedded by lexical/hashed-words-1")
    assert mismatch["status"] == "fail" and "embedding.provider" in mismatch["remedy"]


@pytest.mark.parametrize(
    ("days", "status", "words"), [(40, "ok", "good until"), (5, "warn", "expires in")]
)
async def test_a_certificate_that_ends_soon(
    tmp_path: Path, days: int, status: str, words: str
) -> None:
    """In its last two weeks there is a warning."""
    issued = Authority().issue(1, begin=timedelta(days=-60), end=timedelta(days=days))
    issued.write(tmp_path / "cert.pem", tmp_path / "key.pem")
    configure(tmp_path, general={"https": {"enabled": True, "port": free_port()}})
    _, found = await doctor(tmp_path)
    assert one(found, "certificate", words)["status"] == status
    (tmp_path / "key.pem").write_text("nothing")
    code, found = await doctor(tmp_path)
    assert (code, found["certificate"][0]["status"]) == (1, "fail")


async def test_a_certificate_that_begins_later(tmp_path: Path) -> None:
    """Browsers refuse it until then, and the day is told."""
    issued = Authority().issue(1, begin=timedelta(days=30))
    issued.write(tmp_path / "cert.pem", tmp_path / "key.pem")
    configure(tmp_path, general={"https": {"enabled": True, "port": free_port()}})
    code, found = await doctor(tmp_path)
    begins = issued.certificate.not_valid_before_utc
    finding = one(found, "certificate", f"not valid before {begins:%Y-%m-%d %H:%M} UTC")
    assert (finding["status"], code) == ("warn", 0)


async def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """A disk that is not mounted is red, as the server could not start, and nothing is made."""
    configure(tmp_path, **free(retrieval={"path": "round"}))
    nowhere = tmp_path / "nowhere"
    (tmp_path / "data").symlink_to(nowhere / "data")
    (tmp_path / "logs").symlink_to(nowhere / "logs")
    (tmp_path / "round").symlink_to("round")
    code, found = await doctor(tmp_path)
    assert code == 1
    for key, name in (("chroma.path", "data"), ("logging.file.directory", "logs")):
        finding = one(found, "folders", f"{key}: {tmp_path / name} leads to {nowhere / name}")
        assert finding["status"] == "fail" and key in finding["remedy"]
    assert one(found, "folders", "retrieval.path")["status"] == "fail"
    assert not nowhere.exists()


async def test_the_disk_is_that_of_the_link(tmp_path: Path) -> None:
    """A link to another disk counts there, be it to a folder that is not there."""
    configure(tmp_path, **free())
    (tmp_path / "logs").symlink_to(tmp_path / "disk" / "logs")
    with small_disk(tmp_path / "disk", "size=64m"):
        _, found = await doctor(tmp_path)
        assert one(found, "disk", "free for logs.")["status"] == "fail"
        (tmp_path / "disk" / "logs").mkdir()
        _, found = await doctor(tmp_path)
        assert one(found, "disk", "free for logs.")["status"] == "fail"
        assert found["folders"][0]["status"] == "ok"


async def test_the_folder_of_proofs(tmp_path: Path) -> None:
    """The remedy makes the folder that certbot needs; with it all is well."""
    configure(tmp_path, general={"port": free_port(), "acme_dir": "a webroot"})
    code, found = await doctor(tmp_path)
    finding = one(found, "folders", "general.acme_dir: a webroot")
    assert (finding["status"], code) == ("warn", 0)
    make = finding["remedy"].removeprefix("sudo ")
    making = await asyncio.create_subprocess_shell(make, cwd=tmp_path)
    assert await making.wait() == 0
    _, found = await doctor(tmp_path)
    assert [each["status"] for each in found["folders"]] == ["ok"]


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a disk on ``folder``, or skip the test."""
    folder.mkdir()
    order = ["mount", "-t", "tmpfs", "-o", options, "orbit-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(order, capture_output=True).returncode:
        pytest.skip("needs mount: a small tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    ("options", "status"), [("size=64m", "fail"), ("size=512m", "warn"), ("nr_inodes=5k", "warn")]
)
async def test_a_disk_that_is_nearly_full(tmp_path: Path, options: str, status: str) -> None:
    """A gigabyte is too little for long, a tenth of it for now; files are counted too."""
    configure(tmp_path, **free())
    with small_disk(tmp_path / "logs", options):
        code, found = await doctor(tmp_path)
    finding = one(found, "disk", "free for logs.")
    assert (finding["status"], code) == (status, int(status == "fail"))
    assert "retention_days" in finding["remedy"]


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[int]:
    """A server that answers whatever it is sent with ``answer``, on the port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                writer.write(answer)
        except OSError:
            pass
        finally:
            writer.close()

    talking = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with talking:
        yield talking.sockets[0].getsockname()[1]


async def test_a_clock_that_is_wrong(tmp_path: Path) -> None:
    """A neighbour that is asked anyway says what time it has; it is also an old Ollama."""
    body = b'{"version": "0.11.2", "models": [{"name": "gemma3:4b"}]}'
    date = b"Date: Sun, 01 Mar 2026 12:00:00 GMT"
    head = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n" % (date, len(body))
    async with saying(head + body) as port:
        ollama = {"base_url": f"http://127.0.0.1:{port}"}
        configure(tmp_path, **free(ollama=ollama, answer={"provider": "ollama"}))
        code, found = await doctor(tmp_path)
    assert code == 0
    assert "set-ntp" in one(found, "clock", "seconds ahead of another server")["remedy"]
    assert "ollama.com/download" in one(found, "ollama", "known security hole")["remedy"]


async def test_elasticsearch_that_is_away_or_shut(tmp_path: Path) -> None:
    """What comes back by itself is yellow; what needs somebody is red."""

    async def found(node: str) -> dict[str, str]:
        account = {"username": USER, "password": PASSWORD}
        elasticsearch = {"enabled": True, "node": node, "auth": account}
        configure(tmp_path, **free(elasticsearch=elasticsearch))
        [finding] = (await doctor(tmp_path))[1]["elasticsearch"]
        return finding

    async with ElasticsearchStandIn() as elastic:
        elastic.users[USER] = PASSWORD
        elastic.denied = {"info"}
        assert (await found(elastic.url))["status"] == "ok"
        elastic.denied = {"write"}
        assert "create_doc" in (await found(elastic.url))["remedy"]
        elastic.product = False
        assert (await found(elastic.url))["status"] == "fail"
    assert (await found(f"http://127.0.0.1:{free_port()}"))["status"] == "warn"


async def test_words_in_elasticsearch(tmp_path: Path) -> None:
    """Checked where they are used, whether or not the log goes there; and nothing is written."""

    async def found(node: str, words: str = "elasticsearch") -> list[dict[str, str]]:
        account = {"username": USER, "password": PASSWORD}
        elasticsearch = {"node": node, "auth": account}
        configure(tmp_path, **free(elasticsearch=elasticsearch, retrieval={"words": words}))
        return (await doctor(tmp_path))[1].get("words", [])

    async with ElasticsearchStandIn() as elastic:
        elastic.users[USER] = PASSWORD
        [finding] = await found(elastic.url)
        assert (finding["status"], finding["message"]) == (
            "ok",
            f"{elastic.url} answers and accepts word indexes.",
        )
        assert elastic.words.indices == {}
        elastic.denied = {"write"}
        [finding] = await found(elastic.url)
        assert finding["status"] == "fail"
        assert "orbit-words*" in finding["remedy"]
        elastic.users[USER] = "another"
        [finding] = await found(elastic.url)
        assert finding["status"] == "fail"
        assert PASSWORD not in str(finding)
        assert await found(elastic.url, words="local") == []
    [finding] = await found(f"http://127.0.0.1:{free_port()}")
    assert finding["status"] == "warn"


async def test_records_that_elasticsearch_rejected(tmp_path: Path) -> None:
    """They are counted for as long as they are put aside."""
    async with ElasticsearchStandIn() as elastic:
        configure(tmp_path, **free(elasticsearch={"enabled": True, "node": elastic.url}))
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "rejected.log").write_text("{}\n{}\n")
        rejected, answers = (await doctor(tmp_path))[1]["elasticsearch"]
        assert (rejected["status"], answers["status"]) == ("warn", "ok")
        assert rejected["message"].startswith("2 lines of the chat log were rejected")
        assert "orbit logs resend" in rejected["remedy"]


async def test_a_remedy_names_files_that_are_there(public: Path) -> None:
    """A shell hands on a pattern that nothing matches, and chown fails."""
    configure(public, **free(retrieval={"path": "words"}))
    for name in ("words", "logs", "data"):
        (public / name).mkdir(mode=0o555)
    (public / "logs" / "server.log").touch()
    _, found = read(await asyncio.to_thread(as_nobody, public, "--json"))
    commands = [re.sub(r"chown \S+|  *if .*", "", each["remedy"]) for each in found["folders"]]
    assert {"sudo  words", "sudo  logs logs/*.log*"} <= set(commands)


# -- the configuration ------------------------------------------------------------------------


async def test_the_remedy_is_for_what_is_wrong(tmp_path: Path) -> None:
    """Not every mistake is corrected in the configuration file."""

    async def remedy(token: str = ADMIN_TOKEN) -> str:
        code, found = await doctor(tmp_path, token=token)
        [finding] = found["configuration"]
        assert (code, finding["status"]) == (2, "fail")
        return finding["remedy"]

    configure(tmp_path, **free())
    assert "in the environment or in .env" in await remedy(token="short")
    os.mkfifo(tmp_path / ".env")
    assert "Put a text file there" in await remedy()
    (tmp_path / ".env").unlink()
    configure(tmp_path, general={"no_results_message_file": "absent.txt"})
    assert "Put a text file there" in await remedy()
    configure(tmp_path, general={"port": 0})
    assert "Correct it in config.yaml" in await remedy()


async def test_a_configuration_that_cannot_be_used(public: Path) -> None:
    """Every mistake is a line, what needs no configuration is checked, and the exit code is 2."""
    (public / "config.yaml").write_text(
        "general:\n  port: many\n  colour: red\ndatabase:\n  url: x:y-Pa55word@z\n"
    )
    (public / ".env").write_text(f"ADMIN_TOKEN={ADMIN_TOKEN}\n")
    (public / ".env").chmod(0o644)
    result = await command(public, "doctor", "--json")
    code, found = read(result)
    assert code == 2
    assert [each["status"] for each in found["configuration"]] == ["fail"] * 3
    assert "config.yaml:2: general.port" in found["configuration"][0]["message"]
    assert "chmod o-rwx .env" in found["secrets"][0]["remedy"]
    assert {"packages", "open files", "clock"} <= found.keys()
    assert "y-Pa55word" not in result.out and ADMIN_TOKEN not in result.out
    lines = (await command(public, "doctor")).out.splitlines()
    assert len(lines) == sum(map(len, found.values()))
    assert lines[0].startswith("fail  configuration") and " → Correct it" in lines[0]

    missing = await command(public, "--config", "nowhere.yaml", "doctor", "--json")
    assert missing.code == 2 and "nowhere.yaml" in missing.out
    assert (await command(public, "doctor", "--nonsense")).code == 2


async def test_secrets_written_into_the_configuration(public: Path) -> None:
    """A password in a file that everybody can read is told of, and not repeated."""
    configure(public, **free(elasticsearch={"auth": {"password": PASSWORD}}))
    (public / "config.yaml").chmod(0o644)
    code, found = await doctor(public)
    assert code == 0
    assert one(found, "secrets", "config.yaml")["remedy"] == "chmod o-rwx config.yaml"
    configure(public, **free())
    _, found = await doctor(public)
    assert found["secrets"][0]["status"] == "ok"


async def test_documents_that_every_user_can_read(public: Path) -> None:
    """What Chroma and the word index hold is as private as the chat log and the server's log."""
    configure(public, **free(), chroma={"path": "data/chroma"}, retrieval={"path": "words"})
    (public / "town.md").write_text("# Library\n\nIt opens at nine.\n")
    assert (await command(public, "ingest", "town.md", "--collection", "town")).code == 0
    _, found = await doctor(public)
    assert found["secrets"][0]["status"] == "ok"
    folders = (public / "data", public / "data" / "chroma", public / "words")
    for folder in folders:
        assert folder.stat().st_mode & 0o077 == 0
        folder.chmod(0o755)
    (public / "logs").mkdir()
    (public / "logs" / "server.log").touch(mode=0o644)
    code, found = await doctor(public)
    assert code == 0
    exposed = one(found, "secrets", "your documents")
    assert exposed["remedy"] == "chmod -R o-rwx words data/chroma"
    assert one(found, "secrets", "people asked")["remedy"] == "chmod -R o-rwx logs"


# -- time -------------------------------------------------------------------------------------


def process(
    folder: Path, *arguments: str, program: Sequence[str] = ("-m", "orbit_server")
) -> tuple[Result, float]:
    """Run the program in a process of its own; what it said, and how many seconds it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *program, "doctor", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout, done.stderr), time.monotonic() - started


async def test_neighbours_that_hang(tmp_path: Path) -> None:
    """All of them take connections and say nothing; the command ends, and names each."""
    async with saying(b"") as port:
        url = f"http://127.0.0.1:{port}"
        configure(
            tmp_path,
            general={"port": port, "host": "127.0.0.1"},
            answer={"provider": "ollama"},
            ollama={"base_url": url},
            chroma={"host": "127.0.0.1", "port": port},
            elasticsearch={"enabled": True, "node": url},
        )
        program = ("-c", f"{PATIENT}cli.main()")
        result, seconds = await asyncio.to_thread(process, tmp_path, "--json", program=program)
    code, found = read(result)
    assert code == 1
    assert [found[name][0]["status"] for name in ("ollama", "chroma", "ports")] == ["fail"] * 3
    assert found["elasticsearch"][0]["status"] == "warn"
    assert seconds < 40  # about six, on a machine with nothing else to do


async def test_a_file_that_would_hang(tmp_path: Path) -> None:
    """A pipe in the place of a file is a mistake of the configuration; nobody waits for it."""
    os.mkfifo(tmp_path / "prompt.txt")
    configure(tmp_path, **free(safety={"mode": "strict", "prompt_file": "prompt.txt"}))
    code, found = await doctor(tmp_path)
    assert code == 2
    assert "prompt.txt: cannot be used: it is not a file" in found["configuration"][0]["message"]


HANGING = """
import time
from orbit_server.cli.doctor import machine
from orbit_server.cli.main import main

machine.folders = lambda config: time.sleep(60)
main()
"""


async def test_a_check_that_hangs(tmp_path: Path) -> None:
    """A check that never ends is given up, and does not keep the process from ending."""
    configure(tmp_path, **free())
    result, seconds = await asyncio.to_thread(process, tmp_path, program=("-c", HANGING))
    assert result.code == 0
    assert "warn  folders" in result.out and "not finished after 8 seconds" in result.out
    assert "ok    disk" in result.out
    assert seconds < 50  # about nine; the check takes a minute


def on_terminal(folder: Path) -> tuple[int, bytes]:
    """Run the program on a terminal; the exit code, and what the terminal was sent."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "orbit_server", "doctor"],
        cwd=folder,
        env=environment() | {"TERM": "xterm-256color"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    return running.wait(30), shown


async def test_colours_for_people(tmp_path: Path) -> None:
    """On a terminal the first word is coloured; the same words go into a pipe without."""
    configure(tmp_path, **free())
    code, shown = await asyncio.to_thread(on_terminal, tmp_path)
    assert code == 0
    assert b"\x1b[32mok" in shown and b"\x1b[33mwarn" in shown
    piped, _ = await asyncio.to_thread(process, tmp_path)
    assert piped.code == 0 and "\x1b" not in piped.out
    assert "warn  keys" in piped.out


async def test_the_document_names_every_check(tmp_path: Path) -> None:
    """Its table has all checks, in the words of the program, and its example is of that form."""
    configure(tmp_path, **free(safety={"mode": "strict"}, reranker={"enabled": True}))
    _, found = await doctor(tmp_path)
    page = (ROOT / "docs" / "doctor.md").read_text()
    told = set(re.findall(r"`([a-z ]+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.M))))
    optional = {"elasticsearch", "certificate", "words"}
    assert told == found.keys() | optional | {"ok", "warn", "fail"}
    [example] = re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S)
    for line in example.splitlines():
        assert line[:6].strip() in ("ok", "warn", "fail") and line[6:20].strip() in told
        assert (" → " in line) == (not line.startswith("ok"))
