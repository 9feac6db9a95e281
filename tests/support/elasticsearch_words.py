"""What the stand-in of Elasticsearch knows of words: documents by id, aliases, and search by BM25.

To the letter of what an Elasticsearch 9.1 answered to the same requests. Only what is asked of it
is known; everything else is noted as misuse. What was written is searched after a refresh, while
documents by id are read at once.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from orbit_server.retrieval.words.spelling import within

from .elasticsearch_search import Refusal

Body = dict[str, Any]
Answer = tuple[int, Body]

_K1, _B = 1.2, 0.75
_SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
_WRITTEN = {"total": 1, "successful": 1, "failed": 0}
_SUGGEST = {
    "field": "words",
    "analyzer": "whitespace",
    "suggest_mode": "missing",
    "max_edits": 2,
    "prefix_length": 0,
    "min_word_length": 3,
    "accuracy": 0.01,
}


@dataclass
class Stored:
    """A document and its versions."""

    source: Body
    version: int
    number: int


@dataclass
class WordIndexStandIn:
    """One index: ``documents`` as they are now, ``seen`` as they are searched."""

    body: Body
    created: int
    documents: dict[str, Stored] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    seen: dict[str, Body] = field(default_factory=dict)
    aliases: set[str] = field(default_factory=set)
    closed: bool = False
    number: int = 0

    @property
    def has_words(self) -> bool:
        """Whether it holds passages, and is not the index of locks and records."""
        return "words" in self.body.get("mappings", {}).get("properties", {})

    def terms(self) -> dict[str, list[str]]:
        """Return the terms of every document that is searched."""
        return {id: str(source.get("words", "")).split() for id, source in self.seen.items()}


class WordEngine:
    """The indexes whose names begin with ``prefix``; ``answer`` returns None for what is not its.

    ``created`` is the time in milliseconds that new indexes are made at.
    """

    def __init__(self, misuse: list[str], prefix: str = "orbit-words") -> None:
        self.misuse, self.prefix = misuse, prefix
        self.indices: dict[str, WordIndexStandIn] = {}
        self.created = 1_795_726_695_617
        self.scrolls: dict[str, list[str]] = {}

    def owns(self, path: str, body: bytes) -> bool:
        """Tell whether a request is about words."""
        first = path.strip("/").split("/")[0]
        if first == "_bulk":
            return f'"_index":"{self.prefix}'.encode() in body[:200].replace(b" ", b"")
        return first.startswith(self.prefix) or path in ("/_aliases", "/_search/scroll")

    def answer(self, method: str, path: str, query: Mapping[str, str], raw: bytes) -> Answer:
        """Return the status and the body; raise ``Refusal``."""
        steps = path.strip("/").split("/")
        match method, steps:
            case "POST", ["_bulk"]:
                return self._bulk(raw, query)
            case "POST", ["_aliases"]:
                return self._switch(json.loads(raw)["actions"])
            case "POST" | "DELETE", ["_search", "scroll"]:
                return self._scroll(method, json.loads(raw)["scroll_id"])
            case "PUT", [name]:
                return self._create(name, json.loads(raw))
            case "GET", [pattern]:
                return 200, self._described(pattern, query)
            case "DELETE", [name]:
                self._index(name)
                if "*" in name:
                    self.misuse.append("indexes deleted by a pattern, which many forbid")
                del self.indices[name]
                return 200, {"acknowledged": True}
            case "GET" | "PUT" | "DELETE", [name, "_doc", id]:
                return self._document(method, name, id, query, raw)
            case "GET", [name, "_count"]:
                return 200, {"count": len(self._searched(name).seen), "_shards": _SHARDS}
            case "POST", [name, "_refresh"]:
                index = self._index(name)
                index.seen = {id: each.source for id, each in index.documents.items()}
                return 200, {"_shards": _WRITTEN}
            case "POST", [name, "_search"]:
                return 200, self._search(name, json.loads(raw), query)
            case "POST", [name, "_msearch"]:
                if query.get("include_named_queries_score") != "true":
                    self.misuse.append("a search that is not told what each term scores")
                return 200, {"took": 1, "responses": list(self._searches(name, raw))}
        self.misuse.append(f"no such route: {method} /{'/'.join(steps)}")
        raise Refusal(400, "illegal_argument_exception", "no handler found for uri")

    def searches(self, collection_id: str) -> list[str]:
        """Return the ids of the passages of a collection that are found."""
        return sorted(self._searched(f"{self.prefix}-{collection_id}").seen)

    # -- indices ---------------------------------------------------------------------------

    def _index(self, name: str) -> WordIndexStandIn:
        if name not in self.indices:
            raise Refusal(404, "index_not_found_exception", f"no such index [{name}]")
        return self.indices[name]

    def _searched(self, name: str) -> WordIndexStandIn:
        behind = [each for each in self.indices.values() if name in each.aliases]
        index = behind[0] if behind else self._index(name)
        if len(behind) > 1:
            self.misuse.append(f"the alias {name} leads to {len(behind)} indexes")
        if index.closed:
            raise Refusal(400, "index_closed_exception", "closed")
        return index

    def _create(self, name: str, body: Body) -> Answer:
        if not re.fullmatch(r"[^A-Z\\/*?\"<>| ,#:]+", name):
            raise Refusal(400, "invalid_index_name_exception", f"Invalid index name [{name}]")
        if name in self.indices:
            reason = f"index [{name}/uuid] already exists"
            raise Refusal(400, "resource_already_exists_exception", reason)
        index = WordIndexStandIn(body, self.created)
        if index.has_words:
            settings, words = body["settings"], body["mappings"]["properties"]["words"]
            bm25 = {"type": "BM25", "k1": _K1, "b": _B}
            if settings["number_of_shards"] != 1 or settings["similarity"]["default"] != bm25:
                self.misuse.append(f"other scores than those of tantivy: {settings}")
            if words.get("analyzer") != "whitespace":
                self.misuse.append(f"words are analyzed by Elasticsearch: {words}")
        self.indices[name] = index
        return 200, {"acknowledged": True, "shards_acknowledged": True, "index": name}

    def _described(self, pattern: str, query: Mapping[str, str]) -> Body:
        if "*" not in pattern:
            self._index(pattern)
        closed_too = query.get("expand_wildcards") == "all"
        return {
            name: {
                "aliases": {alias: {} for alias in index.aliases},
                "mappings": index.body.get("mappings", {}),
                "settings": {
                    "index": {"creation_date": str(index.created)}
                    | ({"verified_before_close": "true"} if index.closed else {})
                },
            }
            for name, index in self.indices.items()
            if fnmatchcase(name, pattern) and (closed_too or not index.closed)
        }

    def _switch(self, actions: list[Body]) -> Answer:
        for action in actions:
            [(kind, what)] = action.items()
            index = self._index(what["index"])
            if kind == "remove_index":
                del self.indices[what["index"]]
            elif kind == "add":
                index.aliases.add(what["alias"])
            else:
                self.misuse.append(f"unknown action {kind}")
        return 200, {"acknowledged": True, "errors": False}

    # -- documents -------------------------------------------------------------------------

    def _document(
        self, method: str, name: str, id: str, query: Mapping[str, str], raw: bytes
    ) -> Answer:
        if method != "GET" and name not in self.indices:
            self.misuse.append(f"a document for {name}, which nobody has made")
        index = self._index(name)
        known = index.documents.get(id)
        if method == "GET":
            if known is None:
                return 404, {"_index": name, "_id": id, "found": False}
            place = self._place(name, id, known)
            return 200, {**place, "found": True, "_source": known.source}
        self._check_version(id, known, query)
        if method == "DELETE":
            result = self._remove(index, id)
            return (404 if result == "not_found" else 200), {
                "_index": name,
                "_id": id,
                "result": result,
            }
        stored = self._put(index, id, json.loads(raw))
        result = "created" if known is None else "updated"
        place = self._place(name, id, stored)
        return (201 if known is None else 200), {**place, "result": result}

    def _check_version(self, id: str, known: Stored | None, query: Mapping[str, str]) -> None:
        kind = "version_conflict_engine_exception"
        if query.get("op_type") == "create" and known is not None:
            reason = f"[{id}]: version conflict, document already exists (current version [1])"
            raise Refusal(409, kind, reason)
        if (wanted := query.get("if_seq_no")) is not None:
            if "if_primary_term" not in query:
                self.misuse.append("if_seq_no without if_primary_term")
            if known is None or known.number != int(wanted):
                raise Refusal(409, kind, f"[{id}]: version conflict, required seqNo [{wanted}]")

    def _place(self, name: str, id: str, stored: Stored) -> Body:
        versions = {"_version": stored.version, "_seq_no": stored.number, "_primary_term": 1}
        return {"_index": name, "_id": id, **versions}

    def _put(self, index: WordIndexStandIn, id: str, source: Body) -> Stored:
        index.versions[id] = index.versions.get(id, 0) + 1
        index.documents[id] = Stored(source, index.versions[id], index.number)
        index.number += 1
        return index.documents[id]

    def _remove(self, index: WordIndexStandIn, id: str) -> str:
        index.versions[id] = index.versions.get(id, 0) + 1
        index.number += 1
        return "deleted" if index.documents.pop(id, None) else "not_found"

    def _bulk(self, raw: bytes, query: Mapping[str, str]) -> Answer:
        if not raw.endswith(b"\n"):
            raise Refusal(400, "illegal_argument_exception", "The bulk request must be terminated")
        if len(raw) > 10 * 1024 * 1024:
            self.misuse.append(f"a bulk request of {len(raw)} bytes")
        lines, items = iter(raw.removesuffix(b"\n").split(b"\n")), []
        for line in lines:
            [(action, meta)] = json.loads(line).items()
            name, id = meta["_index"], meta["_id"]
            if len(id.encode()) > 512:
                reason = "Validation Failed: 1: id is too long, must be no longer than 512 bytes;"
                raise Refusal(400, "action_request_validation_exception", reason)
            if name not in self.indices:
                self.misuse.append(f"a passage for {name}, which nobody has made")
            index, place = self._index(name), {"_index": name, "_id": id}
            if action == "delete":
                result = self._remove(index, id)
                status = 404 if result == "not_found" else 200
            else:
                source = json.loads(next(lines))
                if unknown := source.keys() - index.body["mappings"]["properties"].keys():
                    error = {"type": "strict_dynamic_mapping_exception", "reason": str(unknown)}
                    items.append({action: {**place, "status": 400, "error": error}})
                    continue
                result = "updated" if id in index.documents else "created"
                self._put(index, id, source)
                status = 200 if result == "updated" else 201
            items.append({action: {**place, "result": result, "status": status}})
        errors = any(
            result["status"] >= 400 and "error" in result
            for item in items
            for result in item.values()
        )
        return 200, {"errors": errors, "took": 0, "items": items}

    # -- search ----------------------------------------------------------------------------

    def _search(self, name: str, body: Body, query: Mapping[str, str]) -> Body:
        index = self._searched(name)
        if ids := body.get("query", {}).get("ids"):
            if body["size"] < len(ids["values"]):
                self.misuse.append("more ids than are asked for")
            hits = [
                {"_id": id, "_score": 1.0, "fields": {"digest": [index.seen[id]["digest"]]}}
                for id in ids["values"]
                if id in index.seen
            ]
            return _found(hits[: body["size"]])
        if query.get("scroll") is None or body.get("sort") != ["_doc"]:
            self.misuse.append(f"an unknown search: {body}")
        found = list(index.seen)
        pages = [found[n : n + body["size"]] for n in range(0, len(found), body["size"])]
        scroll = f"scroll{len(self.scrolls)}"
        self.scrolls[scroll] = [json.dumps([index_id(index, id) for id in page]) for page in pages]
        return self._scroll("POST", scroll)[1]

    def _scroll(self, method: str, scroll: str) -> Answer:
        if scroll not in self.scrolls:
            if method == "DELETE":
                return 404, {"succeeded": True, "num_freed": 0}
            raise Refusal(404, "search_context_missing_exception", f"No search context [{scroll}]")
        if method == "DELETE":
            del self.scrolls[scroll]
            return 200, {"succeeded": True, "num_freed": 1}
        pages = self.scrolls[scroll]
        return 200, {"_scroll_id": scroll, **_found(json.loads(pages.pop(0)) if pages else [])}

    def _searches(self, name: str, raw: bytes) -> Iterator[Body]:
        lines = raw.removesuffix(b"\n").split(b"\n")
        if not raw.endswith(b"\n") or len(lines) % 2:
            self.misuse.append("a multi-search without a newline at its end")
        for body in map(json.loads, lines[1::2]):
            try:
                index = self._searched(name)
                found = self._counted(index, body) if "aggs" in body else self._best(index, body)
                yield {**found, "status": 200}
            except Refusal as refusal:
                yield refusal.body()

    def _counted(self, index: WordIndexStandIn, body: Body) -> Body:
        there = Counter(term for terms in index.terms().values() for term in set(terms))
        if body["size"] != 0 or body["track_total_hits"] is not True or "query" in body:
            self.misuse.append("a count that does not count all passages")
        filters = body["aggs"]["terms"]["filters"]["filters"]
        buckets = [{"doc_count": there[each["term"]["words"]]} for each in filters]
        found = _found([]) | {"aggregations": {"terms": {"buckets": buckets}}}
        found["hits"]["total"]["value"] = len(index.seen)
        if suggest := body.get("suggest", {}).get("similar"):
            if {k: v for k, v in suggest["term"].items() if k != "size"} != _SUGGEST:
                self.misuse.append(f"another suggester: {suggest}")
            found["suggest"] = {
                "similar": [
                    {"text": word, "options": _similar(word, there, suggest["term"]["size"])}
                    for word in suggest["text"].split()
                ]
            }
        return found

    def _best(self, index: WordIndexStandIn, body: Body) -> Body:
        query, told = body["query"]["bool"], []
        if "must" in query:
            query, told = query["must"]["bool"], query["should"]
        wanted = [each["term"]["words"] for each in query["should"]]
        others = [each["term"]["words"] for each in told]
        if len({each["_name"] for each in wanted + others}) < len(wanted + others):
            self.misuse.append("two terms of one name")
        terms = index.terms()
        scores = Scores(terms)
        hits = []
        for id in terms:
            named = {
                each["_name"]: each["boost"] * scores.of(each["value"], id)
                for each in wanted + others
                if each["value"] in terms[id]
            }
            if any(each["value"] in terms[id] for each in wanted):
                hit = index_id(index, id) | {
                    "_score": sum(named.values()),
                    "matched_queries": named,
                }
                hits.append(hit)
        hits.sort(key=lambda hit: -hit["_score"])
        found = _found(hits[: body["size"]])
        del found["hits"]["total"]
        return found


class Scores:
    """BM25 of terms in documents, with Elasticsearch's factor of k1 + 1, without its rounding."""

    def __init__(self, terms: Mapping[str, list[str]]) -> None:
        self._counts = {id: Counter(each) for id, each in terms.items()}
        self._lengths = {id: len(each) for id, each in terms.items()}
        self._average = sum(self._lengths.values()) / max(1, len(terms))
        self._there = Counter(term for each in terms.values() for term in set(each))

    def of(self, term: str, id: str) -> float:
        """Return the score of one term in one document."""
        n, there, often = len(self._counts), self._there[term], self._counts[id][term]
        idf = math.log(1 + (n - there + 0.5) / (there + 0.5))
        length = 1 - _B + _B * self._lengths[id] / self._average
        return idf * (_K1 + 1) * often / (often + _K1 * length)


def index_id(index: WordIndexStandIn, id: str) -> Body:
    """Return a hit with the field ``id`` where there is one."""
    long = index.seen[id].get("id")
    return {"_id": id} | ({"fields": {"id": [long]}} if long else {})


def _found(hits: list[Body]) -> Body:
    total = {"value": len(hits), "relation": "eq"}
    return {
        "took": 1,
        "timed_out": False,
        "_shards": _SHARDS,
        "hits": {"total": total, "max_score": None, "hits": hits},
    }


def _similar(word: str, there: Counter[str], size: int) -> list[Body]:
    if there[word]:
        return []
    near = [term for term in there if within(word, term, 2)]
    near.sort(key=lambda term: (not within(word, term, 1), -there[term], term))
    return [{"text": term, "score": 0.5, "freq": there[term]} for term in near[:size]]
