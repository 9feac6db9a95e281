"""``/admin`` over HTTP: the original's routes for keys, and the collections."""

import asyncio
import logging
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import pytest

from orbit_server.app import create_app
from orbit_server.config.loader import load
from orbit_server.errors import CollectionNotFound
from orbit_server.services import Services

from ..support.server import ADMIN_TOKEN, Running, lexical, running, serving

pytestmark = pytest.mark.anyio

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PAGE = {"Origin": "https://shop.example"}
ROUTES = [
    ("POST", "/admin/api-keys"),
    ("GET", "/admin/api-keys"),
    ("POST", "/admin/api-keys/deactivate"),
    ("POST", "/admin/api-keys/limits"),
    ("POST", "/admin/api-keys/rotate"),
    ("GET", "/admin/api-keys/key_1/status"),
    ("DELETE", "/admin/api-keys/key_1"),
    ("GET", "/admin/collections"),
    ("GET", "/admin/collections/town"),
    ("DELETE", "/admin/collections/town"),
    ("GET", "/admin/collections/town/documents"),
    ("POST", "/admin/collections/town/documents"),
    ("POST", "/admin/collections/town/search"),
]
DOCUMENT: dict[str, Any] = {
    "id": "d1",
    "embed": "library hours",
    "text": "At nine.",
    "metadata": {"source": "a"},
}


class Client:
    """Requests with the admin token to one server, and what came back."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] = ADMIN,
        data: Any = None,
    ) -> tuple[int, Any]:
        """Return status and parsed body; every reply of this server is plain JSON."""
        content = data if body is None else orjson.dumps(body)
        typed = {"Content-Type": "application/json", **headers} if content else headers
        async with self.http.request(
            method, self.url + path, data=content, headers=typed
        ) as response:
            assert response.headers["content-type"] == "application/json"
            return response.status, await response.json()

    async def create(self, collection: str = "town", **more: Any) -> dict[str, Any]:
        """Make a key over HTTP and return the reply."""
        body = {"collection_name": collection, "client_name": "Ann", **more}
        status, reply = await self("POST", "/admin/api-keys", body)
        assert status == 200
        made: dict[str, Any] = reply
        return made

    async def chat(self, key: str) -> int:
        """Return the status of a question asked with ``key``."""
        status, _ = await self(
            "POST", "/chat", {"message": "library?", "stream": False}, headers={"X-API-Key": key}
        )
        return status


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    # Tests that guess must not slow those behind them: all come from one address.
    folder = tmp_path_factory.mktemp("admin")
    async with running(lexical(folder, limits__wrong_keys_per_minute=0)) as server:
        await server.pairs("town", {"When does the library open?": "At nine."})
        yield server


@pytest.fixture(scope="module")
async def admin(server: Running) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(server.url, http)


@pytest.fixture
async def empty(server: Running) -> str:
    """The name of a collection that is not there."""
    name = "fresh"
    if name in [found["name"] for found in await server.services.store.collections()]:
        await server.services.store.drop(name)
    return name


# -- who is let in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {ADMIN_TOKEN}x"},
        {"Authorization": f"Bearer {ADMIN_TOKEN[:-1]}"},
        {"Authorization": "Bearer "},
        {"Authorization": ADMIN_TOKEN},
        {"Authorization": "Bearer tökén-with-umlauts-in-it"},
        {"X-API-Key": ADMIN_TOKEN},
    ],
    ids=["none", "longer", "shorter", "empty", "no scheme", "umlauts", "other header"],
)
async def test_without_the_token_nothing_is_done(admin: Client, headers: dict[str, str]) -> None:
    """Whatever else is sent, every route says 401 with the same body, and nothing has changed."""
    before = await admin("GET", "/admin/api-keys")
    for method, path in ROUTES:
        body = {"collection_name": "town", "client_name": "x"} if method == "POST" else None
        assert await admin(method, path, body, headers=headers) == (
            401,
            {"detail": "Invalid or missing admin token", "code": "invalid_admin_token"},
        )
    assert await admin("GET", "/admin/api-keys") == before


async def test_an_api_key_is_no_admin_token(admin: Client) -> None:
    """Who may ask may not administer."""
    made = await admin.create()
    bearer = {"Authorization": f"Bearer {made['api_key']}"}
    status, _ = await admin("GET", "/admin/api-keys", headers=bearer)
    assert status == 401


@pytest.fixture(scope="module")
async def without_token(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    file = tmp_path_factory.mktemp("closed") / "config.yaml"
    file.touch()
    services = Services(load(file, environ={}))
    async with serving(create_app(services=services)) as url, aiohttp.ClientSession() as http:
        yield Client(url, http)


@pytest.mark.parametrize("headers", [{}, ADMIN], ids=["nothing", "a token"])
async def test_without_a_configured_token_nobody_gets_in(
    without_token: Client, headers: dict[str, str]
) -> None:
    """403 with the sentence that says how to switch administration on."""
    for method, path in ROUTES:
        status, reply = await without_token(method, path, headers=headers)
        assert (status, reply["code"]) == (403, "forbidden")
        assert "ADMIN_TOKEN" in reply["detail"]
        assert ".env" in reply["detail"]


# -- keys, as the original's api_key_manager.py asks for them ---------------------------------


async def test_create_gives_the_key_once_with_the_original_fields(admin: Client) -> None:
    """The reply has the key and the original's fields, with ``created_at`` as a float."""
    before = datetime.now(UTC).timestamp()
    made = await admin.create("town", notes="for the web page")
    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", made["api_key"])
    assert (made["client_name"], made["collection"]) == ("Ann", "town")
    assert (made["notes"], made["active"]) == ("for the web page", True)
    assert isinstance(made["created_at"], float)
    assert before - 1 <= made["created_at"] <= datetime.now(UTC).timestamp()
    assert await admin.chat(made["api_key"]) == 200


async def test_notes_may_be_null_or_missing(admin: Client) -> None:
    """The original's client leaves notes out, others send null."""
    assert (await admin.create())["notes"] == (await admin.create(notes=None))["notes"] == ""


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"client_name": "Ann"}, "collection_name"),
        ({"collection_name": "town"}, "client_name"),
        ({"collection_name": "", "client_name": "Ann"}, "collection_name"),
        ({"collection_name": 5, "client_name": "Ann"}, "collection_name"),
        ({"collection_name": "town", "client_name": "A", "stream_format": "x"}, "stream_format"),
        ({"collection_name": "town", "client_name": "A", "expires": "soon"}, "expires"),
        ({"collection_name": "town", "client_name": "A", "expires": "2001-01-01"}, "expires"),
        ({"collection_name": "town", "client_name": "A", "streams": -1}, "streams"),
        ({"collection_name": "town", "client_name": "A", "streams": 2**40}, "streams"),
        ({"collection_name": "town", "client_name": "A", "origins": ["town.example"]}, "origins"),
        ({"collection_name": "town", "client_name": "A", "origins": "*"}, "origins"),
        ([], "The body"),
    ],
)
async def test_a_wrong_field_is_named(admin: Client, body: Any, named: str) -> None:
    """422 names the field that is wrong, and no key is made."""
    before = await admin("GET", "/admin/api-keys")
    status, reply = await admin("POST", "/admin/api-keys", body)
    assert (status, reply["code"]) == (422, "unprocessable")
    assert reply["detail"].startswith(named)
    assert await admin("GET", "/admin/api-keys") == before


async def test_the_list_is_an_array_without_keys(admin: Client) -> None:
    """All keys are listed, newest last, by id and visible prefix only."""
    made = await admin.create("town", notes="listed")
    status, listed = await admin("GET", "/admin/api-keys")
    assert (status, type(listed)) == (200, list)
    last = listed[-1]
    assert (last["id"], last["notes"]) == (made["id"], "listed")
    assert made["api_key"].startswith(last["prefix"])
    assert len(last["prefix"]) == len("api_") + 4
    text = orjson.dumps(listed).decode()
    assert made["api_key"] not in text
    assert made["api_key"][8:] not in text
    assert "hash" not in text


@pytest.mark.parametrize("reference", ["api_key", "id", "prefix"])
async def test_a_key_is_deactivated_at_once(admin: Client, reference: str) -> None:
    """By the key, its id or its prefix: the next request is refused, and the record stays."""
    made = await admin.create()
    assert await admin.chat(made["api_key"]) == 200
    body = {"api_key": made[reference]}
    done = (200, {"status": "success", "message": "API key deactivated"})
    assert await admin("POST", "/admin/api-keys/deactivate", body) == done
    assert await admin.chat(made["api_key"]) == 401
    _, status = await admin("GET", f"/admin/api-keys/{made[reference]}/status")
    assert (status["exists"], status["active"]) == (True, False)
    # An inactive key is deactivated once more without complaint.
    assert await admin("POST", "/admin/api-keys/deactivate", body) == done


@pytest.mark.parametrize("reference", ["api_key", "id", "prefix"])
async def test_a_key_is_deleted_at_once(admin: Client, reference: str) -> None:
    """By the key, its id or its prefix: it opens nothing and is known no more."""
    made = await admin.create()
    assert await admin.chat(made["api_key"]) == 200
    path = f"/admin/api-keys/{made[reference]}"
    done = (200, {"status": "success", "message": "API key deleted"})
    assert await admin("DELETE", path) == done
    assert await admin.chat(made["api_key"]) == 401
    assert (await admin("DELETE", path))[0] == 404
    assert (await admin("GET", f"{path}/status"))[1]["exists"] is False


async def test_status_has_the_original_fields(admin: Client) -> None:
    """The status of a key, asked for by the key itself, does not repeat it."""
    made = await admin.create("town", expires="90d", stream_format="cumulative")
    status, reply = await admin("GET", f"/admin/api-keys/{made['api_key']}/status")
    assert status == 200
    assert (reply["exists"], reply["active"]) == (True, True)
    assert (reply["collection"], reply["client_name"]) == ("town", "Ann")
    assert reply["created_at"] == made["created_at"]
    assert reply["expires_at"] - made["created_at"] == pytest.approx(90 * 86400, abs=5)
    assert reply["stream_format"] == "cumulative"
    assert "api_key" not in reply


async def test_limits_are_shown_and_changed(admin: Client) -> None:
    """What is not named stays, and null is as configured."""
    origins = ["https://town.example", "https://*.town.example"]
    made = await admin.create(origins=["https://TOWN.example/", origins[1]], streams=4)
    shown = {
        "origins": origins,
        "requests_per_minute": None,
        "requests_per_day": None,
        "streams": 4,
        "visitor_per_minute": None,
        "used_today": 0,
        "previous_until": None,
    }
    assert made == made | shown
    change = {"api_key": made["id"], "requests_per_minute": 20, "streams": None}
    status, changed = await admin("POST", "/admin/api-keys/limits", change)
    assert status == 200
    shown |= {"requests_per_minute": 20, "streams": None}
    assert changed == {name: made[name] for name in changed} | shown
    _, open_to_all = await admin(
        "POST", "/admin/api-keys/limits", {"api_key": made["api_key"], "origins": None}
    )
    assert open_to_all == changed | {"origins": []}
    listed = (await admin("GET", "/admin/api-keys"))[1]
    assert open_to_all in listed


async def test_a_key_gets_a_new_secret(admin: Client) -> None:
    """The old one works until the overlap ends; without an overlap it ends at once."""
    made = await admin.create()
    rotate = {"api_key": made["id"], "overlap": "7d"}
    status, rotated = await admin("POST", "/admin/api-keys/rotate", rotate)
    assert status == 200
    assert rotated["id"] == made["id"]
    assert rotated["previous_until"] - datetime.now(UTC).timestamp() == pytest.approx(604800, abs=9)
    for key in (made, rotated):
        assert await admin.chat(key["api_key"]) == 200
    _, again = await admin("POST", "/admin/api-keys/rotate", {"api_key": made["id"]})
    statuses = [await admin.chat(key["api_key"]) for key in (made, rotated, again)]
    assert statuses == [401, 401, 200]
    wrong = {"api_key": made["id"], "overlap": "a while"}
    status, reply = await admin("POST", "/admin/api-keys/rotate", wrong)
    assert (status, reply["detail"].startswith("overlap")) == (422, True)


async def test_an_unknown_key_is_not_found(admin: Client) -> None:
    """Its status is a normal answer, as the original's client expects; to end it is 404."""
    unknown = "api_" + "x" * 32
    assert await admin("GET", f"/admin/api-keys/{unknown}/status") == (
        200,
        {"exists": False, "active": False, "collection": None, "message": "API key not found"},
    )
    missing = (404, {"detail": "API key not found", "code": "not_found"})
    assert await admin("POST", "/admin/api-keys/deactivate", {"api_key": unknown}) == missing
    assert await admin("DELETE", f"/admin/api-keys/{unknown}") == missing


async def test_an_ambiguous_prefix_ends_nothing(admin: Client, server: Running) -> None:
    """Two keys that begin alike: 409 says to use the id, and both stay active."""
    twins = [await admin.create(), await admin.create()]
    with closing(sqlite3.connect(server.logs.parent / "orbit.db")) as database, database:
        for twin in twins:
            database.execute("UPDATE api_keys SET prefix = 'api_twin' WHERE id = ?", (twin["id"],))
    for method, path, body in (
        ("POST", "/admin/api-keys/deactivate", {"api_key": "api_twin"}),
        ("DELETE", "/admin/api-keys/api_twin", None),
        ("GET", "/admin/api-keys/api_twin/status", None),
    ):
        status, reply = await admin(method, path, body)
        assert (status, reply["code"]) == (409, "conflict")
        assert "id" in reply["detail"]
    assert [await admin.chat(twin["api_key"]) for twin in twins] == [200, 200]
    body = {"api_key": twins[0]["id"]}
    assert (await admin("POST", "/admin/api-keys/deactivate", body))[0] == 200
    assert [await admin.chat(twin["api_key"]) for twin in twins] == [401, 200]


async def test_an_expired_key_is_refused(admin: Client, server: Running) -> None:
    """After its time a key is like an unknown one, and the list still shows it."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    key, secret = await server.services.keys.create("town", "Ann", expires_at=past)
    assert await admin.chat(secret) == 401
    _, listed = await admin("GET", "/admin/api-keys")
    assert past.timestamp() in [each["expires_at"] for each in listed if each["id"] == key.id]


async def test_health_takes_a_key_as_the_original_client_sends_it(admin: Client) -> None:
    """The client's ``test`` command asks for the health with a key and reads JSON."""
    made = await admin.create()
    status, reply = await admin("GET", "/health", headers={"X-API-Key": made["api_key"]})
    assert (status, reply["status"]) == (200, "ok")


async def test_no_log_ever_holds_a_key(
    admin: Client, server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Through its whole life, also in paths, a key leaves no trace in any record of any logger."""
    with caplog.at_level(logging.DEBUG):
        made = await admin.create()
        secret = made["api_key"]
        await admin.chat(secret)
        bearer = {"Authorization": f"Bearer {secret}"}
        question = {"message": "library?", "stream": False}
        assert (await admin("POST", "/chat", question, headers=bearer))[0] == 200
        await admin("GET", f"/admin/api-keys/{secret}/status")
        await admin("GET", f"/admin/api-keys/{secret}/nonsense")
        await admin("POST", f"/{secret}")
        await admin("POST", "/admin/api-keys/deactivate", {"api_key": secret})
        await admin("DELETE", f"/admin/api-keys/{secret}")
        await admin("DELETE", f"/admin/api-keys/{secret}")
    # Switched off, but pytest listens there all the same; test_run has the server's real output.
    heard = [record for record in caplog.records if record.name != "uvicorn.access"]
    records = [str(record.__dict__) for record in heard]
    assert not [record for record in records if secret in record]
    routes = [record for record in records if "/admin/api-keys/{key}/status" in record]
    assert routes, "requests are logged by the template of their route"
    logged = b"".join(path.read_bytes() for path in server.logs.iterdir())
    assert secret.encode() not in logged
    database = b"".join(path.read_bytes() for path in server.logs.parent.glob("orbit.db*"))
    assert secret.encode() not in database
    assert secret[8:].encode() not in database


# -- collections ------------------------------------------------------------------------------


async def test_documents_go_in_and_out(admin: Client, empty: str) -> None:
    """Chunks are stored, listed by source, found, replaced and removed; then the collection."""
    path = f"/admin/collections/{empty}"
    second = {**DOCUMENT, "id": "d2", "embed": "pool price", "text": "Two euros."}
    second["metadata"] = {"source": "b", "position": 1, "rate": 2.5, "open": True}
    batch = {"documents": [DOCUMENT, second]}
    stored = (200, {"stored": 2, "removed": 0})
    assert await admin("POST", f"{path}/documents", batch) == stored
    assert await admin("GET", f"{path}/documents") == (200, {"sources": {"a": 1, "b": 1}})
    assert await admin("GET", f"{path}/documents?source=b") == (200, {"ids": ["d2"]})
    _, shown = await admin("GET", path)
    assert (shown["chunks"], shown.pop("sources")) == (2, {"a": 1, "b": 1})
    assert (shown["embedder"], shown["dimension"], shown["space"]) == ("lexical", 1024, "cosine")
    _, listed = await admin("GET", "/admin/collections")
    [entry] = [each for each in listed if each["name"] == empty]
    assert entry.items() <= shown.items()
    _, found = await admin("POST", f"{path}/search", {"question": "price of the pool"})
    assert [passage["text"] for passage in found["passages"]] == ["Two euros."]
    assert set(found["passages"][0]) >= {"id", "text", "title", "source", "score", "answer"}
    third = {"documents": [{**DOCUMENT, "id": "d3"}], "remove": ["d1", "unknown"]}
    assert (await admin("POST", f"{path}/documents", third))[0] == 200
    assert await admin("GET", f"{path}/documents?source=a") == (200, {"ids": ["d3"]})
    deleted = (200, {"status": "success", "message": "Collection deleted"})
    assert await admin("DELETE", path) == deleted
    assert (await admin("GET", path))[0] == 404


async def test_an_unknown_collection_is_not_found(admin: Client) -> None:
    """404 with a code of its own, for looking, deleting and searching alike."""
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/search", {"question": "x"}),
        ("POST", "/documents", {"remove": ["d1"]}),
        ("POST", "/reindex", {}),
    ):
        status, reply = await admin(method, f"/admin/collections/nowhere{path}", body)
        assert (status, reply["code"]) == (404, "collection_not_found")
    assert await admin("GET", "/admin/collections/nowhere/documents") == (200, {"sources": {}})


@pytest.mark.parametrize(
    "metadata",
    [
        {"source": None},
        {"source": ["a"]},
        {"source": {"deep": 1}},
        {"": "no name"},
        {"chroma:document": "another text"},
        {"$and": "x"},
        "text",
        None,
    ],
    ids=["null", "list", "object", "no name", "Chroma's own", "operator", "no object", "nothing"],
)
async def test_metadata_that_chroma_does_not_keep_is_refused(
    admin: Client, empty: str, metadata: Any
) -> None:
    """422 names the document by its number, and nothing of the batch is stored."""
    batch = {"documents": [DOCUMENT, {**DOCUMENT, "id": "d2", "metadata": metadata}]}
    status, reply = await admin("POST", f"/admin/collections/{empty}/documents", batch)
    assert (status, reply["code"]) == (422, "unprocessable")
    assert reply["detail"].startswith("documents.1.metadata")
    assert (await admin("GET", f"/admin/collections/{empty}"))[0] == 404


@pytest.mark.parametrize(
    "change", [{"id": ""}, {"id": "x" * 129}, {"embed": ""}, {"text": None}, {"id": 5}], ids=str
)
async def test_a_wrong_document_is_refused(
    admin: Client, empty: str, change: dict[str, Any]
) -> None:
    """422 names the field of the document that is wrong."""
    batch = {"documents": [{**DOCUMENT, **change}]}
    status, reply = await admin("POST", f"/admin/collections/{empty}/documents", batch)
    assert status == 422
    assert reply["detail"].startswith(f"documents.0.{next(iter(change))}")


async def test_a_name_that_no_collection_can_have_is_refused(admin: Client) -> None:
    """422 with the rule for names."""
    path = "/admin/collections/a%20b/documents"
    status, reply = await admin("POST", path, {"documents": [DOCUMENT]})
    assert status == 422
    assert "letters, digits" in reply["detail"]


async def test_a_key_for_such_a_name_is_not_the_askers_fault(
    admin: Client, server: Running
) -> None:
    """No such key can be made here; one that is in the table gets a sentence without the name."""
    body = {"collection_name": "a b", "client_name": "Ann"}
    assert (await admin("POST", "/admin/api-keys", body))[0] == 422
    _, secret = await server.services.keys.create("secret place", "Ann")
    for stream in (False, True):
        status, reply = await admin(
            "POST",
            "/chat",
            {"message": "library?", "stream": stream},
            headers={"X-API-Key": secret},
        )
        assert (status, reply["code"]) == (503, "collection_not_found")
        assert reply["detail"] == CollectionNotFound.sentence


@pytest.mark.parametrize("start", [-1, 2**31, 2**63, 1e30, "x", None])
async def test_a_reindex_starts_somewhere(admin: Client, start: Any) -> None:
    """422 for a number of chunks that no collection has."""
    status, reply = await admin("POST", "/admin/collections/town/reindex", {"start": start})
    assert (status, reply["code"]) == (422, "unprocessable")


async def test_documents_may_be_8_mib(admin: Client, empty: str) -> None:
    """A body of exactly the limit is taken, one more byte is 413, with and without a length."""
    path = f"/admin/collections/{empty}/documents"
    limit = 8 * 1024 * 1024
    plain = orjson.dumps({"documents": [DOCUMENT]})
    full = plain.ljust(limit)  # JSON may end in white space

    async def unannounced() -> AsyncIterator[bytes]:
        for start in range(0, limit + 1, 1 << 20):
            yield b" " * min(1 << 20, limit + 1 - start)

    assert (await admin("POST", path, data=BytesIO(full)))[0] == 200
    for data in (BytesIO(full + b" "), unannounced()):
        status, reply = await admin("POST", path, data=data)
        assert (status, reply["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "path",
    ["/admin/api-keys", "/admin/api-keys/deactivate", "/admin/collections/town/search"],
)
async def test_other_bodies_may_be_64_kib(admin: Client, path: str) -> None:
    """Nothing else needs long bodies."""
    status, _ = await admin("POST", path, data=b"{}".ljust(64 * 1024 + 1))
    assert status == 413
    assert (await admin("POST", path, data=b"{}".ljust(64 * 1024)))[0] == 422


async def test_search_takes_what_the_chat_takes(admin: Client) -> None:
    """A long question is searched for."""
    body = {"question": "When does the library open? " + "Please tell me. " * 100}
    status, reply = await admin("POST", "/admin/collections/town/search", body)
    assert status == 200
    assert isinstance(reply["passages"], list)


# -- browsers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method"),
    [("/chat", "POST"), ("/admin/api-keys", "POST"), ("/admin/api-keys/key_1", "DELETE")],
)
async def test_a_preflight_needs_no_key(admin: Client, path: str, method: str) -> None:
    """A browser asks before it sends its key, and learns that it may send it."""
    wanted = "authorization, content-type, x-api-key, x-request-id"
    headers = {
        **PAGE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": wanted,
    }
    async with admin.http.options(admin.url + path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert method in response.headers["Access-Control-Allow-Methods"]
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        assert set(wanted.split(", ")) <= set(allowed.split(", "))
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_a_page_may_read_every_refusal(
    admin: Client,
    server: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """401, 404, 422 and an unexpected 500 carry the CORS header and the request's id."""

    async def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.services.store, "collections", broken)
    for status, method, path, headers in (
        (401, "POST", "/chat", {}),
        (401, "GET", "/admin/api-keys", {}),
        (404, "GET", "/nowhere", {}),
        (405, "GET", "/chat", {}),
        (500, "GET", "/admin/collections", ADMIN),
    ):
        async with admin.http.request(
            method, admin.url + path, headers={**PAGE, **headers}
        ) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["X-Request-ID"]
            assert set(await response.json()) == {"detail", "code"}
            assert "secret detail" not in await response.text()
    assert "secret detail" in caplog.text


async def test_many_admins_at_once(admin: Client) -> None:
    """Keys made at the same moment are all there and all different."""
    made = await asyncio.gather(*(admin.create("town") for _ in range(30)))
    assert len({each["api_key"] for each in made}) == len({each["id"] for each in made}) == 30
    _, listed = await admin("GET", "/admin/api-keys")
    assert {each["id"] for each in made} <= {each["id"] for each in listed}


async def test_no_path_is_redirected(admin: Client) -> None:
    """One slash too many is forgiven, two are a 404; a redirect would repeat a key and the host."""
    expected = {
        "/admin/api-keys/": 200,
        "/admin/api-keys/api_secret/status/": 200,
        "/chat/": 405,
        "/health/": 200,
        "/admin/api-keys//": 404,
        "/chat//": 404,
        "//health": 404,
        "/": 200,  # the chat page
        "/nothing/": 404,
    }
    for path, status in expected.items():
        async with admin.http.get(
            admin.url + path,
            headers={"Host": "elsewhere.example"} | ADMIN,
            allow_redirects=False,
        ) as response:
            assert (path, response.status) == (path, status)
            assert "Location" not in response.headers
            if status == 404:
                assert (await response.json())["code"] == "not_found"


async def test_405_names_all_methods_of_a_path(admin: Client) -> None:
    """Also where each method is a route of its own."""
    for path, methods in (
        ("/admin/api-keys", "GET, HEAD, POST"),
        ("/admin/collections/town", "DELETE, GET, HEAD"),
        ("/health", "GET, HEAD"),
    ):
        async with admin.http.patch(admin.url + path) as response:
            assert response.status == 405
            assert response.headers["Allow"] == methods
