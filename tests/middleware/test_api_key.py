"""Keys at the door: headers in, verdict out."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from middleware.api_key import ApiKeyMiddleware
from tests.support.asgi import Client, Fields, Result, call, scope

pytestmark = pytest.mark.anyio

INVALID = {"detail": "Invalid or missing API key", "code": "invalid_api_key"}


class Keyring:
    """Knows two keys, and whom to take a request without one for."""

    def __init__(self, default: str | None = None) -> None:
        self.callers = {"api_ann": "Ann", "api_bob": "Bob", None: default}
        self.asked: list[str | None] = []

    async def verify(self, key: str | None, client: str) -> str | None:
        self.asked.append(key)
        return self.callers.get(key)


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the name of the caller; accept a WebSocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await PlainTextResponse(str(scope["state"]["caller"]))(scope, receive, send)


async def ask(keyring: Keyring, headers: Fields, method: str = "GET", **options: Any) -> Result:
    guarded = ApiKeyMiddleware(greet, verify=keyring.verify, **options)
    return await call(guarded, method, headers=headers)


ANN = b"Ann"
REFUSED = None
KEY = "X-API-Key"
VERDICTS: list[tuple[str, Fields, bytes | None]] = [
    ("key header", [(KEY, "api_ann")], ANN),
    ("header name in another case", [("x-ApI-kEy", "api_ann")], ANN),
    ("bearer", [("Authorization", "Bearer api_ann")], ANN),
    ("bearer in lower case, two spaces", [("Authorization", "bearer  api_ann ")], ANN),
    ("the same key twice", [(KEY, "api_ann"), (KEY, "api_ann")], ANN),
    ("both, the same", [(KEY, "api_ann"), ("Authorization", "Bearer api_ann")], ANN),
    ("two keys in two headers", [(KEY, "api_ann"), ("Authorization", "Bearer api_bob")], REFUSED),
    ("a key and another token", [(KEY, "api_ann"), ("Authorization", "Bearer x")], REFUSED),
    ("a key and a password", [(KEY, "api_ann"), ("Authorization", "Basic eA==")], ANN),
    ("both: no way round a wrong key", [(KEY, "x"), ("Authorization", "Bearer api_ann")], REFUSED),
    (
        "basic beside bearer",
        [("Authorization", "Basic x"), ("Authorization", "Bearer api_ann")],
        ANN,
    ),
    ("no key", [], REFUSED),
    ("unknown key", [(KEY, "api_eve")], REFUSED),
    ("key in another case", [(KEY, "API_ANN")], REFUSED),
    ("empty key", [(KEY, "")], REFUSED),
    ("blank key", [(KEY, "  ")], REFUSED),
    ("empty bearer", [("Authorization", "Bearer")], REFUSED),
    ("basic", [("Authorization", "Basic api_ann")], REFUSED),
    ("no scheme", [("Authorization", "api_ann")], REFUSED),
    ("two valid keys", [(KEY, "api_ann"), (KEY, "api_bob")], REFUSED),
    ("two keys joined by a proxy", [(KEY, "api_ann, api_ann")], REFUSED),
    ("a valid and an empty key", [(KEY, "api_ann"), (KEY, "")], REFUSED),
    (
        "two bearers",
        [("Authorization", "Bearer api_ann"), ("Authorization", "Bearer api_bob")],
        REFUSED,
    ),
    ("bytes that are no text", [(KEY, b"api_ann\xff\xfe\x80")], REFUSED),
    ("key in a cookie", [("Cookie", "X-API-Key=api_ann")], REFUSED),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "reply"), [case[1:] for case in VERDICTS], ids=[case[0] for case in VERDICTS]
)
async def test_headers_decide(headers: Fields, reply: bytes | None, method: str) -> None:
    """The same headers get the same verdict with every method, HEAD and OPTIONS included."""
    result = await ask(Keyring(), headers, method)
    if reply is None:
        assert result.status == 401
        assert result.headers["www-authenticate"] == "Bearer"
        assert result.headers["content-type"] == "application/json"
        assert method == "HEAD" or result.json() == INVALID
    else:
        assert (result.status, result.body) == (200, b"" if method == "HEAD" else reply)


@pytest.mark.parametrize(
    ("headers", "status"),
    [([], 200), ([(KEY, "")], 401), ([(KEY, "api_eve")], 401), ([(KEY, "a"), (KEY, "b")], 401)],
    ids=["none", "empty", "unknown", "two"],
)
async def test_a_default_caller_is_for_requests_without_any_key(
    headers: Fields, status: int
) -> None:
    """``verify(None)`` is asked only when no key came: a wrong one does not become the default."""
    assert (await ask(Keyring(default="guest"), headers)).status == status


async def test_two_different_keys_are_not_even_looked_up() -> None:
    """Which of two keys was meant is not guessed."""
    keyring = Keyring()
    await ask(keyring, [(KEY, "api_ann"), (KEY, "api_bob")])
    assert keyring.asked == []


@pytest.mark.parametrize("header", [None, "Authorization"])
async def test_only_bearer(header: str | None) -> None:
    """Without a header of its own, or with ``Authorization`` as that, the key comes as Bearer."""
    keyring = Keyring()
    assert (await ask(keyring, [(KEY, "api_ann")], header=header)).status == 401
    bearer = [("Authorization", "Bearer api_ann"), (KEY, "api_bob")]
    assert (await ask(keyring, bearer, header=header)).body == ANN
    assert keyring.asked == [None, "api_ann"]


async def test_a_header_of_another_name() -> None:
    """The configured header is read, and then the usual one is not."""
    assert (await ask(Keyring(), [("X-Town", "api_ann")], header="X-Town")).body == ANN
    assert (await ask(Keyring(), [(KEY, "api_ann")], header="X-Town")).status == 401


async def test_another_refusal() -> None:
    """``refuse`` makes the answer to whoever is not let in."""

    def closed() -> Response:
        return PlainTextResponse("closed", status_code=418)

    result = await ask(Keyring(), [], refuse=closed)
    assert (result.status, result.body) == (418, b"closed")


async def test_verify_is_told_who_asks() -> None:
    """What a layer above has found out about the client's address, if there is one."""
    told = []

    async def verify(key: str | None, client: str) -> str:
        told.append(client)
        return "Ann"

    for state in ({}, {"client": "2001:db8::1"}):
        await Client({**scope(), "state": state}).run(ApiKeyMiddleware(greet, verify=verify))
    assert told == ["", "2001:db8::1"]


class StoreDown(Exception):
    """The table of keys does not answer."""


async def test_what_verify_raises_passes_through() -> None:
    """A key store that is down is not a wrong key, and nothing is answered here."""

    async def verify(key: str | None, client: str) -> str | None:
        raise StoreDown

    with pytest.raises(StoreDown):
        await call(ApiKeyMiddleware(greet, verify=verify), headers=[(KEY, "api_ann")])


@pytest.mark.parametrize(
    ("headers", "message"),
    [([(KEY, "api_ann")], "websocket.accept"), ([], "websocket.http.response.start")],
    ids=["key", "no key"],
)
async def test_websocket_handshakes_are_guarded(headers: Fields, message: str) -> None:
    """A WebSocket without a key is denied with the same 401, before the application sees it."""
    guarded = ApiKeyMiddleware(greet, verify=Keyring().verify)
    result = await call(guarded, headers=headers, kind="websocket")
    assert result.messages[0]["type"] == message
    if not headers:
        assert (result.status, result.json()) == (401, INVALID)


async def test_lifespan_passes() -> None:
    """Starting and stopping the application needs no key."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    keyring = Keyring()
    await call(ApiKeyMiddleware(app, verify=keyring.verify), kind="lifespan")
    assert (seen, keyring.asked) == (["lifespan"], [])


async def test_one_middleware_serves_many_callers() -> None:
    """Nothing of a request stays with the middleware: callers do not mix."""
    keyring = Keyring()
    guarded = ApiKeyMiddleware(greet, verify=keyring.verify)
    before = dict(vars(guarded))
    names = [(await call(guarded, headers=[(KEY, key)])).body for key in ("api_ann", "api_bob")]
    assert names == [b"Ann", b"Bob"]
    assert vars(guarded) == before
