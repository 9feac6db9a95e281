"""CORS: what pages of other sites may do, and what the operator reads when they may not."""

import logging
from dataclasses import dataclass

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orbit_server.api.cors import Cors
from tests.support import asgi

pytestmark = pytest.mark.anyio


def preflight(origin: str, headers: str = "x-api-key") -> list[tuple[str, str | bytes]]:
    return [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", headers),
    ]


async def of_a_key(origin: str) -> bool:
    """There are keys for these two sites."""
    return origin in ("https://town.example", "https://port.example")


def server(*origins: str, app: ASGIApp | None = None) -> Cors:
    app = app or PlainTextResponse("hello")
    return Cors(app, allow_origins=origins, allowed_by_keys=of_a_key)


@pytest.mark.parametrize(
    "wanted",
    ["traceparent, tracestate, baggage", "sentry-trace", "x-requested-with", "X-Anything, accept"],
)
async def test_a_preflight_may_ask_for_any_header(wanted: str) -> None:
    """Tracing libraries add theirs; no cookie is ever used, so a header cannot do any harm."""
    headers = preflight("https://a.example", wanted)
    result = await asgi.call(server("*"), "OPTIONS", "/chat", headers)
    assert result.status == 200
    assert result.headers["Access-Control-Allow-Headers"] == wanted
    assert "Access-Control-Allow-Credentials" not in result.headers


async def test_a_page_may_read_when_to_try_again() -> None:
    """Clients of OpenAI's API obey both headers, and browsers show no others."""
    result = await asgi.call(server("*"), "GET", "/", [("Origin", "https://a.example")])
    exposed = str(result.headers["Access-Control-Expose-Headers"]).lower()
    assert {"x-request-id", "retry-after", "x-should-retry"} <= set(exposed.split(", "))


@pytest.mark.parametrize("origins", [(), ("*",), ("https://a.example",)])
@pytest.mark.parametrize(("before", "after"), [(None, "Origin"), ("Accept", "Accept, Origin")])
async def test_what_no_page_has_asked_for_is_not_kept_for_pages(
    origins: tuple[str, ...], before: str | None, after: str
) -> None:
    """A cache must not show a page an answer without the headers that let pages read it."""
    app = PlainTextResponse("hello", headers={"Vary": before} if before else None)
    result = await asgi.call(server(*origins, app=app), "GET", "/")
    assert result.headers.getlist("Vary") == [after]
    assert not [name for name in result.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
async def test_a_refused_origin_is_named_in_the_log(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: the reader of the page sees an error, and only the operator can cure it."""
    app = server("https://a.example")
    for _ in range(3):
        headers = preflight("https://b.example")
        result = await asgi.call(app, method, "/chat", headers)
        assert "Access-Control-Allow-Origin" not in result.headers
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "https://b.example" in record.message and "web.cors_origins" in record.message
    allowed = await asgi.call(app, method, "/chat", preflight("https://a.example"))
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("known", [{"Host": "chat.example"}, {"Sec-Fetch-Site": "same-origin"}])
async def test_a_page_of_the_server_itself_is_not_refused(
    known: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Browsers name the origin of each POST; the log does not call a page that works refused."""
    headers = [("Origin", "https://chat.example"), *known.items()]
    result = await asgi.call(server("https://a.example"), "POST", "/chat", headers)
    assert (result.status, caplog.records) == (200, [])


@dataclass
class Caller:
    """Whoever a key belongs to."""

    origins: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("caller", "origin", "readable"),
    [
        (None, "https://town.example", True),
        (Caller(("https://town.example",)), "https://town.example", True),
        (Caller(("https://*.example",)), "https://town.example", True),
        (Caller(("https://town.example",)), "https://port.example", False),
        (Caller(), "https://town.example", False),
        ("admin", "https://town.example", False),
        (Caller(), "https://listed.example", True),
        (Caller(("https://town.example",)), "https://listed.example", True),
        (None, "https://evil.example", False),
        (Caller(("https://evil.example",)), "https://evil.example", False),
    ],
)
async def test_the_sites_of_keys_need_no_line(caller: object, origin: str, readable: bool) -> None:
    """A preflight for any of them goes on; an answer is for the pages of the key that came."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["caller"] = caller
        await PlainTextResponse("hello")(scope, receive, send)

    cors = server("https://listed.example", app=app)
    result = await asgi.call(cors, "OPTIONS", "/chat", preflight(origin))
    known = origin != "https://evil.example"
    assert result.status == (200 if known else 400)
    assert result.headers.get("Access-Control-Allow-Origin") == (origin if known else None)

    scope = {**asgi.scope("POST", "/chat", [("Origin", origin)]), "state": {}}
    result = await asgi.Client(scope).run(cors)
    assert result.status == 200
    assert result.headers.get("Access-Control-Allow-Origin") == (origin if readable else None)
    assert "Origin" in result.headers["Vary"]


async def test_origins_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may send any, as long as a head may be."""
    app = server("https://a.example")
    for number in range(1000):
        await asgi.call(app, "POST", "/chat", preflight(f"https://{number}.example" + "x" * 5000))
    assert len(caplog.records) <= 100
    assert all(len(record.message) < 400 for record in caplog.records)
    assert "\\n" not in caplog.text or "\n\n" not in caplog.text
