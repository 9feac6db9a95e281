"""How Elasticsearch searches: filters, an order, and pages that begin behind a document."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

Body = dict[str, Any]

_MOST = 10_000  # index.max_result_window


class Refusal(Exception):
    """A refusal in the form Elasticsearch gives it."""

    def __init__(self, status: int, kind: str, reason: str | None) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason

    def body(self) -> Body:
        """Return the JSON body."""
        cause = {"type": self.kind, "reason": self.reason}
        return {"error": {"root_cause": [cause], **cause}, "status": self.status}


def search(body: Body, hits: Sequence[Body], mappings: Sequence[Body]) -> Body:
    """Return the part of a reply that holds the found among ``hits``.

    Raises ``Refusal`` for what Elasticsearch refuses: an order by what has no order, a page too
    large, and every part of a request that is not known here.
    """
    known = {"query", "sort", "size", "search_after", "track_total_hits"}
    if unknown := body.keys() - known:
        raise _refusal(f"unknown key for {sorted(unknown)} in the request body")
    if body["size"] > _MOST:
        raise _refusal("Result window is too large, from + size must be less than or equal to")
    filters = _filters(body.get("query", {"match_all": {}}))
    found = [hit for hit in hits if all(_passes(hit["_source"], each) for each in filters)]
    if "sort" not in body:
        total = {"value": len(found), "relation": "eq"}
        return {"total": total, "max_score": 1.0, "hits": found[: body["size"]]}
    names = [name for each in body["sort"] for name in each]
    for name in names:
        for each in mappings:
            if (kind := _type(each, name)) in (None, "text", "match_only_text"):
                reason = f"No mapping found for [{name}] in order to sort on"
                raise _refusal(reason if kind is None else f"Fielddata is disabled on [{name}]")
    sortable = (
        {**hit, "_score": None, "sort": [_value(hit["_source"], name) for name in names]}
        for hit in found
    )
    ordered = sorted(sortable, key=lambda hit: hit["sort"])
    if (after := body.get("search_after")) is not None:
        ordered = [hit for hit in ordered if hit["sort"] > after]
    return {"max_score": None, "hits": ordered[: body["size"]]}


def _refusal(reason: str) -> Refusal:
    return Refusal(400, "illegal_argument_exception", reason)


def _filters(query: Body) -> list[Body]:
    match query:
        case {"match_all": _}:
            return []
        case {"bool": {"filter": list(filters), **rest}} if not rest:
            return filters
    raise _refusal(f"unknown query [{query}]")


def _passes(source: Body, filter: Body) -> bool:
    match filter:
        case {"term": term}:
            [(name, wanted)] = term.items()
            return bool(_value(source, name) == wanted)
        case {"range": range}:
            [(name, bounds)] = range.items()
            if set(bounds) != {"gte"}:
                raise _refusal(f"[range] query does not support {sorted(bounds)}")
            value = _value(source, name)
            return value is not None and value >= _milliseconds(bounds["gte"])
    raise _refusal(f"unknown query [{filter}]")


def _value(source: Body, path: str) -> Any:
    value: Any = source
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return _milliseconds(value) if path == "@timestamp" and value is not None else value


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _type(mappings: Body, path: str) -> str | None:
    place: Body = mappings
    for step in path.split("."):
        place = place.get("properties", {}).get(step, {})
    return place.get("type")
