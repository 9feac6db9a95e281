"""Records of the chat log as documents of the Elastic Common Schema."""

from typing import Any

import orjson
import pytest

from orbit_server.observability import ecs, index_template

from ..support.elasticsearch_mapping import check_source

EXCHANGE: dict[str, Any] = {
    "request_id": "r-1",
    "query": "When do you open?",
    "response": "At nine.",
    "backend": "ollama",
    "model": "gemma3:4b",
    "blocked": False,
    "block_reason": None,
    "outcome": "failed",
    "error": "model_interrupted",
    "ip": "192.0.2.1",
    "ip_metadata": {"type": "ipv4", "is_local": False},
    "api_key": {"id": "k-1", "prefix": "api_ab"},
    "collection": "city",
    "sources": [{"id": "p-1", "source": "a.md", "score": 0.91, "relevance": 1.2}],
    "considered": [{"id": "p-1", "source": "a.md", "score": 0.91, "relevance": 1.2}],
    "tokens": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
    "timings_ms": {"moderation": 1.5, "total": 1234.5},
    "elasticsearch_status": "enabled",
}


def test_an_exchange_in_ecs() -> None:
    """Each field of an exchange has its place, and none is lost."""
    identity = {"timestamp": "2026-03-01T12:00:00.000Z", "id": "e-1", "kind": "exchange"}
    assert ecs.document({**identity, **EXCHANGE}) == {
        "@timestamp": "2026-03-01T12:00:00.000Z",
        "ecs": {"version": "9.0.0"},
        "service": {"name": "orbit"},
        "message": "When do you open?",
        "event": {
            "kind": "event",
            "module": "orbit",
            "dataset": "orbit.chat",
            "id": "e-1",
            "action": "exchange",
            "category": ["web"],
            "type": ["error"],
            "outcome": "failure",
            "duration": 1_234_500_000,
        },
        "log": {"level": "error"},
        "error": {"code": "model_interrupted"},
        "http": {"request": {"id": "r-1"}},
        "client": {"address": "192.0.2.1", "ip": "192.0.2.1"},
        "gen_ai": {
            "operation": {"name": "chat"},
            "provider": {"name": "ollama"},
            "request": {"model": "gemma3:4b"},
            "usage": {"input_tokens": 12, "output_tokens": 3},
        },
        "orbit": {
            "answer": "At nine.",
            "blocked": False,
            "outcome": "failed",
            "api_key": {"id": "k-1", "prefix": "api_ab"},
            "collection": "city",
            "sources": [{"id": "p-1", "source": "a.md", "score": 0.91, "relevance": 1.2}],
            "considered": [{"id": "p-1", "source": "a.md", "score": 0.91, "relevance": 1.2}],
            "tokens": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
            "timings_ms": {"moderation": 1.5, "total": 1234.5},
            "details": {
                "ip_metadata": {"type": "ipv4", "is_local": False},
                "elasticsearch_status": "enabled",
            },
        },
    }


@pytest.mark.parametrize(
    "more",
    [{}, {"kind": "feedback", "comment": "Wrong.", "rating": -1}, {"kind": "status", "event": "x"}],
)
def test_a_record_is_read_back(more: dict[str, Any]) -> None:
    """What was empty is missing, and what has no place of its own is there again."""
    line = {"timestamp": "2026-03-01T12:00:00.000Z", "id": "e-1", "kind": "exchange"}
    line |= EXCHANGE | more
    if line["kind"] != "exchange":
        line.pop("query")
    document = ecs.document(line, {"host.name": "town-hall"})
    kept = {name: value for name, value in line.items() if value is not None}
    assert ecs.record(document).items() >= kept.items()


@pytest.mark.parametrize("document", [{}, {"event": 1}, {"orbit": {"details": [], "sources": 1}}])
def test_a_document_of_others(document: dict[str, Any]) -> None:
    """Of a document that is none of ours no field is made up."""
    assert ecs.record(document) == {"timestamp": None}


def test_an_index_of_before_takes_what_is_new() -> None:
    """Fields that it has no types for are kept in its documents, and refuse none."""
    identity = {"timestamp": "2026-03-01T12:00:00.000Z", "id": "e-1", "kind": "exchange"}
    sent = orjson.dumps(ecs.document({**identity, **EXCHANGE}))
    mappings = index_template.mappings()
    orbit = mappings["properties"]["orbit"]["properties"]
    assert orbit["considered"]["properties"].keys() == orbit["sources"]["properties"].keys()
    del orbit["considered"], orbit["sources"]["properties"]["source"]
    stored = check_source(sent, mappings, {}, stream=False)
    assert stored["orbit"]["considered"] == EXCHANGE["considered"]
    assert "considered" not in orbit


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "exchange", "outcome": "completed"}, (["web"], ["access"], "success")),
        ({"kind": "exchange", "outcome": "disconnected"}, (["web"], ["access"], "unknown")),
        (
            {"kind": "exchange", "outcome": "completed", "blocked": True},
            (["web"], ["denied"], "success"),
        ),
        ({"kind": "error", "error": "x"}, (["web"], ["error"], None)),
        ({"kind": "status", "event": "start"}, (["process"], ["info"], None)),
    ],
)
def test_what_kind_of_event(fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """Filters of Kibana find what was answered, refused, failed, and what the server says."""
    event = ecs.document({"timestamp": "2026-03-01T12:00:00Z", "id": "1", **fields})["event"]
    assert (event["category"], event["type"], event.get("outcome")) == expected


def test_the_operation_creates_the_document_under_its_own_id() -> None:
    """The index is that of the month; the host and the server are named in every document."""
    line = b'{"timestamp":"2026-03-01T12:00:00Z","id":"e-1","kind":"status"}\n'
    origin = {"host.name": "town-hall", "service.instance.id": "4f"}
    action, document = ecs.operation(line, index="chatbot", origin=origin).splitlines()
    assert orjson.loads(action) == {"create": {"_index": "chatbot-2026.03", "_id": "e-1"}}
    stored = orjson.loads(document)
    assert stored["host"] == {"name": "town-hall"}
    assert stored["service"] == {"name": "orbit", "instance": {"id": "4f"}}
    properties = index_template.mappings()["properties"]
    assert properties["host"]["properties"]["name"]["type"] == "keyword"
