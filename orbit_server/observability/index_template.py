"""The index template and the lifecycle that Elasticsearch is given before the first document."""

from typing import Any

_PRIORITY = 500  # above the built-in template of logs-*-*

_KEYWORD = {"type": "keyword", "ignore_above": 1024}
_FIELDS: dict[str, dict[str, Any]] = {
    # A data stream allows no malformed time.
    "@timestamp": {"type": "date", "ignore_malformed": False},
    "message": {"type": "match_only_text"},
    "error.message": {"type": "match_only_text"},
    "client.ip": {"type": "ip"},
    "event.duration": {"type": "long"},
    "gen_ai.usage.input_tokens": {"type": "long"},
    "gen_ai.usage.output_tokens": {"type": "long"},
    "orbit.answer": {"type": "text"},
    "orbit.rating": {"type": "integer"},
    "orbit.blocked": {"type": "boolean"},
    "orbit.details": {"type": "flattened", "ignore_above": 1024},
    **{
        f"orbit.{passages}.{score}": {"type": "float"}
        for passages in ("sources", "considered")
        for score in ("score", "relevance")
    },
    **{
        f"orbit.timings_ms.{step}": {"type": "float"}
        for step in ("moderation", "embedding", "search", "rerank", "queue", "first_token", "total")
    },
    **dict.fromkeys(
        (
            *("client.address", "ecs.version", "error.code", "host.name", "http.request.id"),
            *("log.level", "service.instance.id"),
            *("event.action", "event.category", "event.dataset", "event.id", "event.kind"),
            *("event.module", "event.outcome", "event.reason", "event.type", "service.name"),
            *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"),
            *("orbit.api_key.id", "orbit.api_key.prefix", "orbit.collection", "orbit.event"),
            *("orbit.answer_id", "orbit.outcome", "orbit.result"),
            *("orbit.sources.id", "orbit.sources.source"),
            *("orbit.considered.id", "orbit.considered.source"),
        ),
        _KEYWORD,
    ),
}


def mappings() -> dict[str, Any]:
    """Return the types of all fields a document has; others are kept and not indexed."""
    whole: dict[str, Any] = {"dynamic": False, "properties": {}}
    for path, kind in _FIELDS.items():
        *above, name = path.split(".")
        place = whole
        for step in above:
            place = place["properties"].setdefault(step, {"properties": {}})
        place["properties"][name] = kind
    return whole


def template(
    *,
    index: str,
    data_stream: str | None = None,
    policy: str | None = None,
    retention_days: int | None = None,
) -> dict[str, Any]:
    """Return the index template for the monthly indices, or for ``data_stream``.

    ``policy`` names the lifecycle of the monthly indices. A data stream's is part of the template:
    its documents stay for ``retention_days`` after the index behind it was closed.
    """
    settings: dict[str, Any] = {
        "index.auto_expand_replicas": "0-1",
        # A number or an address that is none costs its field, not the document.
        "index.mapping.ignore_malformed": True,
    }
    if policy is not None:
        settings["index.lifecycle.name"] = policy
    of_index: dict[str, Any] = {"settings": settings, "mappings": mappings()}
    whole: dict[str, Any] = {
        # With the dot, so that it is not the template of "INDEX-of-something-else".
        "index_patterns": [data_stream or f"{index}-*.*"],
        "priority": _PRIORITY,
        "template": of_index,
        "_meta": {"description": "Chat log of an ORBIT server"},
    }
    if data_stream is not None:
        whole["data_stream"] = {}
        if retention_days is not None:
            of_index["lifecycle"] = {"data_retention": f"{retention_days}d"}
    return whole


def lifecycle(retention_days: int) -> dict[str, Any]:
    """Return the lifecycle policy that keeps every document for ``retention_days`` at least.

    Age counts from when an index was made, and an index takes documents for a month.
    """
    delete = {"min_age": f"{retention_days + 31}d", "actions": {"delete": {}}}
    return {"phases": {"hot": {"actions": {}}, "delete": delete}}
