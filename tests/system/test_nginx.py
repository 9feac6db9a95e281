"""The site of ``deploy/nginx.conf`` in a real nginx, before a real server and a scripted Ollama."""

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from ..support.certificates import Authority
from ..support.chat_server import Reply
from ..support.ollama_standin import BUSY, Hang, OllamaStandIn
from ..support.ports import free_port, listens
from ..support.program import ROOT, Server, command, configure, server
from ..support.server import ADMIN_TOKEN, records_in

SITE = ROOT / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: apt install nginx-light)"),
]

QUESTION = "When is the library open on Saturdays?"
# Another address of this machine: a client that nginx and the server can tell from themselves.
STRANGER = "127.0.0.2"

# A main file that would do harm to streams, if the site let it.
MAIN = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_proxied any;
    gzip_min_length 0;
    gzip_types *;
    proxy_buffering on;
    include {folder}/site.conf;
}}
"""


@dataclass
class Site:
    """Where nginx answers, the server and the Ollama behind it, and how to ask."""

    plain: str
    secure: str
    running: Server
    ollama: OllamaStandIn
    trust: ssl.SSLContext
    key: str

    @asynccontextmanager
    async def client(self, address: str = "127.0.0.1") -> AsyncIterator[aiohttp.ClientSession]:
        """Open a client that trusts the certificate and comes from ``address``."""
        connector = aiohttp.TCPConnector(ssl=self.trust, local_addr=(address, 0))
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as http:
            yield http

    def asking(
        self, http: aiohttp.ClientSession, url: str | None = None, **headers: str
    ) -> "aiohttp.client._RequestContextManager":
        """Ask the question at ``url``, which is nginx unless given."""
        return http.post(
            f"{url or self.secure}/chat",
            json={"message": QUESTION},
            headers={"X-API-Key": self.key, "Accept-Encoding": "gzip", **headers},
        )

    async def ask(self, address: str, url: str | None = None, **headers: str) -> dict[str, Any]:
        """Ask as a client from ``address``, and return what the chat log has of it."""
        async with self.client(address) as http, self.asking(http, url, **headers) as response:
            await response.read()
            assert response.status == 200
            name = response.headers["X-Request-ID"]
        async with asyncio.timeout(30):  # a busy server answers before it has written
            while True:
                for record in records_in(self.running.folder / "logs"):
                    if record.get("request_id") == name:
                        return record
                await asyncio.sleep(0.05)


def rendered(folder: Path, upstream: str, plain: int, secure: int) -> Path:
    """Write the shipped site with ports and paths of this test; a main file that includes it."""
    text = SITE.read_text()
    for shipped, ours in {
        "127.0.0.1:3000": upstream,
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ": f"listen 127.0.0.1:{secure} ",
        "listen [::]:80;": f"listen [::1]:{plain};" if socket.has_ipv6 else "",
        "listen [::]:443 ssl http2;": f"listen [::1]:{secure} ssl;" if socket.has_ipv6 else "",
        "/etc/letsencrypt/live/chat.example.org": str(folder),
        "/var/www/html": str(folder / "webroot"),
        "chat.example.org": "localhost",
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    (folder / "site.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""  # else the workers could not read the folder
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder, user=user))
    return main


@asynccontextmanager
async def nginx(
    folder: Path, upstream: str, authority: Authority
) -> AsyncIterator[tuple[str, str]]:
    """Run nginx with the shipped site before ``upstream``; its HTTP and HTTPS addresses."""
    plain, secure = free_port(), free_port()
    process = started(folder, upstream, authority, plain, secure)
    try:
        async with asyncio.timeout(60):
            while not await listens(plain):
                assert process.poll() is None, (folder / "error.log").read_text()
                await asyncio.sleep(0.05)
        yield f"http://localhost:{plain}", f"https://localhost:{secure}"
    finally:
        process.terminate()
        process.wait(30)


def started(
    folder: Path, upstream: str, authority: Authority, plain: int, secure: int
) -> subprocess.Popen[bytes]:
    """Start nginx in a new ``folder``, beside a folder for certbot's proofs."""
    proofs = folder / "webroot" / ".well-known" / "acme-challenge"
    proofs.mkdir(parents=True)
    (proofs / "token").write_text("proof")
    authority.issue(serial=7).write(folder / "fullchain.pem", folder / "privkey.pem")
    main = rendered(folder, upstream, plain, secure)
    assert NGINX is not None
    return subprocess.Popen([NGINX, "-p", folder, "-c", main, "-e", folder / "error.log"])


def leave(response: aiohttp.ClientResponse) -> None:
    """Close the connection, as a browser does; aiohttp would first wait for the end of TLS."""
    assert response.connection is not None and response.connection.transport is not None
    response.connection.transport.abort()
    response.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Who has issued the certificates of this file."""
    return Authority()


@pytest.fixture(scope="module")
async def opened(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> AsyncIterator[Site]:
    """One server behind one nginx for the tests of this file."""
    folder = tmp_path_factory.mktemp("nginx")
    async with OllamaStandIn() as ollama:
        configure(
            folder,
            answer={"condense": False},
            embedding={},
            ollama={"base_url": ollama.url},
            general={"trusted_proxies": ["127.0.0.1"]},
        )
        (folder / "library.md").write_text("# Library\n\nOn Saturdays it opens at ten.\n")
        assert (await command(folder, "ingest", "library.md", "--collection", "town")).code == 0
        made = await command(folder, "keys", "create", "--collection", "town", "--name", "test")
        key = re.findall(r"api_\w[\w-]{20,}", made.out)[0]
        async with server(folder) as running:
            upstream = running.url.removeprefix("http://")
            async with nginx(folder / "nginx", upstream, authority) as (plain, secure):
                yield Site(plain, secure, running, ollama, authority.client(), key)


@pytest.fixture
async def site(opened: Site) -> AsyncIterator[Site]:
    """The site with an Ollama that has forgotten the test before."""
    opened.ollama.fault, opened.ollama.permits = None, None
    opened.ollama.reply = ["On", " Saturdays", " at", " ten."]
    yield opened
    await opened.ollama.until(lambda: opened.ollama.active == 0)


def test_nginx_has_no_complaint(tmp_path: Path, authority: Authority) -> None:
    """``nginx -t`` finds neither a mistake nor anything to warn of."""
    authority.issue(serial=7).write(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    main = rendered(tmp_path, "127.0.0.1:1", free_port(), free_port())
    assert NGINX is not None
    done = subprocess.run(
        [NGINX, "-t", "-p", tmp_path, "-c", main, "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert "test is successful" in done.stderr


def test_connections_are_given_up_before_the_server_closes_them() -> None:
    """nginx keeps idle connections for less time than uvicorn: no question meets a closed one."""
    (kept,) = re.findall(r"keepalive_timeout (\d+)s;", SITE.read_text())
    assert int(kept) < uvicorn.Config("").timeout_keep_alive


async def test_http_leads_to_https(site: Site) -> None:
    """Method, path and query are kept; certbot's proofs are the exception."""
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{site.plain}/chat?a=b%20c", allow_redirects=False) as response:
            assert response.status == 308
            assert response.headers["Location"] == "https://localhost/chat?a=b%20c"
        async with http.get(f"{site.plain}/.well-known/acme-challenge/token") as response:
            assert await response.text() == "proof"


async def test_a_piece_arrives_before_the_next_one_is_made(site: Site) -> None:
    """The first text is with the client while the model has not said its second word."""
    site.ollama.fault = Hang(after=1)
    async with site.client() as http, site.asking(http) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in response.headers
        async with asyncio.timeout(30):
            assert await response.content.readuntil(b"\n\n") == (
                b'data: {"text": "On", "done": false}\n\n'
            )
        assert site.ollama.active == 1
        leave(response)
    await site.ollama.wait_disconnect(30)


async def test_the_rhythm_of_the_model_is_kept(site: Site) -> None:
    """Four words arrive one by one: the model says the next when the one before has been read."""
    site.ollama.permits = asyncio.Semaphore(1)
    arrived = 0
    async with asyncio.timeout(60), site.client() as http, site.asking(http) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                arrived += 1
                site.ollama.permits.release()
    assert arrived == 5


async def test_a_client_that_leaves_nginx_stops_the_model(site: Site) -> None:
    """Ollama sees the end of its connection soon after the client has closed its own."""
    site.ollama.fault = Hang(after=2)
    async with site.client() as http:
        response = await site.asking(http)
        await response.content.readuntil(b"\n\n")
        left = time.monotonic()
        leave(response)
        gone = await site.ollama.wait_disconnect(30)
    assert (gone.path, gone.phase) == ("/api/chat", "stream")
    assert time.monotonic() - left < 15
    assert site.ollama.active == 0


@pytest.mark.parametrize(
    ("status", "code", "request_"),
    [
        (401, "invalid_api_key", {"headers": {"X-API-Key": "api_wrong"}}),
        (404, "not_found", {"path": "/nowhere"}),
        (405, "method_not_allowed", {"method": "PUT"}),
        (413, "body_too_large", {"data": b"x" * 100_000}),
        (413, "body_too_large", {"data": b"x" * 1_000_000}),
        (415, "unsupported_media_type", {"headers": {"Content-Type": "text/plain"}}),
        (503, "model_busy", {"fault": BUSY}),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_errors_pass_through(
    site: Site, status: int, code: str, request_: dict[str, Any]
) -> None:
    """What the server refuses arrives as the server has said it."""
    site.ollama.fault = request_.get("fault")
    headers = {"X-API-Key": site.key, "Content-Type": "application/json"}
    async with (
        site.client() as http,
        http.request(
            request_.get("method", "POST"),
            site.secure + request_.get("path", "/chat"),
            data=request_.get("data", b'{"message": "When is the library open on Saturdays?"}'),
            headers={**headers, **request_.get("headers", {})},
        ) as response,
    ):
        reply = Reply(response.status, response.headers, await response.read())
    assert (reply.status, reply.json()["code"]) == (status, code)
    assert reply.headers["X-Request-ID"]


async def test_what_nginx_refuses_looks_the_same(
    site: Site, tmp_path: Path, authority: Authority
) -> None:
    """Too large for nginx itself, or no server behind it: a sentence and a code in JSON."""
    port = int(site.secure.rpartition(":")[2])
    # By hand: nginx need not wait for the body to refuse it, and a client may be cut short in it.
    reader, writer = await asyncio.open_connection("localhost", port, ssl=site.trust)
    head = b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
    writer.write(head)
    async with asyncio.timeout(30):
        status, _, rest = (await reader.readuntil(b"}")).partition(b"\r\n")
    writer.transport.abort()
    assert status.startswith(b"HTTP/1.1 413 ")
    assert json.loads(rest.partition(b"\r\n\r\n")[2]).keys() == {"detail", "code"}
    async with (
        site.client() as http,
        nginx(tmp_path / "alone", f"127.0.0.1:{free_port()}", authority) as (_, alone),
        http.get(f"{alone}/health") as response,
    ):
        assert response.status == 503
        assert (await response.json())["code"] == "unavailable"


async def test_the_address_of_a_client_is_what_nginx_saw(site: Site) -> None:
    """What a client claims of itself is not believed, neither through nginx nor past it."""
    claim = {"X-Forwarded-For": "203.0.113.9"}
    through = await site.ask(STRANGER, **claim)
    assert (through["ip"], through["ip_metadata"]["originalValue"]) == (STRANGER, "127.0.0.1")
    past = await site.ask(STRANGER, site.running.url, **claim)
    assert (past["ip"], past["ip_metadata"]["originalValue"]) == (STRANGER, STRANGER)


@pytest.mark.parametrize("path", ["/admin/api-keys", "/metrics"])
async def test_administration_is_for_this_machine(site: Site, path: str) -> None:
    """From elsewhere nginx refuses, whatever the token; from here the server decides."""
    token = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for address, headers, status in [
        (STRANGER, token, 403),
        ("127.0.0.1", {}, 401),
        ("127.0.0.1", token, 200),
    ]:
        async with (
            site.client(address) as http,
            http.get(site.secure + path, headers=headers) as response,
        ):
            assert response.status == status


async def test_no_key_in_a_path_is_written_down(site: Site) -> None:
    """nginx has an access log, and the admin routes are not in it."""
    token = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with site.client() as http:
        for path in (f"/admin/api-keys/{site.key}/status", "/health/live"):
            async with http.get(site.secure + path, headers=token) as response:
                assert response.status == 200
    log = site.running.folder / "nginx" / "access.log"
    async with asyncio.timeout(30):
        while "/health/live" not in log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert site.key not in log.read_text()
