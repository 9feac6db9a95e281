"""A Chroma server, spoken to over its REST interface, version 2."""

import base64
import ssl as tls
import sys
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import orjson

from ...errors import NotStarted, SearchError, SearchTimeout, SearchUnavailable
from ..http import ConnectTimeout, HttpConnections
from .client import Body, Client
from .protocol import Record, Vector
from .replies import expected_form, failure
from .validation import MAX_BATCH_BYTES

CONNECT_SECONDS = 3.0
WRITE_SECONDS = 60.0

_REST = {
    "heartbeat": ("GET", "/api/v2/heartbeat"),
    "list": ("GET", "{collections}"),
    "create": ("POST", "{collections}"),
    "find": ("GET", "{collections}/{key}"),
    "drop": ("DELETE", "{collections}/{key}"),
    "modify": ("PUT", "{collections}/{key}"),
    "count": ("GET", "{collections}/{key}/count"),
    "query": ("POST", "{collections}/{key}/query"),
    "get": ("POST", "{collections}/{key}/get"),
    "upsert": ("POST", "{collections}/{key}/upsert"),
    "delete": ("POST", "{collections}/{key}/delete"),
}


class ChromaServer(Client):
    """A Chroma server, its distributed edition or Chroma Cloud, over connections that are kept.

    ``headers`` go with every request: Chroma itself asks for no credentials, a proxy before it may.
    ``timeout`` is in seconds for a whole call; a write gets at least a minute, and its JSON at most
    ``batch_bytes``. Opening sends nothing, so the server may start later.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: bool = False,
        headers: Mapping[str, str] | None = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        timeout: float = 10.0,
        batch_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        super().__init__(batch_bytes=batch_bytes)
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host, self._port, self._ssl = host, port, ssl
        tenant, database = quote(tenant, safe=""), quote(database, safe="")
        self._collections = f"/api/v2/tenants/{tenant}/databases/{database}/collections"
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._connections: HttpConnections | None = None

    async def __aenter__(self) -> Self:
        own = {"Host": self._address, "Content-Type": "application/json"}
        self._connections = HttpConnections(
            self._host,
            self._port,
            headers=own | self._headers,
            tls=tls.create_default_context() if self._ssl else None,
            connect_seconds=CONNECT_SECONDS,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

    async def stored_count(self, collection_id: str) -> int:
        raise self._not_ours("orbit collections repair NAME")

    async def stored_records(
        self, collection_id: str, *, after: int, limit: int
    ) -> list[tuple[int, Record]]:
        raise self._not_ours("orbit collections repair NAME")

    async def clean(self) -> int:
        raise self._not_ours("chroma vacuum --path FOLDER")

    def _not_ours(self, command: str) -> SearchUnavailable:
        return SearchUnavailable(
            f"The folder of Chroma at {self._address} belongs to that server. Stop it, and run"
            f" `{command}` on its machine, with chroma.path naming its folder and no chroma.host."
        )

    async def _call(
        self, operation: str, key: str = "", body: Body | None = None, request_id: str | None = None
    ) -> Any:
        if self._connections is None:
            raise NotStarted("The Chroma client is not open.")
        method, template = _REST[operation]
        path = template.format(collections=self._collections, key=quote(key, safe=""))
        seconds = self._timeout
        if operation == "upsert" and body is not None:
            seconds = max(seconds, WRITE_SECONDS)
            body = body | {"embeddings": [_base64(vector) for vector in body["embeddings"]]}
        with _translated_http(self._address):
            reply = await self._connections.request(
                method,
                path,
                b"" if body is None else orjson.dumps(body),
                seconds=seconds,
                headers={"X-Request-ID": request_id} if request_id else None,
            )
        if reply.status >= 300:
            asked = f"Chroma at {self._address} answered {reply.status} to {method} {path}"
            reason = self._without_headers(_reason(reply.body))
            raise failure(reply.status, f"{asked}: {reason}")
        with expected_form():
            return _loads(reply.body)

    def _without_headers(self, text: str) -> str:
        for value in self._headers.values():
            text = text.replace(value.rpartition(" ")[2] or value, "[header]")
        return text


@contextmanager
def _translated_http(address: str) -> Iterator[None]:
    """Turn whatever the connection raises into the error tree; the texts name no header."""
    try:
        yield
    except ConnectTimeout as error:
        raise SearchUnavailable(f"Chroma at {address} does not take connections.") from error
    except TimeoutError as error:
        raise SearchTimeout(f"Chroma at {address} did not answer in time.") from error
    except OSError as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SearchUnavailable(f"Chroma at {address} cannot be reached: {reason}.") from error
    except Exception as error:
        raise SearchError(f"Chroma at {address} failed: {type(error).__name__}.") from error


class _Vectors:
    """The vectors of a reply as JSON, each of which is made of numbers only when it is asked for.

    They are nine tenths of the reply with ten passages, of which few need one.
    """

    def __init__(self, rows: list[bytes]) -> None:
        self._rows = rows

    def __getitem__(self, row: int) -> list[float]:
        numbers: list[float] = orjson.loads(b"[%b]" % self._rows[row])
        return numbers


def _loads(content: bytes) -> Any:
    # A quotation mark within a text has a backslash before it: this is never part of one.
    before, _, vectors = content.partition(b'"embeddings":[[')
    vectors, _, behind = vectors.partition(b"]]")
    if not behind:
        return orjson.loads(content)
    reply = orjson.loads(b'%b"embeddings":null%b' % (before, behind))
    rows = vectors.split(b"],[")
    if len(rows) != len(reply["ids"]):  # written otherwise than Chroma does
        return orjson.loads(content)
    return reply | {"embeddings": _Vectors(rows)}


def _reason(content: bytes) -> str:
    try:
        return str(orjson.loads(content)["message"])
    except (ValueError, LookupError, TypeError):
        return " ".join(content[:200].decode(errors="replace").split()) or "no reason given"


def _base64(vector: Vector) -> str:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats).decode()
