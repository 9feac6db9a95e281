"""Strangers without a key, against the whole program: no 500, no growth, nothing let in."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from ..support.program import Server, configure, server
from ..support.server import ADMIN_TOKEN

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc"),
]

MIB = 2**20
MANY = 20  # connections of each kind, open at the same time
MOST_SENT = 4 * MIB  # by each of them, if the server lets it
ROUNDS = 40  # of random requests, a hundred each
SEED = 20250101

POST = b"POST /chat HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ADMIN = f"Authorization: Bearer {ADMIN_TOKEN}\r\n"
PIPELINED = b"GET / HTTP/1.1\r\n\r\n"

ENDLESS = {
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 1000),
    "one trailer": (CHUNKED + b"0\r\na: ", b"x" * 8000),
    "the name of a trailer": (CHUNKED + b"0\r\n", b"x" * 8000),
    "a chunk extension": (CHUNKED + b"1;", b"x" * 8000),
    "chunk extensions": (CHUNKED, b"1;a=b;c=d;e=f;g=h;i=j;k=l\r\nx\r\n" * 300),
    "zeros of a chunk size": (CHUNKED, b"0" * 8000),
    "tiny chunks": (CHUNKED, b"1\r\nx\r\n" * 1000),
    "body": (POST + b"Content-Length: 999999999\r\n\r\n", b"x" * 8000),
    "blank lines": (b"", b"\r\n" * 4000),
    "bare line ends": (b"", b"\n" * 8000),
    "fields": (b"GET / HTTP/1.1\r\n", b"a:\r\n" * 2000),
    "a field": (b"GET / HTTP/1.1\r\na: ", b"x" * 8000),
    "a path": (b"GET /", b"x" * 8000),
    "pipelined heads": (b"", PIPELINED * 400),
    "pipelined behind a body": (CHUNKED + b"0\r\n\r\n", PIPELINED * 400),
    "pipelined bodies": (b"", POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 60000),
    "heads of many fields": (b"", b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 90 + b"\r\n"),
    "after an upgrade": (
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"\x82\x7e\xff\xff" + b"x" * 8000,
    ),
    "tunnel": (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", b"x" * 8000),
}


@pytest.fixture(scope="module")
async def orbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server as an operator starts it."""
    folder = tmp_path_factory.mktemp("orbit")
    configure(folder)
    async with server(folder) as running:
        await asyncio.gather(*(exchange(running, PIPELINED) for _ in range(MANY)))
        yield running


async def user_key(running: Server) -> str:
    """Return the header with a new API key."""
    body = {"collection_name": "town", "client_name": "Ann"}
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with (
        aiohttp.ClientSession(running.url) as http,
        http.post("/admin/api-keys", json=body, headers=admin) as response,
    ):
        return f"X-API-Key: {(await response.json())['api_key']}\r\n"


def resident(running: Server) -> int:
    """Return the bytes of memory that the server occupies."""
    return int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * 4096


async def flood(running: Server, begin: bytes, again: bytes, done: asyncio.Event) -> int:
    """Send ``again`` until the server has enough, reading nothing; the bytes that were sent.

    The connection stays open until ``done``.
    """
    place = urlsplit(running.url)
    _, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**12)
    sent = 0
    try:
        writer.write(begin)
        while sent < MOST_SENT:
            writer.write(again)
            sent += len(again)
            async with asyncio.timeout(1):
                await writer.drain()
    except (OSError, TimeoutError):
        pass
    try:
        await done.wait()
    finally:
        writer.transport.abort()
    return sent


@pytest.mark.parametrize("kind", ENDLESS)
async def test_no_stranger_costs_a_megabyte(orbit: Server, kind: str) -> None:
    """Twenty at once send one thing without end and read nothing; others are answered."""
    begin, again = ENDLESS[kind]
    before = peak = resident(orbit)
    done = asyncio.Event()
    floods = [asyncio.create_task(flood(orbit, begin, again, done)) for _ in range(MANY)]
    try:
        for _ in range(20):
            reply = await exchange(orbit, b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 200 ")
            peak = max(peak, resident(orbit))
            await asyncio.sleep(0.05)
    finally:
        done.set()
        sent = sum(await asyncio.gather(*floods))
    each = (peak - before) / MANY / MIB
    print(f"{kind}: {each:.2f} MiB for a connection, {sent / MIB:.0f} MiB sent by {MANY}")
    assert each < 1


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
async def test_a_trailer_lets_nobody_in(orbit: Server, name: str) -> None:
    """Nothing behind the head is a header: the admin's token as a trailer is none."""
    trailer = f"{name}: Bearer {ADMIN_TOKEN}\r\n".encode()
    head = b"GET /admin/collections HTTP/1.1\r\nHost: h\r\n"
    as_header = head + trailer + b"\r\n"
    as_trailer = head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailer + b"\r\n"
    expected = b"HTTP/1.1 200 " if name == "Authorization" else b"HTTP/1.1 401 "
    assert (await exchange(orbit, as_header)).startswith(expected)
    assert (await exchange(orbit, as_trailer)).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("who", ["stranger", "user", "admin"])
async def test_no_request_is_a_500(orbit: Server, who: str) -> None:
    """Thousands of damaged requests: none unexpected, none with more than a line in the log."""
    chance = random.Random(SEED)
    key = {"stranger": "", "admin": ADMIN, "user": await user_key(orbit)}[who]
    log, memory = len(orbit.log), resident(orbit)
    statuses: Counter[bytes] = Counter()
    requests = 0
    for _ in range(ROUNDS):
        batch = [damaged(chance, key.encode()) for _ in range(100)]
        requests += len(batch)
        for begin in range(0, len(batch), 20):
            replies = await asyncio.gather(
                *(exchange(orbit, each) for each in batch[begin : begin + 20])
            )
            statuses.update(reply[9:12] for reply in replies)
    written = len(orbit.log) - log
    grown = (resident(orbit) - memory) / MIB
    found = {status.decode(): number for status, number in sorted(statuses.items())}
    print(
        f"{requests} requests: {found}, {written / requests:.0f} bytes of log each, {grown:.1f} MiB"
    )
    assert statuses[b"500"] == 0
    assert "Traceback" not in orbit.log[log:]
    assert written / requests < 200
    assert grown < 30


ROUTES = [
    *("/", "/chat", "/health", "/health/ready", "/health/live", "/metrics", "/admin/api-keys"),
    *("/admin/api-keys/deactivate", "/admin/api-keys/x/status", "/admin/api-keys/x"),
    *("/admin/collections", "/admin/collections/x", "/admin/collections/x/documents"),
    *("/admin/collections/x/search", "/admin/collections/x/candidates"),
    *("/admin/collections/x/sample", "/admin/collections/x/threshold"),
    *("/admin/collections/x/reindex", "/.well-known/acme-challenge/x", "/v1/chat/completions"),
    *("/v1/models", "/feedback", "*", "http://h/health", "//health", "http://", "h:1"),
]
ASKING = ["/chat", "/v1/chat/completions", "/v1/models", "/feedback"]
JUNK = [
    *(b"%ff", b"%00", b"%", b"%zz", b"%c3%28", b"%ed%a0%80", b"%F4%90%80%80", b"=", b"&&&;;"),
    *(b"&verbose&%ff=%fe", b"verbose=%ff", b"../..", b"%2f", b"%0d%0a", b"#", b"[]", b"'\"", b"+"),
    *(b"source=%ff", b"limit=9999999999999999999999", b"limit=-1", b"seed=%ff", b"count=%00"),
    *(b"\xff", b"\t", b"\r\n"),
]
FIELDS = [
    *(b"X-API-Key", b"Authorization", b"Content-Type", b"Content-Length", b"Transfer-Encoding"),
    *(b"Host", b"Origin", b"X-Request-ID", b"X-Forwarded-For", b"Accept", b"Connection", b"Range"),
    *(b"Upgrade", b"Expect", b"Cookie", b"X", b"If-None-Match", b"If-Modified-Since"),
    *(b"Access-Control-Request-Method", b"Access-Control-Request-Headers", b"Forwarded"),
]
VALUES = [
    *(b"", b"\xff\xfe", b"Bearer \xff", b"Bearer ", b"Bearer", b"application/json", b"text/html"),
    *(b"chunked", b"-1", b"0", b"1e3", b"99999999999999999999", b"\xc3\xa9", b"a" * 3000, b"*/*"),
    *(b"upgrade", b"websocket", b"h2c", b"100-continue", b"bytes=0-\xff", b"http://\xff", b"::1"),
    *(b"text/event-stream", b"%ff", b"1" * 5000, b"b\r\n c", b"Sun, 99 Foo 0000 00:00:00 GMT"),
]
BODIES = [
    *(b"", b"{", b"[]", b"null", b"{}", b'{"message": 1}', b'{"message": "\xff"}', b"[" * 5000),
    *(b'{"message": "\\ud800"}', b'{"message": "x", "history": [[]]}', b'"\\u0000"', b"1e999"),
    *(b'{"query": "\\u0000", "limit": 1e400}', b'{"message": "\\u0000", "stream": "maybe"}'),
    *(b'{"client_name": "\\u0000", "collection_name": "x\\u0000"}', b'{"api_key": "\\u0000"}'),
    *(b'{"message": "hello"}', b'{"message": "hello", "stream": false, "history": [{}]}'),
    *(b'{"messages": []}', b'{"messages": [{"role": "user", "content": "\\u0000"}], "n": 1e9}'),
    *(
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}',
        b"\xef\xbb\xbf{}",
    ),
    *(
        b'{"messages": [{"role": "user", "content": "hello"}], "model": []}',
        b'{"rating": "\\u0000"}',
    ),
    *(b'{"threshold": NaN}', b'{"threshold": 1e308}', b'{"chunks": [{}]}', b'{"a": ' * 2000),
]
METHODS = [b"GET", b"POST"] * 4 + [b"DELETE", b"OPTIONS", b"HEAD", b"PUT", b"TRACE", b"get"]


def damaged(chance: random.Random, key: bytes) -> bytes:
    """Return a request with something wrong in path, query, fields, framing or body."""
    path = chance.choice(ROUTES if chance.random() < 0.7 else ASKING).encode()
    if chance.random() < 0.3:
        at = chance.randrange(len(path) + 1)
        path = path[:at] + chance.choice(JUNK) + path[at:]
    if chance.random() < 0.5:
        path += b"?" + b"".join(chance.choices(JUNK, k=chance.randrange(4)))
    fields = [b"Host: h\r\n", key]
    for _ in range(chance.randrange(3)):
        fields.append(chance.choice(FIELDS) + b": " + chance.choice(VALUES) + b"\r\n")
    if chance.random() < 0.9:
        fields.append(b"Content-Type: application/json\r\n")
    body = chance.choice(BODIES)
    if chance.random() < 0.5:
        fields.append(b"Content-Length: %d\r\n" % len(body))
    else:
        fields.append(b"Transfer-Encoding: chunked\r\n")
        body = b"".join(framed(chance, body)) + b"0\r\n\r\n"
    version = chance.choice([b"HTTP/1.1"] * 50 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
    request = chance.choice(METHODS) + b" " + path + b" " + version + b"\r\n"
    request += b"".join(fields) + b"\r\n" + body
    if chance.random() < 0.05:
        at = chance.randrange(len(request))
        request = request[:at] + chance.randbytes(3) + request[at:]
    return request


def framed(chance: random.Random, body: bytes) -> Iterator[bytes]:
    """Yield ``body`` in chunks, some of which are wrong."""
    for at in range(0, len(body), 700):
        part = body[at : at + 700]
        size = b"%x" % len(part)
        if chance.random() < 0.05:
            size = chance.choice([b"+" + size, b"0x" + size, b"00" + size, size + b";a=\xff", b"g"])
        yield size + b"\r\n" + part + b"\r\n"


async def exchange(running: Server, request: bytes, patience: float = 120) -> bytes:
    """Send ``request`` and return the beginning of what comes back, if anything does."""
    place = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(request)
        async with asyncio.timeout(patience):
            return await reader.read(4096)
    except (ConnectionError, TimeoutError):
        return b""
    finally:
        writer.transport.abort()


def test_the_damage_is_the_same_every_time() -> None:
    """A failure can be repeated."""
    assert damaged(random.Random(1), b"") == damaged(random.Random(1), b"")
    assert re.match(rb"\w+ ", damaged(random.Random(2), b""))
