"""The Elasticsearch stand-in does what Elasticsearch does, so that what tests learn is true."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthenticationException,
    AuthorizationException,
    BadRequestError,
    NotFoundError,
    TransportError,
    UnsupportedProductError,
)

from .elasticsearch_standin import (
    BAD_GATEWAY,
    BUSY,
    ITEMS_BUSY,
    NO_MASTER,
    ElasticsearchStandIn,
    Fault,
    Garbage,
    Hang,
    Refuse,
    Reset,
)

pytestmark = pytest.mark.anyio

NOW = "2026-03-01T12:00:00.000Z"
STREAM: dict[str, Any] = {
    "index_patterns": ["logs-orbit-*"],
    "data_stream": {},
    "priority": 500,
    "template": {"lifecycle": {"data_retention": "7d"}},
}


@pytest.fixture
async def standin() -> AsyncIterator[ElasticsearchStandIn]:
    """A running stand-in."""
    async with ElasticsearchStandIn() as standin:
        yield standin


@pytest.fixture
async def client(standin: ElasticsearchStandIn) -> AsyncIterator[AsyncElasticsearch]:
    """Elasticsearch's own client, which tries once."""
    async with AsyncElasticsearch(standin.url, max_retries=0) as client:
        yield client


def lines(*documents: dict[str, Any], index: str = "x", action: str = "create") -> list[Any]:
    """Return the operations of a bulk request; each document's ``id`` is its ``_id``."""
    return [
        part
        for document in documents
        for part in (
            {action: {"_index": index, "_id": document["id"]}},
            {"@timestamp": NOW, **document},
        )
    ]


async def results(client: AsyncElasticsearch, operations: list[Any]) -> list[tuple[int, str]]:
    """Send a bulk request; the status and the error's type of each item."""
    reply = (await client.bulk(operations=operations)).body
    each = [result for item in reply["items"] for result in item.values()]
    assert reply["errors"] == any("error" in result for result in each)
    return [(result["status"], result.get("error", {}).get("type", "")) for result in each]


async def raw(
    standin: ElasticsearchStandIn, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    """Send a request as it is; the status and the JSON of the reply."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, standin.url + path, data=body, headers=named) as response,
    ):
        assert response.headers["X-Elastic-Product"] == "Elasticsearch"
        return response.status, json.loads(await response.read() or b"null")


async def test_it_is_elasticsearch(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch
) -> None:
    """The client recognises it, until it stops saying what it is."""
    assert (await client.info())["tagline"] == "You Know, for Search"
    assert await client.ping()
    standin.product = False
    async with AsyncElasticsearch(standin.url) as other:
        with pytest.raises(UnsupportedProductError):
            await other.info()


@pytest.mark.parametrize(
    ("version", "spoken", "status"),
    [
        ("8.19.0", 8, 200),
        ("9.2.0", 8, 200),
        ("9.2.0", 9, 200),
        ("8.19.0", 9, 400),
        ("10.0.0", 8, 400),
    ],
)
async def test_it_speaks_its_own_version_and_the_one_before(
    version: str, spoken: int, status: int
) -> None:
    """A client that is too new, or too old, is refused by the media type of any request."""
    kind = f"application/vnd.elasticsearch+json; compatible-with={spoken}"
    async with ElasticsearchStandIn(version=version) as standin:
        answered, body = await raw(standin, "GET", "/", accept=kind)
    assert answered == status
    if status == 400:
        assert body["error"]["type"] == "media_type_header_exception"


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("path", ["/_bulk", "/x/_bulk"])
async def test_bulk_by_either_method(standin: ElasticsearchStandIn, method: str, path: str) -> None:
    """Bulk requests come by PUT and by POST, with and without an index in the path."""
    action = b'{"create":{"_index":"x","_id":"1"}}\n{"@timestamp":"2026-03-01T00:00:00Z"}\n'
    status, body = await raw(standin, method, path, action, content_type="application/x-ndjson")
    assert (status, body["items"][0]["create"]["status"]) == (200, 201)
    assert standin.ids() == Counter(["1"])


async def test_an_id_is_created_once(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch
) -> None:
    """A second document of the same id is a conflict, and changes nothing."""
    assert await results(client, lines({"id": "1", "n": 1})) == [(201, "")]
    conflict = (409, "version_conflict_engine_exception")
    assert await results(client, lines({"id": "1", "n": 2}, {"id": "2"})) == [conflict, (201, "")]
    assert standin.documents["x"]["1"]["n"] == 1
    assert standin.conflicts == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "parse_exception"),
        (b'{"create":{"_index":"x","_id":"1"}}\n{}', "illegal_argument_exception"),
        (b'{"made":{"_index":"x"}}\n{}\n', "illegal_argument_exception"),
        (b"{torn\n{}\n", "illegal_argument_exception"),
        (
            b'{"create":{"_index":"x","_id":"' + b"i" * 513 + b'"}}\n{}\n',
            "action_request_validation_exception",
        ),
        (b'{"create":{"_id":"1"}}\n{}\n', "action_request_validation_exception"),
    ],
)
async def test_a_bulk_request_that_is_none(
    standin: ElasticsearchStandIn, body: bytes, kind: str
) -> None:
    """The whole request is refused when its form is wrong, and nothing is stored."""
    kinds = "application/x-ndjson"
    status, answer = await raw(standin, "POST", "/_bulk", body, content_type=kinds)
    assert (status, answer["error"]["type"]) == (400, kind)
    assert not standin.ids()
    standin.take_misuse()


async def test_a_bulk_request_of_another_media_type(standin: ElasticsearchStandIn) -> None:
    """What is sent must be called by its name."""
    assert (await raw(standin, "POST", "/_bulk", b"{}\n", content_type="text/plain"))[0] == 406


PARSING = "document_parsing_exception"


@pytest.mark.parametrize(
    ("source", "result"),
    [
        (b'{"n": NaN}', PARSING),
        (b'{"text": "\xed\xa0\xbd"}', PARSING),
        (b'{"torn": ', PARSING),
        (b"[1]", PARSING),
        (b'{"_id": "1"}', PARSING),
        (b'{"": 1}', PARSING),
        (b'{"ip": "unknown"}', PARSING),
        (b'{"ip": "10.0.0.1, 10.0.0.2"}', PARSING),
        (b'{"ip": "::1"}', ""),
        (b'{"lenient": "unknown"}', ""),
        (b'{"long": "many"}', PARSING),
        (b'{"long": {"a": 1}}', PARSING),
        (b'{"object": "text"}', PARSING),
        (b'{"flat": "text"}', PARSING),
        (b'{"flat": {"a": {"b": [1, "x", null]}}}', ""),
        (b'{"word": "' + b"x" * 32_767 + b'"}', "illegal_argument_exception"),
        (b'{"short": "' + b"x" * 32_767 + b'"}', ""),
        (b'{"unknown": {"anything": [1, "x", {}]}}', ""),
    ],
)
async def test_documents_are_read_by_their_mapping(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch, source: bytes, result: str
) -> None:
    """A value that does not fit its field costs the document, unless the field forgives."""
    kinds: dict[str, Any] = {
        "ip": {"type": "ip"},
        "lenient": {"type": "ip", "ignore_malformed": True},
        "long": {"type": "long"},
        "object": {"properties": {"a": {"type": "keyword"}}},
        "flat": {"type": "flattened"},
        "word": {"type": "keyword"},
        "short": {"type": "keyword", "ignore_above": 100},
    }
    await client.indices.create(index="x", mappings={"dynamic": False, "properties": kinds})
    body = b'{"create":{"_index":"x","_id":"1"}}\n' + source + b"\n"
    _, answer = await raw(standin, "POST", "/_bulk", body, content_type="application/x-ndjson")
    assert answer["items"][0]["create"].get("error", {}).get("type", "") == result
    assert standin.ids() == Counter([] if result else ["1"])
    standin.take_misuse()  # no time in it


async def test_without_a_mapping_the_first_document_decides(client: AsyncElasticsearch) -> None:
    """A field becomes what it is first seen to be."""
    first = {"id": "1", "a": {"b": 1}, "text": "x", "none": None}
    assert await results(client, lines(first)) == [(201, "")]
    later: list[dict[str, Any]] = [
        {"id": "2", "a": "x"},
        {"id": "3", "a": {"b": "many"}},
        {"id": "4", "text": 7, "none": {"c": 1}},
    ]
    expected = [(400, PARSING), (400, PARSING), (201, "")]
    assert await results(client, lines(*later)) == expected


async def test_an_index_exists_once(client: AsyncElasticsearch) -> None:
    """Making an index again is a 400, not a 409; capital letters are refused."""
    await client.indices.create(index="x")
    with pytest.raises(BadRequestError) as raised:
        await client.indices.create(index="x")
    assert raised.value.error == "resource_already_exists_exception"
    assert await results(client, lines({"id": "1"}, index="Logs")) == [
        (400, "invalid_index_name_exception")
    ]


async def test_data_streams(standin: ElasticsearchStandIn, client: AsyncElasticsearch) -> None:
    """A stream is made by writing, takes only ``create`` and times, and knows ids per index."""
    await client.indices.put_index_template(name="t", body=STREAM)
    name = "logs-orbit-default"
    with pytest.raises(BadRequestError):
        await client.indices.create(index=name)
    assert await results(client, lines({"id": "1"}, index=name)) == [(201, "")]
    assert await results(client, lines({"id": "1"}, index=name)) == [
        (409, "version_conflict_engine_exception")
    ]
    assert await results(client, lines({"id": "2"}, index=name, action="index")) == [
        (400, "illegal_argument_exception")
    ]
    assert standin.take_misuse() == ["a log is sent with 'index' instead of 'create'"]
    timeless = [{"create": {"_index": name, "_id": "3"}}, {"a": 1}]
    assert await results(client, timeless) == [(400, PARSING)]
    standin.rollover(name)
    assert await results(client, lines({"id": "1"}, index=name)) == [(201, "")]
    assert standin.ids() == Counter({"1": 2})
    assert (await client.count(index=name))["count"] == 2


async def test_templates(standin: ElasticsearchStandIn, client: AsyncElasticsearch) -> None:
    """The template of the highest priority makes the index; what makes no sense is refused."""
    for name, priority, kind in (("low", 1, "text"), ("high", 2, "ip")):
        await client.indices.put_index_template(
            name=name,
            index_patterns=["chat-*"],
            priority=priority,
            template={"mappings": {"properties": {"a": {"type": kind}}}},
        )
    assert await client.indices.exists_index_template(name="high")
    assert not await client.indices.exists_index_template(name="other")
    assert await results(client, lines({"id": "1", "a": "x"}, index="chat-1")) == [(400, PARSING)]
    wrong: list[dict[str, Any]] = [
        {"index_patterns": ["chat-*"], "priority": 2},
        {"index_patterns": ["a"], "template": {"lifecycle": {"data_retention": "1d"}}},
        {"index_patterns": ["a"], "template": {"mappings": {"properties": {"a": {"type": "x"}}}}},
        {"index_patterns": ["a"], "unknown": 1},
    ]
    for body in wrong:
        with pytest.raises(BadRequestError):
            await client.indices.put_index_template(name="wrong", body=body)
    assert len(standin.take_misuse()) == len(wrong)


async def test_lifecycles(standin: ElasticsearchStandIn, client: AsyncElasticsearch) -> None:
    """A policy is kept; one with an unknown phase is refused."""
    delete = {"min_age": "40d", "actions": {"delete": {}}}
    await client.ilm.put_lifecycle(name="p", policy={"phases": {"delete": delete}})
    assert standin.policies == {"p": {"phases": {"delete": delete}}}
    with pytest.raises(BadRequestError):
        await client.ilm.put_lifecycle(name="p", policy={"phases": {"end": delete}})
    assert len(standin.take_misuse()) == 1


async def test_credentials(standin: ElasticsearchStandIn) -> None:
    """With security on, a user needs the password and a key must be known."""
    standin.users["orbit"] = "right"
    standin.api_keys.add("a2V5")
    for good in ({"basic_auth": ("orbit", "right")}, {"api_key": "a2V5"}):
        async with AsyncElasticsearch(standin.url, **good) as client:
            await client.info()
    for bad in ({"basic_auth": ("orbit", "wrong")}, {"api_key": "eA=="}, {}):
        async with AsyncElasticsearch(standin.url, **bad) as client:
            with pytest.raises(AuthenticationException) as raised:
                await client.info()
            assert raised.value.meta.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("action", ["info", "bulk", "template", "lifecycle"])
async def test_what_is_not_allowed(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch, action: str
) -> None:
    """Each request can be forbidden; the others go on."""
    standin.denied.add(action)
    requests: dict[str, Callable[[], Awaitable[Any]]] = {
        "info": client.info,
        "bulk": lambda: client.bulk(operations=lines({"id": "1"})),
        "template": lambda: client.indices.put_index_template(name="t", body=STREAM),
        "lifecycle": lambda: client.ilm.put_lifecycle(name="p", policy={"phases": {}}),
    }
    for name, request in requests.items():
        if name == action:
            with pytest.raises(AuthorizationException):
                await request()
        else:
            await request()


async def test_writing_can_be_forbidden_per_document(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch
) -> None:
    """Without a right to the index the request passes and every document is refused."""
    standin.denied.add("write")
    assert await results(client, lines({"id": "1"})) == [(403, "security_exception")]


@pytest.mark.parametrize(
    ("fault", "raised", "stored"),
    [
        (BUSY, ApiError, 0),
        (NO_MASTER, ApiError, 0),
        (BAD_GATEWAY, ApiError, 0),
        (Refuse(413), ApiError, 0),
        (Garbage(), TransportError, 4),
    ],
)
async def test_faults(
    standin: ElasticsearchStandIn,
    client: AsyncElasticsearch,
    fault: Fault,
    raised: type[Exception],
    stored: int,
) -> None:
    """A scripted failure happens once, stores what it says, and then all is well."""
    standin.fault = [fault]
    operations = lines(*({"id": str(n)} for n in range(4)))
    with pytest.raises(raised):
        await client.bulk(operations=operations)
    assert len(standin.ids()) == stored
    await client.bulk(operations=operations)
    assert standin.ids() == Counter("0123")
    assert standin.conflicts == stored


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_a_reset_after_storing(standin: ElasticsearchStandIn, share: float) -> None:
    """The connection is reset when so much is stored; aiohttp alone repeats a PUT, not a POST."""
    standin.fault = [Reset(share)]
    body = "".join(f"{json.dumps(part)}\n" for part in lines(*({"id": str(n)} for n in range(4))))
    with pytest.raises(aiohttp.ClientError):
        await raw(standin, "POST", "/_bulk", body.encode(), content_type="application/x-ndjson")
    assert len(standin.ids()) == 4 * share


async def test_items_can_fail_alone(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch
) -> None:
    """Every other document is refused, or those that a rule is about."""
    standin.fault = [ITEMS_BUSY]
    statuses = await results(client, lines(*({"id": str(n)} for n in range(4))))
    assert [status for status, _ in statuses] == [429, 201, 429, 201]
    standin.refuse = lambda identity, source: Refuse(400, "a", "b") if identity == "8" else None
    assert await results(client, lines({"id": "8"}, {"id": "9"})) == [(400, "a"), (201, "")]


async def test_no_reply(standin: ElasticsearchStandIn, client: AsyncElasticsearch) -> None:
    """Everything is stored and the client waits for ever, until the node is killed."""
    standin.fault = Hang()
    sending = asyncio.create_task(client.bulk(operations=lines({"id": "1"})))
    await standin.until(lambda: bool(standin.bulks()) and bool(standin.ids()))
    await standin.kill()
    with pytest.raises(TransportError):
        await sending


async def test_too_large(standin: ElasticsearchStandIn, client: AsyncElasticsearch) -> None:
    """A request over the limit is refused unread."""
    standin.limit = 200
    with pytest.raises(ApiError) as raised:
        await client.bulk(operations=lines({"id": "1", "a": "x" * 200}))
    assert raised.value.status_code == 413


async def test_a_killed_node_comes_back(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch
) -> None:
    """It refuses connections while it is gone and remembers what it held."""
    await client.bulk(operations=lines({"id": "1"}))
    await standin.kill()
    with pytest.raises(TransportError):
        await client.info()
    await standin.start()
    found = (await client.search(index="x", size=5))["hits"]["hits"]
    assert [hit["_id"] for hit in found] == ["1"]
    with pytest.raises(NotFoundError):
        await client.count(index="y")


async def test_watching_a_bulk_request(
    standin: ElasticsearchStandIn, client: AsyncElasticsearch
) -> None:
    """A test is told when a request comes, is half stored and is stored."""
    seen: list[tuple[str, int]] = []
    standin.watch = lambda stage: seen.append((stage, len(standin.ids())))
    await client.bulk(operations=lines(*({"id": str(n)} for n in range(4))))
    assert seen == [("arrived", 0), ("half", 2), ("stored", 4)]


async def test_misuse_fails_the_test() -> None:
    """What a shipper must never send makes the test fail at its end."""
    with pytest.raises(AssertionError, match="without an id") as raised:
        async with ElasticsearchStandIn() as standin:
            body = b'{"index":{}}\n{"@timestamp":"2026-03-01T00:00:00Z"}\n'
            await raw(
                standin, "POST", "/x/_bulk?refresh=true", body, content_type="application/json"
            )
            await raw(standin, "GET", "/_cat/indices")
    assert len(str(raised.value).splitlines()) == 5
