"""Records of the chat log as documents: the Elastic Common Schema, and fields of our own.

What ECS has a name for goes there: the question is the ``message``, the model and its tokens are
``gen_ai``. The rest is under ``orbit``, and whatever has no place at all in ``orbit.details``, so
that nothing in a record is lost. https://www.elastic.co/docs/reference/ecs is the source.
"""

import ipaddress
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from .chatlog_files import timestamp

ECS_VERSION = "9.0.0"

_ID_BYTES = 512  # Elasticsearch refuses a whole request for one longer _id

# Where the fields of a record go. A value of another type goes to orbit.details instead: a field
# that is text in one document and an object in the next would make Elasticsearch refuse the next.
_PLACES: dict[str, tuple[type, str]] = {
    "id": (str, "event.id"),
    "kind": (str, "event.action"),
    "query": (str, "message"),
    "message": (str, "message"),
    "response": (str, "orbit.answer"),
    "answer_id": (str, "orbit.answer_id"),
    "rating": (int, "orbit.rating"),
    "comment": (str, "message"),
    "request_id": (str, "http.request.id"),
    "backend": (str, "gen_ai.provider.name"),
    "model": (str, "gen_ai.request.model"),
    "blocked": (bool, "orbit.blocked"),
    "block_reason": (str, "event.reason"),
    "outcome": (str, "orbit.outcome"),
    "result": (str, "orbit.result"),
    "error": (str, "error.code"),
    "code": (str, "error.code"),
    "cause": (str, "error.message"),
    "event": (str, "orbit.event"),
    "ip": (str, "client.address"),
    "api_key": (dict, "orbit.api_key"),
    "collection": (str, "orbit.collection"),
    "sources": (list, "orbit.sources"),
    "considered": (list, "orbit.considered"),
    "tokens": (dict, "orbit.tokens"),
    "timings_ms": (dict, "orbit.timings_ms"),
}
_NOWHERE: Mapping[str, str] = MappingProxyType({})
_OUTCOMES = {"completed": "success", "failed": "failure"}


def parsed(line: bytes) -> dict[str, Any]:
    """Return the record in ``line``: valid Unicode, finite numbers, an ``id`` and a ``timestamp``.

    Raises ``ValueError`` with the reason when it holds none.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        # Half a surrogate pair and NaN are no JSON, but many programs write them.
        try:
            record = _clean(json.loads(line))
        except (ValueError, RecursionError):
            raise ValueError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    identity = record.get("id")
    if not isinstance(identity, str) or not 0 < len(identity.encode()) <= _ID_BYTES:
        raise ValueError(f"its id is not a text of 1 to {_ID_BYTES} bytes")
    _moment(record)
    return record


def operation(
    line: bytes,
    *,
    index: str,
    data_stream: str | None = None,
    origin: Mapping[str, str] = _NOWHERE,
) -> bytes:
    """Return the two lines of a bulk request that create the document of a ``line`` of the log.

    Its own ``id`` is the document's, in the index of its own month: sent again, it is the same
    document. ``data_stream`` replaces the index. ``origin`` holds fields that name the server.
    Raises ``ValueError`` with the reason when there is no record in ``line``.
    """
    record = parsed(line)
    target = data_stream or f"{index}-{_moment(record):%Y.%m}"
    action = {"create": {"_index": target, "_id": record["id"]}}
    try:
        return orjson.dumps(action) + b"\n" + orjson.dumps(document(record, origin)) + b"\n"
    except orjson.JSONEncodeError as error:
        raise ValueError(f"it cannot be sent: {error}") from None


def document(record: Mapping[str, Any], origin: Mapping[str, str] = _NOWHERE) -> dict[str, Any]:
    """Return the ECS document of a ``parsed`` record; what is empty is left out."""
    flat: dict[str, Any] = {
        "@timestamp": timestamp(_moment(record)),
        "ecs.version": ECS_VERSION,
        "service.name": "orbit",
        "event.kind": "event",
        "event.module": "orbit",
        "event.dataset": "orbit.chat",
        **origin,
    }
    details = {}
    for name, value in record.items():
        kind, place = _PLACES.get(name, (None, ""))
        if kind is not None and isinstance(value, kind) and place not in flat:
            flat[place] = value
        elif name != "timestamp" and value is not None:
            details[name] = value
    flat |= _derived(record)
    flat["orbit.details"] = details
    return _nested(flat)


def record(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of the chat log that ``document`` was made of.

    Its time is the same moment, not the same text. Of other documents as much as is there.
    """
    kind = str(_at(document, "event.action"))
    message = {"exchange": "query", "feedback": "comment"}.get(kind, "message")
    details = _at(document, "orbit.details")
    found = dict(details) if isinstance(details, dict) else {}
    for name, (expected, place) in _PLACES.items():
        value = _at(document, place)
        if isinstance(value, expected) and (place != "message" or name == message):
            found[name] = value
    return found | {"timestamp": _at(document, "@timestamp")}


def _at(document: Any, path: str) -> Any:
    for step in path.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _derived(record: Mapping[str, Any]) -> dict[str, Any]:
    kind, outcome = record.get("kind"), record.get("outcome")
    derived: dict[str, Any] = {"event.category": ["web"], "event.type": ["access"]}
    if kind == "status":
        derived |= {"event.category": ["process"], "event.type": ["info"]}
    elif kind == "error" or outcome == "failed":
        derived |= {"event.type": ["error"], "log.level": "error"}
    elif record.get("blocked") is True:
        derived["event.type"] = ["denied"]
    if kind == "exchange":
        derived["event.outcome"] = _OUTCOMES.get(str(outcome), "unknown")
        derived["gen_ai.operation.name"] = "chat"
    if (address := _address(record.get("ip"))) is not None:
        derived["client.ip"] = address
    timings, tokens = record.get("timings_ms"), record.get("tokens")
    if isinstance(timings, dict) and isinstance(total := timings.get("total"), int | float):
        derived["event.duration"] = round(total * 1_000_000)
    if isinstance(tokens, dict):
        derived["gen_ai.usage.input_tokens"] = tokens.get("prompt_tokens")
        derived["gen_ai.usage.output_tokens"] = tokens.get("completion_tokens")
    return derived


def _moment(record: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(record["timestamp"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError("its timestamp is not an ISO time") from None


def _address(value: Any) -> str | None:
    try:
        return value if ipaddress.ip_address(value) and "%" not in value else None
    except (ValueError, TypeError):
        return None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else float(value)
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for path, value in flat.items():
        if value is None or value == {} or value == []:
            continue
        *above, name = path.split(".")
        place = whole
        for step in above:
            place = place.setdefault(step, {})
        place[name] = value
    return whole
