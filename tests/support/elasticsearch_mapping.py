"""How Elasticsearch reads a document: by the types of its fields, and with which complaints."""

import ipaddress
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

Body = dict[str, Any]

LONGEST_TERM = 32_766

_TYPES = {
    *("keyword", "text", "match_only_text", "date", "ip", "long", "integer", "float"),
    *("boolean", "flattened", "object", "constant_keyword"),
}
_METADATA = {"_id", "_index", "_source", "_type", "_routing"}
_FORGIVING = {"date", "ip", "long", "integer", "float"}  # which ignore_malformed covers


class Malformed(Exception):
    """A document, or a mapping, that Elasticsearch refuses with status 400."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def check_mappings(mappings: Mapping[str, Any], *, stream: bool) -> None:
    """Raise ``Malformed`` for mappings that Elasticsearch would not take."""
    for path, kind in _typed(mappings, ""):
        if kind.get("type") not in _TYPES:
            raise Malformed(
                "mapper_parsing_exception", f"No handler for type [{kind.get('type')}] on [{path}]"
            )
    timestamp = mappings.get("properties", {}).get("@timestamp", {})
    if stream and timestamp.get("ignore_malformed") is True:
        reason = "data stream timestamp field [@timestamp] has disallowed [ignore_malformed]"
        raise Malformed("illegal_argument_exception", reason)


def check_source(
    raw: bytes, mappings: Body, settings: Mapping[str, Any], *, stream: bool
) -> dict[str, Any]:
    """Return the document in ``raw``; what is new in it is added to ``mappings`` if they allow it.

    Raises ``Malformed`` when Elasticsearch would refuse it.
    """
    try:
        source = json.loads(raw.decode(), parse_constant=_not_json)
    except (ValueError, UnicodeDecodeError) as error:
        _fail(f"failed to parse: {error}")
    if not isinstance(source, dict):
        _fail("failed to parse, document is not an object")
    if metadata := _METADATA & set(source):
        _fail(f"Field {sorted(metadata)} is a metadata field and cannot be added inside a document")
    if stream and "@timestamp" not in source:
        _fail("failed to parse: data stream timestamp field [@timestamp] is missing")
    forgiving = settings.get("index.mapping.ignore_malformed", False)
    _check_object(source, mappings, "", mappings.get("dynamic", True), bool(forgiving))
    return source


def _check_object(
    value: Mapping[str, Any], mapping: Body, path: str, dynamic: Any, forgiving: bool
) -> None:
    dynamic = mapping.get("dynamic", dynamic)
    properties = mapping.get("properties", {})
    for name, item in value.items():
        if not name.strip():
            _fail("field name cannot be an empty string")
        here = f"{path}{name}"
        if name not in properties:
            if dynamic in (False, "false") or item is None or item == []:
                continue
            if dynamic == "strict":
                reason = f"mapping set to strict, dynamic introduction of [{here}] is not allowed"
                raise Malformed("strict_dynamic_mapping_exception", reason)
            properties = mapping.setdefault("properties", {})
            properties[name] = _guessed(item)
        for each in item if isinstance(item, list) else [item]:
            if each is not None:
                _check_value(each, properties[name], here, dynamic, forgiving)


def _check_value(value: Any, kind: Body, path: str, dynamic: Any, forgiving: bool) -> None:
    name = kind.get("type", "object")
    if name == "object":
        if not isinstance(value, dict):
            _fail(f"object mapping for [{path}] tried to parse field [{path}] as object, but found")
        _check_object(value, kind, f"{path}.", dynamic, forgiving)
    elif name == "flattened":
        if not isinstance(value, dict):
            _fail(f"failed to parse field [{path}] of type [flattened]")
        for text in _leaves(value):
            _check_term(text, kind, path)
    elif isinstance(value, dict):
        _fail(f"failed to parse field [{path}] of type [{name}]: Can't get text on a START_OBJECT")
    elif name == "keyword":
        _check_term(value, kind, path)
    elif not _fits(value, name):
        forgiving = kind.get("ignore_malformed", forgiving)
        if name not in _FORGIVING or not forgiving:
            _fail(f"failed to parse field [{path}] of type [{name}]")


def _fits(value: Any, name: str) -> bool:
    try:
        match name:
            case "ip":
                ipaddress.ip_address(str(value))
                return "%" not in str(value)
            case "date":
                isinstance(value, int) or datetime.fromisoformat(value)
            case "long" | "integer" | "float":
                number = float(value)
                return not isinstance(value, bool) and math.isfinite(number)
            case "boolean":
                return value in (True, False, "true", "false", "")
    except (ValueError, TypeError):
        return False
    return True


def _check_term(value: Any, kind: Body, path: str) -> None:
    text = str(value)
    if "ignore_above" not in kind and len(text.encode()) > LONGEST_TERM:
        reason = f"Document contains at least one immense term in field=[{path}]"
        raise Malformed("illegal_argument_exception", reason)


def _guessed(value: Any) -> Body:
    while isinstance(value, list):
        value = value[0]
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "long"}
        case float():
            return {"type": "float"}
        case dict():
            return {"properties": {}}
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return {"type": "text"}
    return {"type": "date"}


def _typed(mapping: Mapping[str, Any], path: str) -> list[tuple[str, Body]]:
    found: list[tuple[str, Body]] = []
    for name, kind in mapping.get("properties", {}).items():
        if "properties" in kind:
            found += _typed(kind, f"{path}{name}.")
        else:
            found.append((f"{path}{name}", kind))
    return found


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [leaf for item in items for leaf in _leaves(item)]
    return [value]


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"Non-standard token '{name}'")


def _fail(reason: str) -> NoReturn:
    raise Malformed("document_parsing_exception", f"[1:1] {reason}")
