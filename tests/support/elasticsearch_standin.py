"""An Elasticsearch that tests can script: a real HTTP server with its routes, rules and failures.

    async with ElasticsearchStandIn() as elasticsearch:
        elasticsearch.fault = [BUSY, Reset(stored=0.5)]
        ... a client talks to elasticsearch.url ...
        assert elasticsearch.ids() == Counter(expected)

It keeps what it is sent, refuses what Elasticsearch refuses (per document too), and notes as
``misuse`` what Elasticsearch would take and a shipper of logs must never send. Leaving the ``async
with`` raises AssertionError if there is any.
"""

import asyncio
import base64
import binascii
import json
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Self

from aiohttp import ClientError, web

from .elasticsearch_mapping import Malformed, check_mappings, check_source
from .elasticsearch_search import Refusal, search
from .elasticsearch_words import WordEngine
from .ports import HOST, free_port

Body = dict[str, Any]

_BULK_BYTES = 10 * 1024 * 1024  # where hosted offers and proxies draw the line


@dataclass(frozen=True, slots=True)
class Refuse:
    """The whole request is refused before anything is stored; ``page`` is a proxy's HTML."""

    status: int
    type: str = ""
    reason: str | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset after this share of the documents was stored."""

    stored: float = 0.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """Everything is stored, and the reply is no JSON."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Everything is stored, and no reply comes."""


@dataclass(frozen=True, slots=True)
class Items:
    """Each ``every``-th document, from the first on, is refused on its own."""

    status: int
    type: str
    reason: str
    every: int = 2


Fault = Refuse | Reset | Garbage | Hang | Items

BUSY = Refuse(
    429,
    "es_rejected_execution_exception",
    "rejected execution of coordinating operation [coordinating_and_primary_bytes=0]",
)
NO_MASTER = Refuse(503, "master_not_discovered_exception", None)
BAD_GATEWAY = Refuse(502, page="<html><h1>502 Bad Gateway</h1></html>")
ITEMS_BUSY = Items(429, "es_rejected_execution_exception", "rejected execution of primary")


class Request(NamedTuple):
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Index:
    """An index, or one behind a data stream: what it holds and how it reads documents."""

    mappings: Body = field(default_factory=dict)
    settings: Body = field(default_factory=dict)
    documents: dict[str, Body] = field(default_factory=dict)


class ElasticsearchStandIn:
    """The server. Enter it to start it; assign its attributes at any time, also while it runs.

    ``fault`` holds for every bulk request, or, as a list, for the next ones one by one. ``users``
    maps names to passwords and ``api_keys`` holds encoded keys; with neither, security is off.
    ``denied`` names what nobody is allowed to do: ``info``, ``bulk``, ``write`` (refused for each
    document), ``read``, ``template``, ``lifecycle``. ``watch(stage)`` is called at each bulk
    request when it has ``arrived``, when ``half`` of it is stored, and when it is ``stored``.
    ``words`` has the indexes of words, and ``outage`` holds for every request to them.
    """

    def __init__(self, *, version: str = "9.2.0") -> None:
        self.host, self.port, self.version = HOST, free_port(), version
        self.fault: Fault | list[Fault | None] | None = None
        self.refuse: Callable[[str, Body], Refuse | None] = lambda identity, source: None
        self.watch: Callable[[str], None] = lambda stage: None
        self.users: dict[str, str] = {}
        self.api_keys: set[str] = set()
        self.denied: set[str] = set()
        self.limit = 100 * 1024 * 1024
        self.product = True
        self.indices: dict[str, Index] = {}
        self.streams: dict[str, list[str]] = {}
        self.templates: dict[str, Body] = {}
        self.policies: dict[str, Body] = {}
        self.requests: list[Request] = []
        self.conflicts = 0
        self.misuse: list[str] = []
        self.outage: Fault | None = None
        self.words = WordEngine(self.misuse)
        self._change = asyncio.Event()
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        await self.kill()
        if kind is None and self.misuse:
            raise AssertionError("Elasticsearch was misused:\n" + "\n".join(self.misuse))

    @property
    def url(self) -> str:
        """The address to put into ``elasticsearch.node``."""
        return f"http://{self.host}:{self.port}"

    @property
    def documents(self) -> dict[str, dict[str, Body]]:
        """What is stored: index, id, source; a data stream's under the indices behind it."""
        return {name: index.documents for name, index in self.indices.items()}

    def ids(self) -> Counter[str]:
        """Return how often each id is stored, whatever the index."""
        return Counter(name for index in self.indices.values() for name in index.documents)

    def sources(self) -> dict[str, Body]:
        """Return all documents by id."""
        return {k: v for index in self.indices.values() for k, v in index.documents.items()}

    def bulks(self) -> list[Request]:
        """Return all bulk requests, oldest first."""
        return [request for request in self.requests if request.path.endswith("/_bulk")]

    def take_misuse(self) -> list[str]:
        """Return what was noted and forget it, so that the test may end well."""
        taken = list(self.misuse)
        self.misuse.clear()
        return taken

    async def start(self) -> None:
        """Listen; after ``kill`` on the same port as before."""
        # What a proxy or a killed node leaves behind is no news to a test.
        self._server = web.Server(self._answer, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()

    async def kill(self) -> None:
        """Stop listening and cut every connection, as a killed node does; what is stored stays."""
        runner, self._runner = self._runner, None
        if runner is None or self._server is None:
            return
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    async def until(self, holds: Callable[[], bool], timeout: float = 30.0) -> None:
        """Return once ``holds()``, asked after each request; TimeoutError when it never does."""
        async with asyncio.timeout(timeout):
            while not holds():
                await self._change.wait()

    # -- requests --------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.content.read()
        except (OSError, ClientError):  # the client was killed in the middle
            return web.Response(status=400)
        headers = {name.lower(): value for name, value in request.headers.items()}
        incoming = Request(request.method, request.path, headers, body)
        self.requests.append(incoming)
        try:
            self._admit(incoming)
            self._check_media_types(incoming)
            if len(body) > self.limit:
                return self._reply(incoming, 413, b"")
            if self.words.owns(incoming.path, body):
                return await self._words(request, incoming)
            if incoming.path.endswith("/_bulk"):
                return await self._bulk(request, incoming)
            return self._reply(incoming, *self._route(incoming, request.query))
        except Refusal as refusal:
            return self._reply(incoming, refusal.status, refusal.body())
        except Exception as error:
            self.misuse.append(f"the stand-in itself failed: {error!r}")
            raise
        finally:
            self._changed()

    async def _words(self, request: web.BaseRequest, incoming: Request) -> web.StreamResponse:
        match self.outage:
            case Refuse(page=str(page), status=status):
                return web.Response(status=status, text=page, content_type="text/html")
            case Refuse(status, kind, reason):
                raise Refusal(status, kind, reason)
            case Reset():
                _reset(request)
            case Hang():
                self._changed()
                await asyncio.Event().wait()
            case Garbage():
                return self._reply(incoming, 200, b'{"took":3,"responses":[{"hi')
        found = self.words.answer(incoming.method, incoming.path, request.query, incoming.body)
        return self._reply(incoming, *found)

    def _changed(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _reply(self, request: Request, status: int, body: Body | bytes) -> web.Response:
        headers = {"Content-Type": "application/json"}
        if version := _compatible_with(request.headers.get("accept", "")):
            kind = f"application/vnd.elasticsearch+json;compatible-with={version}"
            headers["Content-Type"] = kind
        if self.product:
            headers["X-Elastic-Product"] = "Elasticsearch"
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="security", charset="UTF-8"'
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=data, headers=headers)

    @property
    def secured(self) -> bool:
        """Whether there is anybody to be."""
        return bool(self.users or self.api_keys)

    def _admit(self, request: Request) -> None:
        if not self.secured:
            return
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        where = f"for REST request [{request.path}]"
        if scheme == "ApiKey":
            if secret not in self.api_keys:
                raise Refusal(401, "security_exception", f"unable to authenticate {where}")
        elif scheme == "Basic":
            try:
                name, _, password = base64.b64decode(secret, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise Refusal(401, "security_exception", "invalid basic header") from None
            if self.users.get(name) != password:
                reason = f"unable to authenticate user [{name}] {where}"
                raise Refusal(401, "security_exception", reason)
        else:
            reason = f"missing authentication credentials {where}"
            raise Refusal(401, "security_exception", reason)

    def _allow(self, action: str) -> None:
        if action in self.denied:
            raise Refusal(403, "security_exception", f"action [{action}] is unauthorized")

    def _check_media_types(self, request: Request) -> None:
        major = int(self.version.partition(".")[0])
        accept = request.headers.get("accept", "")
        content = request.headers.get("content-type", "") if request.body else accept
        for name, version in (
            ("Accept", _compatible_with(accept)),
            ("Content-Type", _compatible_with(content)),
        ):
            if version and version not in (major, major - 1):
                reason = (
                    f"{name} version must be either version {major} or {major - 1}, but found "
                    f"{version}. Accept={accept}"
                )
                raise Refusal(400, "media_type_header_exception", reason)
        if bool(_compatible_with(accept)) != bool(_compatible_with(content)):
            reason = "A compatible version is required on both Content-Type and Accept headers"
            raise Refusal(400, "media_type_header_exception", reason)
        kinds = ("json", "x-ndjson") if request.path.endswith(("/_bulk", "search")) else ("json",)
        known = re.fullmatch(r"application/(?:vnd\.elasticsearch\+)?([a-z-]+)(?:;.*)?", content)
        if request.body and (known is None or known[1] not in kinds):
            reason = f"Content-Type header [{content}] is not supported"
            raise Refusal(406, "media_type_header_exception", reason)

    def _route(self, request: Request, query: Mapping[str, str]) -> tuple[int, Body]:
        method, steps = request.method, request.path.strip("/").split("/")
        match method, steps:
            case "GET" | "HEAD", [""]:
                self._allow("info")
                return 200, {
                    "name": "stand-in",
                    "cluster_name": "stand-in",
                    "cluster_uuid": "c",
                    "version": {"number": self.version, "build_flavor": "default"},
                    "tagline": "You Know, for Search",
                }
            case "GET" | "POST", ["_security", "user", "_has_privileges"] if self.secured:
                return 200, {"has_all_requested": not self.denied & {"bulk", "write"}}
            case "GET" | "POST", ["_security", *_]:
                reason = f"no handler found for uri [{request.path}] and method [{method}]"
                raise Refusal(400, "illegal_argument_exception", reason)
            case "PUT", ["_index_template", name]:
                self._allow("template")
                self._put_template(name, _json(request.body))
                return 200, {"acknowledged": True}
            case "PUT", ["_ilm", "policy", name]:
                self._allow("lifecycle")
                self._put_policy(name, _json(request.body))
                return 200, {"acknowledged": True}
            case "HEAD", ["_index_template", name]:
                return (200 if name in self.templates else 404), {}
            case "PUT", [name] if not name.startswith("_"):
                self._create_index(name, _json(request.body) if request.body else {})
                return 200, {"acknowledged": True, "shards_acknowledged": True, "index": name}
            case "GET" | "POST", [pattern, "_count"]:
                return 200, {"count": len(self._matching(pattern)), "_shards": _SHARDS}
            case "GET" | "POST", [pattern, "_search"]:
                self._allow("read")
                body = _json(request.body) if request.body else {}
                body = {"size": int(query.get("size", 10)), **body}
                hits = search(body, self._matching(pattern), self._mappings(pattern))
                return 200, {"took": 1, "timed_out": False, "_shards": _SHARDS, "hits": hits}
            case "GET" | "POST", [_, "_refresh"]:
                return 200, {"_shards": _SHARDS}
            case "DELETE", [pattern]:
                for name in [name for name in self.indices if fnmatchcase(name, pattern)]:
                    del self.indices[name]
                return 200, {"acknowledged": True}
        self.misuse.append(f"no such route: {method} {request.path}")
        reason = f"no handler found for uri [{request.path}] and method [{method}]"
        raise Refusal(400, "illegal_argument_exception", reason)

    def _matching(self, pattern: str) -> list[Body]:
        behind = {name: stream for stream, names in self.streams.items() for name in names}
        found = [
            {"_index": name, "_id": identity, "_score": 1.0, "_source": source}
            for name, index in self.indices.items()
            if fnmatchcase(name, pattern) or fnmatchcase(behind.get(name, ""), pattern)
            for identity, source in index.documents.items()
        ]
        known = [*self.indices, *self.streams]
        if "*" not in pattern and pattern not in known:
            raise Refusal(404, "index_not_found_exception", f"no such index [{pattern}]")
        return found

    def _mappings(self, pattern: str) -> list[Body]:
        behind = {name: stream for stream, names in self.streams.items() for name in names}
        return [
            index.mappings
            for name, index in self.indices.items()
            if fnmatchcase(name, pattern) or fnmatchcase(behind.get(name, ""), pattern)
        ]

    # -- indices, templates, data streams --------------------------------------------------

    def _put_template(self, name: str, body: Body) -> None:
        try:
            if unknown := set(body) - _TEMPLATE_KEYS:
                raise Malformed("x_content_parse_exception", f"unknown field {sorted(unknown)}")
            patterns = body["index_patterns"]
            template = body.get("template", {})
            if unknown := set(template) - {"settings", "mappings", "aliases", "lifecycle"}:
                raise Malformed("x_content_parse_exception", f"unknown field {sorted(unknown)}")
            if "lifecycle" in template and "data_stream" not in body:
                reason = "lifecycle can only be used with data streams"
                raise Malformed("illegal_argument_exception", reason)
            check_mappings(template.get("mappings", {}), stream="data_stream" in body)
            for other, theirs in self.templates.items():
                same = theirs.get("priority", 0) == body.get("priority", 0)
                if other != name and same and set(theirs["index_patterns"]) & set(patterns):
                    reason = f"index template [{name}] has index patterns matching [{other}]"
                    raise Malformed("illegal_argument_exception", reason)
        except Malformed as error:
            self.misuse.append(f"template {name}: {error}")
            raise Refusal(400, error.kind, str(error)) from None
        self.templates[name] = body

    def _put_policy(self, name: str, body: Body) -> None:
        for phase, content in body["policy"]["phases"].items():
            age = content.get("min_age", "0ms")
            unknown = set(content) - {"min_age", "actions"}
            if phase not in _PHASES or unknown or not re.fullmatch(r"\d+(ms|[smhd])", age):
                self.misuse.append(f"policy {name}: {phase}: {content}")
                raise Refusal(400, "x_content_parse_exception", f"[{phase}] cannot be parsed")
        self.policies[name] = body["policy"]

    def _template(self, name: str) -> Body:
        fitting = [
            template
            for template in self.templates.values()
            if any(fnmatchcase(name, pattern) for pattern in template["index_patterns"])
        ]
        return max(fitting, key=lambda template: template.get("priority", 0), default={})

    def _create_index(self, name: str, body: Body) -> Index:
        if not re.fullmatch(r"[^A-Z\\/*?\"<>| ,#:]+", name) or name[0] in "-_+" or name in "..":
            reason = f"Invalid index name [{name}]"
            raise Refusal(400, "invalid_index_name_exception", reason)
        if name in self.indices:
            reason = f"index [{name}/uuid] already exists"
            raise Refusal(400, "resource_already_exists_exception", reason)
        found = self._template(name)
        if "data_stream" in found:
            reason = f"cannot create index with name [{name}]: use create data stream api instead"
            raise Refusal(400, "illegal_argument_exception", reason)
        template = found.get("template", {})
        self.indices[name] = Index(
            json.loads(json.dumps(template.get("mappings", body.get("mappings", {})))),
            {**template.get("settings", {}), **body.get("settings", {})},
        )
        return self.indices[name]

    def rollover(self, stream: str) -> str:
        """Begin a new index behind a data stream; its name."""
        template = self._template(stream).get("template", {})
        behind = self.streams.setdefault(stream, [])
        behind.append(f".ds-{stream}-2026.03.01-{len(behind) + 1:06}")
        self.indices[behind[-1]] = Index(
            json.loads(json.dumps(template.get("mappings", {}))), template.get("settings", {})
        )
        return behind[-1]

    def _target(self, name: str) -> str:
        """Return the index that a write to ``name`` goes to, made when there is none."""
        if name not in self.streams and "data_stream" in self._template(name):
            self.rollover(name)
        if name in self.streams:
            return self.streams[name][-1]
        if name not in self.indices:
            self._create_index(name, {})
        return name

    # -- bulk ------------------------------------------------------------------------------

    async def _bulk(self, request: web.BaseRequest, incoming: Request) -> web.StreamResponse:
        if incoming.method not in ("POST", "PUT"):
            raise Refusal(405, "illegal_argument_exception", "Incorrect HTTP method for uri")
        self._allow("bulk")
        self.watch("arrived")
        fault = self.fault
        if isinstance(fault, list):
            fault = fault.pop(0) if fault else None
        if isinstance(fault, Refuse):
            if fault.page is not None:
                return web.Response(status=fault.status, text=fault.page, content_type="text/html")
            raise Refusal(fault.status, fault.type, fault.reason)
        operations = list(self._operations(incoming, request.query))
        stop = round(len(operations) * fault.stored) if isinstance(fault, Reset) else None
        results: list[Body] = []
        for number, (action, meta, source) in enumerate(operations):
            if number == stop:
                break
            if number == len(operations) // 2:
                self.watch("half")
            refused = fault if isinstance(fault, Items) and number % fault.every == 0 else None
            results.append({action: self._store(action, meta, source, refused)})
        self.watch("stored")
        if isinstance(fault, Reset):
            _reset(request)
        if isinstance(fault, Hang):
            self._changed()
            await asyncio.Event().wait()
        if isinstance(fault, Garbage):
            return self._reply(incoming, 200, b'{"took":3,"errors":fal')
        errors = any("error" in result for item in results for result in item.values())
        return self._reply(incoming, 200, {"took": 3, "errors": errors, "items": results})

    def _operations(
        self, request: Request, query: Mapping[str, str]
    ) -> Iterator[tuple[str, Body, bytes]]:
        if not request.body:
            raise Refusal(400, "parse_exception", "request body is required")
        if not request.body.endswith(b"\n"):
            self.misuse.append("a bulk request without a newline at its end")
            reason = "The bulk request must be terminated by a newline [\\n]"
            raise Refusal(400, "illegal_argument_exception", reason)
        if len(request.body) > _BULK_BYTES:
            self.misuse.append(f"a bulk request of {len(request.body)} bytes")
        if query.get("refresh", "false") != "false":
            self.misuse.append("a bulk request that asks for a refresh")
        default = request.path.strip("/").split("/")[0]
        lines = iter(request.body.removesuffix(b"\n").split(b"\n"))
        for number, line in enumerate(lines, 1):
            action, meta = _action(number, line)
            meta.setdefault("_index", None if default == "_bulk" else default)
            if len(meta.get("_id", "").encode()) > 512:
                reason = "Validation Failed: 1: id is too long, must be no longer than 512 bytes;"
                raise Refusal(400, "action_request_validation_exception", reason)
            if meta["_index"] is None:
                reason = "Validation Failed: 1: index is missing;"
                raise Refusal(400, "action_request_validation_exception", reason)
            if action != "create":
                self.misuse.append(f"a log is sent with {action!r} instead of 'create'")
            if not meta.get("_id"):
                self.misuse.append("a document without an id: sent twice, it would be there twice")
            yield action, meta, next(lines, b"")

    def _store(self, action: str, meta: Body, raw: bytes, fault: Items | None) -> Body:
        identity = meta.get("_id") or f"made-up-{len(self.ids())}"
        result = {"_index": meta["_index"], "_id": identity}

        def refused(status: int, kind: str, reason: str | None) -> Body:
            return {**result, "status": status, "error": {"type": kind, "reason": reason}}

        if fault is not None:
            return refused(fault.status, fault.type, fault.reason)
        if "write" in self.denied:
            reason = "action [indices:data/write/bulk[s]] is unauthorized for user [x]"
            return refused(403, "security_exception", reason)
        try:
            name = self._target(meta["_index"])
            index, stream = self.indices[name], meta["_index"] in self.streams
            if stream and action != "create":
                reason = "only write ops with an op_type of create are allowed in data streams"
                raise Malformed("illegal_argument_exception", reason)
            source = check_source(raw, index.mappings, index.settings, stream=stream)
        except Malformed as error:
            return refused(400, error.kind, str(error))
        except Refusal as refusal:
            return refused(refusal.status, refusal.kind, refusal.reason)
        if (refuse := self.refuse(identity, source)) is not None:
            return refused(refuse.status, refuse.type, refuse.reason)
        if action == "create" and identity in index.documents:
            self.conflicts += 1
            reason = (
                f"[{identity}]: version conflict, document already exists (current version [1])"
            )
            return refused(409, "version_conflict_engine_exception", reason)
        if "@timestamp" not in source:
            self.misuse.append(f"document {identity} has no @timestamp")
        index.documents[identity] = source
        stored = {"_version": 1, "result": "created", "_shards": _SHARDS, "_seq_no": 0}
        return {**result, "_index": name, **stored, "_primary_term": 1, "status": 201}


_SHARDS = {"total": 2, "successful": 1, "failed": 0}
_PHASES = {"hot", "warm", "cold", "frozen", "delete"}
_TEMPLATE_KEYS = {
    *("index_patterns", "template", "composed_of", "priority", "version", "_meta"),
    *("data_stream", "allow_auto_create", "deprecated", "ignore_missing_component_templates"),
}


def _compatible_with(media_type: str) -> int | None:
    found = re.search(r"compatible-with=(\d+)", media_type)
    return int(found[1]) if found else None


def _json(body: bytes) -> Body:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refusal(400, "parse_exception", str(error)) from None
    if not isinstance(value, dict):
        raise Refusal(400, "parse_exception", "an object was expected")
    return value


def _action(number: int, line: bytes) -> tuple[str, Body]:
    try:
        [(action, meta)] = json.loads(line).items()
        if action not in ("create", "index", "update", "delete") or not isinstance(meta, dict):
            raise ValueError
    except (ValueError, AttributeError):
        reason = f"Malformed action/metadata line [{number}]"
        raise Refusal(400, "illegal_argument_exception", reason) from None
    return action, meta


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
