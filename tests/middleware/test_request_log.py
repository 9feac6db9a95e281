"""One record for every request: how it ended, how long it took, and nothing secret."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from middleware import request_log
from middleware.api_key import ApiKeyMiddleware
from middleware.request_log import RequestLogMiddleware
from tests.support.asgi import Client, Fields, call, scope
from tests.support.timing import Clock

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}
FIELDS = {
    "request_id", "method", "route", "status", "bytes", "first_byte_ms",
    "duration_ms", "outcome", "client", "key_id", "error", "refused",
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that records are measured with."""
    clock = Clock(1000.0)
    monkeypatch.setattr(request_log, "time", SimpleNamespace(perf_counter=clock))
    return clock


@dataclass
class Caller:
    """Who owns a key."""

    id: str


def logged(app: ASGIApp, **options: Any) -> tuple[ASGIApp, list[dict[str, Any]]]:
    """Return ``app`` with the log around it, and the list that the records go to."""
    records: list[dict[str, Any]] = []
    return RequestLogMiddleware(app, emit=records.append, **options), records


async def record_of(app: ASGIApp, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Send one request, and return the one record it leaves."""
    wrapped, records = logged(app)
    await call(wrapped, *arguments, **options)
    [record] = records
    return record


def body(data: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def test_a_record_of_a_plain_request() -> None:
    """Everything that one wants to know of a request is in its record, and nothing else."""
    record = await record_of(hello, "POST", "/x")
    assert record.keys() == FIELDS
    assert record["method"] == "POST"
    assert (record["status"], record["bytes"], record["outcome"]) == (200, 5, "completed")
    assert (record["client"], record["key_id"], record["error"]) == ("192.0.2.1", None, None)
    assert 0 <= record["first_byte_ms"] <= record["duration_ms"]
    assert json.loads(json.dumps(record)) == record


# Outcomes


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Stream for ever to whoever stays; return normally when the client leaves."""

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b"drop "
            await asyncio.sleep(0)

    await StreamingResponse(drops())(scope, receive, send)


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, which raises ``ClientDisconnect`` when it never ends."""
    await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing, as an application does whose client is gone."""


async def unavailable(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("later", status_code=503)(scope, receive, send)


async def missing(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("no", status_code=404)(scope, receive, send)


async def broken_stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Say in-band that the stream failed, as a copy of the scope's state."""
    scope = dict(scope)
    scope["state"]["error"] = "model_interrupted"
    await hello(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "options", "outcome", "status"),
    [
        (hello, {}, "completed", 200),
        (missing, {}, "completed", 404),
        (unavailable, {}, "failed", 503),
        (broken_stream, {}, "failed", 200),
        (endless, {"disconnect_after": 1}, "disconnected", 200),
        (endless, {"disconnect_after": 5}, "disconnected", 200),
        (silent, {}, "disconnected", None),
    ],
    ids=[
        "answered", "not found", "unavailable", "error in-band", "left after the head",
        "left in the middle", "nothing said",
    ],
)  # fmt: skip
async def test_outcome(
    app: ASGIApp, options: dict[str, Any], outcome: str, status: int | None
) -> None:
    """The record tells an answer from a failure, and both from a client that went away."""
    record = await record_of(app, **options)
    assert (record["outcome"], record["status"]) == (outcome, status)


async def test_bytes_of_a_cut_stream() -> None:
    """What was sent before the client left is counted."""
    record = await record_of(endless, disconnect_after=5)
    assert record["bytes"] >= 4 * len(b"drop ")


async def test_a_client_that_leaves_while_it_sends_has_disconnected() -> None:
    """``ClientDisconnect`` passes through, and is nobody's failure."""
    wrapped, records = logged(read_all)
    with pytest.raises(ClientDisconnect):
        await call(wrapped, "POST", body=[b"half ", b"a body"], disconnect_after_chunks=1)
    assert [(each["outcome"], each["status"]) for each in records] == [("disconnected", None)]


@pytest.mark.parametrize("sent", [0, 1, 2])
async def test_an_exception_is_recorded_and_passes_through(sent: int) -> None:
    """A failure counts as 500 where no status went out, and reaches the server all the same."""

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        for message in [{**START, "status": 201}, body(b"he", True)][:sent]:
            await send(message)
        raise ZeroDivisionError

    wrapped, records = logged(failing)
    with pytest.raises(ZeroDivisionError):
        await call(wrapped)
    status = 201 if sent else 500
    assert [(each["outcome"], each["status"]) for each in records] == [("failed", status)]


async def test_the_500_that_starlette_sends_outside_of_the_log() -> None:
    """A handler that raises is in the log, although its 500 is written further out."""

    async def endpoint(request: Request) -> Response:
        raise ZeroDivisionError

    records: list[dict[str, Any]] = []
    app = Starlette(
        routes=[Route("/keys/{key}", endpoint)],
        middleware=[Middleware(RequestLogMiddleware, emit=records.append)],
    )
    client = Client(scope(path="/keys/api_secret"))
    with pytest.raises(ZeroDivisionError):
        await client.run(app)
    assert client.result.status == 500
    [record] = records
    assert (record["outcome"], record["status"]) == ("failed", 500)
    assert record["route"] == "/keys/{key}"


async def test_a_cancelled_request_has_failed() -> None:
    """A server that gives up on a request leaves a record of it."""

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        started.set()
        await asyncio.Event().wait()

    started = asyncio.Event()
    wrapped, records = logged(waiting)
    task = asyncio.create_task(call(wrapped))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each["outcome"] for each in records] == ["failed"]


# Time and size


async def test_times_of_a_stream(clock: Clock) -> None:
    """The first byte is the first of the body, and the last message ends the clock."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        clock.now += 0.010
        await send(START)
        await send(body(b"", True))
        clock.now += 0.020
        await send(body(b"first", True))
        clock.now += 0.040
        await send(body("é".encode(), True))
        await send(body(b"", False))
        clock.now += 0.080

    record = await record_of(stream)
    assert (record["first_byte_ms"], record["duration_ms"]) == (30.0, 70.0)
    assert record["bytes"] == 7


async def test_background_work_is_not_part_of_the_duration(clock: Clock) -> None:
    """The clock stops at the last message, however long tasks behind the response take."""

    def clean_up() -> None:
        clock.now += 60

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clock.now += 0.005
        await PlainTextResponse("x", background=BackgroundTask(clean_up))(scope, receive, send)

    assert (await record_of(app))["duration_ms"] == 5.0


async def test_a_slow_client_is_part_of_the_duration(clock: Clock) -> None:
    """A last message that the client takes its time over is not yet the end."""
    wrapped, records = logged(hello)
    client = Client(scope(), slow_after=1)
    task = asyncio.create_task(client.run(wrapped))
    await client.stuck.wait()
    clock.now += 3
    assert records == []
    client.go_on()
    await task
    assert [each["duration_ms"] for each in records] == [3000.0]


async def test_an_empty_body_has_no_first_byte() -> None:
    """Without a byte there is no time to the first one."""

    async def empty(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(status_code=204)(scope, receive, send)

    record = await record_of(empty)
    assert (record["first_byte_ms"], record["bytes"], record["outcome"]) == (None, 0, "completed")


# Request id


async def tell_id(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the id that the layer left, and claim another one in a header."""
    response = PlainTextResponse(scope["state"]["request_id"], headers={"X-Request-ID": "mine"})
    await response(scope, receive, send)


@pytest.mark.parametrize("given", ["a", "ABC-123_x.y", "0" * 128])
async def test_a_plain_id_is_kept(given: str) -> None:
    """The caller's own id is used: in the record, in the response, and for the layers below."""
    wrapped, records = logged(tell_id)
    result = await call(wrapped, headers=[("X-Request-ID", given)])
    assert result.headers.getlist("x-request-id") == [given]
    assert (result.body.decode(), records[0]["request_id"]) == (given, given)


HOSTILE: dict[str, Fields] = {
    "none": [],
    "empty": [("X-Request-ID", "")],
    "too long": [("X-Request-ID", "0" * 129)],
    "space": [("X-Request-ID", "a b")],
    "line ends": [("X-Request-ID", "a\r\nSet-Cookie: x=1")],
    "escape sequence": [("X-Request-ID", "\x1b[2J")],
    "markup": [("X-Request-ID", "<script>")],
    "quote": [("X-Request-ID", '"}, {"a": "')],
    "format": [("X-Request-ID", "%(secret)s")],
    "not ASCII": [("X-Request-ID", "é")],
    "other digits": [("X-Request-ID", "٣")],
    "no text": [("X-Request-ID", b"\xff\x00")],
    "joined": [("X-Request-ID", "a, b")],
}


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
async def test_any_other_id_is_replaced(headers: Fields) -> None:
    """What could harm a log or a header is not repeated anywhere."""
    wrapped, records = logged(tell_id, new_id=lambda: "fresh")
    result = await call(wrapped, headers=headers)
    assert result.headers.getlist("x-request-id") == ["fresh"]
    assert (result.body, records[0]["request_id"]) == (b"fresh", "fresh")


async def test_ids_of_our_own_differ() -> None:
    """Two requests without an id never share one."""
    first, second = [(await record_of(hello))["request_id"] for _ in range(2)]
    assert first != second
    assert len(first) == len(second) == 32


async def test_a_response_without_headers_gets_its_id() -> None:
    """ASGI lets an application leave ``headers`` out."""

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    wrapped, records = logged(bare, new_id=lambda: "fresh")
    assert (await call(wrapped)).headers["x-request-id"] == "fresh"
    assert [each["outcome"] for each in records] == ["completed"]


# Routes, callers, clients


async def test_the_route_is_a_template_and_no_secret_is_recorded() -> None:
    """A key in path or query stands nowhere in the record, whether a route took it or not."""

    async def endpoint(request: Request) -> Response:
        return Response()

    keys = Route("/keys/{key}", endpoint)
    app = Starlette(routes=[keys, Mount("/orbit", Starlette(routes=[keys]))])
    wrapped, records = logged(app)
    for path in ("/keys/api_secret", "/orbit/keys/api_secret?key=api_secret", "/api_secret"):
        await call(wrapped, "DELETE" if "orbit" in path else "GET", path)
    assert [record["route"] for record in records] == ["/keys/{key}", "/keys/{key}", "(no route)"]
    assert "api_secret" not in json.dumps(records)


@pytest.mark.parametrize("above", [{}, {"state": {"pool": "open"}}], ids=["no state", "state"])
async def test_what_is_left_below_a_copied_scope_arrives(above: dict[str, Any]) -> None:
    """A caller found inside of a mount, on a copy of the scope, is in the record."""

    async def verify(key: str | None, client: str) -> Caller:
        return Caller("key_7")

    def copying(app: ASGIApp) -> ASGIApp:
        async def copy(scope: Scope, receive: Receive, send: Send) -> None:
            await app(dict(scope), receive, send)

        return copy

    inner = copying(ApiKeyMiddleware(hello, verify=verify))
    wrapped, records = logged(Starlette(routes=[Mount("/orbit", copying(inner))]))
    await Client({**scope(path="/orbit/x"), **above}).run(wrapped)
    assert [record["key_id"] for record in records] == ["key_7"]


async def test_the_address_comes_through_trusted_proxies() -> None:
    """One reading of the address serves the record and the layers below."""

    async def tell_client(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["state"]["client"])(scope, receive, send)

    wrapped, records = logged(tell_client, trusted_proxies=[ip_network("192.0.2.0/24")])
    result = await call(wrapped, headers=[("X-Forwarded-For", "1.2.3.4, 198.51.100.1")])
    assert (result.body, records[0]["client"]) == (b"198.51.100.1", "198.51.100.1")


async def test_a_unix_socket_has_no_address() -> None:
    """A request without a peer's address is served and recorded."""
    assert (await record_of(hello, client=None))["client"] == ""


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_connections_pass_unrecorded(kind: str) -> None:
    """Only HTTP requests have a status, an end and a record."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    wrapped, records = logged(app)
    await call(wrapped, kind=kind)
    assert (seen, records) == ([kind], [])


async def test_overlapping_requests_keep_their_records() -> None:
    """Two requests in flight at once do not mix ids, bytes or outcomes."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        for _ in range(int(scope["path"][1:])):
            await send(body(b"x", True))
            await asyncio.sleep(0)
        await send(body(b"", False))

    wrapped, records = logged(echo)
    headers = {n: [("X-Request-ID", f"r{n}")] for n in (7, 3, 5)}
    await asyncio.gather(*(call(wrapped, "GET", f"/{n}", headers[n]) for n in headers))
    assert {record["request_id"]: record["bytes"] for record in records} == {
        "r7": 7, "r3": 3, "r5": 5,
    }  # fmt: skip
    assert {record["outcome"] for record in records} == {"completed"}
