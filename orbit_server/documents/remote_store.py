"""The store of a running server, spoken to over its admin routes.

Chroma in process belongs to one process. While the server runs, the command line sends files to it
instead of opening the folder a second time; the server reads, embeds and stores them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from hashlib import sha256
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from ssl import PEM_cert_to_DER_cert, SSLCertVerificationError
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlsplit

import aiohttp
import orjson

from ..config.files import TooLarge, read_file
from ..errors import (
    CollectionNotFound,
    ConfigError,
    Forbidden,
    ModelNotFound,
    ModelUnreachable,
    NotFound,
    NotStarted,
    OrbitError,
    SearchError,
    SearchUnavailable,
)
from ..retrieval.ranking import Candidate
from ..retrieval.words.mending import Reindexed
from ..types import Passage
from . import wire
from .collection_store import Stored
from .model import Chunk
from .repair import Repaired
from .source_list import First, SourcePage

# The server looks at its files every second, and this may have been quicker.
_RENEWAL_SECONDS = 2.0
_CERT_LIMIT = 64 * 1024  # bytes
# What a command has more to say of than the cause.
_KINDS = {kind.code: kind for kind in (CollectionNotFound, ModelNotFound, ModelUnreachable)}
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class RemoteStore:
    """A ``Store`` behind the admin routes of the server at ``url``, opened by ``async with``.

    ``cert_file`` (PEM) is the server's own certificate, where this machine has it: then that one is
    believed and no other, whatever host it names, because no certificate names 127.0.0.1. It may be
    renewed meanwhile.

    Raises ``ConfigError`` when ``cert_file`` cannot be used, ``Forbidden`` for a wrong admin token,
    ``SearchUnavailable`` when nothing answers or the certificate is not believed, and
    ``SearchError`` with the server's own words for everything else.
    """

    def __init__(self, url: str, token: str, *, cert_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._cert_file = cert_file
        self._session: aiohttp.ClientSession | None = None
        self._believed: aiohttp.Fingerprint | bool = True

    async def __aenter__(self) -> Self:
        self._believe()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            # Embedding a batch takes as long as the model takes.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=900),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def collections(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = await self._call("GET", "")
        return listed

    async def show(self, collection: str) -> dict[str, Any]:
        shown: dict[str, Any] = await self._call("GET", f"/{_segment(collection)}")
        return shown

    async def drop(self, collection: str) -> None:
        await self._call("DELETE", f"/{_segment(collection)}")

    async def sources(self, collection: str) -> dict[str, int]:
        counts: dict[str, int] = (await self._documents(collection))["sources"]
        return counts

    async def ids(self, collection: str, source: str) -> set[str]:
        return set((await self._documents(collection, source=source))["ids"])

    async def files(self, collection: str, *, after: str = "", limit: int = 1000) -> SourcePage:
        query = {"after": after, "limit": str(limit)}
        reply = await self._call("GET", f"/{_segment(collection)}/files", query=query)
        return wire.files_from_json(reply)

    async def remove(self, collection: str, source: str) -> int:
        path = f"/{_segment(collection)}/files/{_segment(source)}"
        return int((await self._call("DELETE", path, missing=NotFound))["removed"])

    async def upload(
        self, collection: str, files: Mapping[str, BinaryIO], fields: Sequence[tuple[str, str]]
    ) -> AsyncGenerator[dict[str, Any]]:
        """Send ``files`` by the names of their sources, with ``fields``, and yield the events.

        The last one has ``done``. Raises what the server says went wrong, before or in it.
        """
        self._believe()
        form = aiohttp.MultipartWriter("form-data")
        for name, value in fields:
            form.append(value).set_content_disposition("form-data", name=name)
        for source, file in files.items():
            quoted = source.replace("\\", "\\\\").replace('"', '\\"')
            # Not as aiohttp writes it: what is read here is the plain name.
            form.append(file).headers["Content-Disposition"] = (
                f'form-data; name="files"; filename="{quoted}"'
            )
        url = f"{self.url}/admin/collections/{_segment(collection)}/files"
        headers = {"Accept": "text/event-stream", "Content-Type": form.content_type}
        event: dict[str, Any] = {}
        with self._translated():
            async with self._opened().post(
                url, data=form, headers=headers, ssl=self._believed
            ) as response:
                if response.content_type != "text/event-stream":
                    self._reply(response.status, await response.read())
                async for line in response.content:
                    if line.startswith(b"data: "):
                        event = orjson.loads(line[6:])
                        yield event
        if "error" in event:
            raise _error(event["error"], str(event.get("cause") or event["detail"]))
        if not event.get("done"):
            raise SearchError(f"{self.url} ended before all of the files were loaded.")

    def loading(self, collection: str) -> Callable[[], AbstractAsyncContextManager[None]]:
        return nullcontext

    async def first(self, collection: str) -> dict[str, First]:
        found = (await self._documents(collection, first="true")).get("first", {})
        return {source: First(**each) for source, each in found.items()}

    async def put(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        remove: Sequence[str],
        *,
        languages: Sequence[str] = (),
    ) -> Stored:
        body = wire.ChunkBatch.of(chunks, remove, languages).model_dump()
        reply = await self._call("POST", f"/{_segment(collection)}/documents", body=body)
        return Stored(reply.get("shortened", {}), reply.get("left_out", {}))

    async def search(self, collection: str, question: str) -> list[Passage]:
        body = wire.Search.model_construct(question=question).model_dump()
        found = await self._call("POST", f"/{_segment(collection)}/search", body=body)
        return wire.passages_from_json(found)

    async def candidates(self, collection: str, question: str) -> list[Candidate]:
        body = wire.Search.model_construct(question=question).model_dump()
        found = await self._call("POST", f"/{_segment(collection)}/candidates", body=body)
        return wire.candidates_from_json(found)

    async def sample(self, collection: str, n: int) -> list[Passage]:
        found = await self._call("GET", f"/{_segment(collection)}/sample", query={"n": str(n)})
        return wire.passages_from_json(found)

    async def calibrate(self, collection: str, threshold: float) -> None:
        body = wire.Threshold.model_construct(threshold=threshold).model_dump()
        await self._call("POST", f"/{_segment(collection)}/threshold", body=body)

    async def reindex(self, collection: str, start: int = 0) -> Reindexed:
        body = wire.Reindex.model_construct(start=start).model_dump()
        reply = await self._call("POST", f"/{_segment(collection)}/reindex", body=body)
        return Reindexed(**reply)

    async def repair(self, collection: str, after: int = 0) -> Repaired:
        body = {"after": after}
        reply = await self._call("POST", f"/{_segment(collection)}/repair", body=body)
        return Repaired(**reply)

    async def clean(self) -> int:
        return int((await self._call("POST", "", body={"clean": True}))["freed"])

    async def _documents(self, collection: str, **query: str) -> dict[str, Any]:
        listed: dict[str, Any] = await self._call(
            "GET", f"/{_segment(collection)}/documents", query=query
        )
        return listed

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        missing: type[OrbitError] = SearchError,
    ) -> Any:
        data = None if body is None else orjson.dumps(body)
        status, text = await self._ask(method, f"{self.url}/admin/collections{path}", data, query)
        return self._reply(status, text, missing)

    def _reply(self, status: int, text: bytes, missing: type[OrbitError] = SearchError) -> Any:
        try:
            reply = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise SearchError(f"{self.url} is not an ORBIT server: {text[:80]!r}") from error
        if status == 200:
            return reply
        if not isinstance(reply, dict):
            raise SearchError(f"{self.url} is not an ORBIT server: {text[:80]!r}")
        cause = str(reply.get("cause") or reply.get("detail") or f"status {status}")
        if status in (401, 403):
            raise Forbidden(cause=f"the server at {self.url} says: {cause}")
        raise _error(str(reply.get("code")), cause, missing)

    async def _ask(
        self, method: str, url: str, data: bytes | None, query: dict[str, str] | None
    ) -> tuple[int, bytes]:
        with self._translated():
            try:
                return await self._send(method, url, data, query)
            except aiohttp.ServerFingerprintMismatch:  # before anything was sent
                await asyncio.sleep(_RENEWAL_SECONDS)
                self._believe()
                return await self._send(method, url, data, query)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except aiohttp.ServerFingerprintMismatch as error:
            raise SearchUnavailable(
                f"{self.url} shows another certificate than the one in general.https.cert_file "
                f"({self._cert_file}). Either the server refuses that one, and its log says why; "
                "or it has another configuration; or something else answers there."
            ) from error
        except aiohttp.ClientConnectorCertificateError as error:
            refused = error.certificate_error
            why = refused.verify_message if isinstance(refused, SSLCertVerificationError) else ""
            raise SearchUnavailable(
                f"the certificate of {self.url} cannot be verified ({why.rstrip('.')}). Use the "
                "host name that it was issued for; for an authority of your own, set SSL_CERT_FILE "
                "to its PEM file; on the server's own machine, use its configuration (--config)."
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SearchUnavailable(f"no answer from the server at {self.url}: {error}") from error

    async def _send(
        self, method: str, url: str, data: bytes | None, query: dict[str, str] | None
    ) -> tuple[int, bytes]:
        body = None if data is None else BytesIO(data)
        async with self._opened().request(
            method, url, data=body, params=query, ssl=self._believed
        ) as response:
            return response.status, await response.read()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotStarted("the remote store is used before it is opened")
        return self._session

    def _believe(self) -> None:
        if self._cert_file is not None:
            self._believed = _Pin(_fingerprint(Path(self._cert_file)))


class _Pin(aiohttp.Fingerprint):
    """A fingerprint that aborts on mismatch instead of waiting for TLS to close."""

    def check(self, transport: asyncio.Transport) -> None:
        try:
            super().check(transport)
        except aiohttp.ServerFingerprintMismatch:
            asyncio.get_running_loop().call_soon(transport.abort)
            raise


def _fingerprint(cert_file: Path) -> bytes:
    """Return the SHA-256 of the certificate that a server with this file serves: its first one."""
    key = "general.https.cert_file"
    try:
        text = read_file(cert_file, limit=_CERT_LIMIT).decode("ascii")
        first = text[text.index(_BEGIN) : text.index(_END) + len(_END)]
        return sha256(PEM_cert_to_DER_cert(first)).digest()
    except ValueError:
        what = "holds no PEM certificate that can be read; name the file that begins with one"
    except TooLarge:
        what = f"is larger than {_CERT_LIMIT // 1024} KiB; name a PEM file"
    except OSError as error:
        what = f"cannot be read: {error.strerror}; name a PEM file that you may read"
    raise ConfigError([f"{key}: {cert_file} {what}"])


def is_loopback(url: str) -> bool:
    """Return whether ``url`` leads to this machine: to localhost, 127.0.0.0/8 or ::1."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _error(code: str, cause: str, missing: type[OrbitError] = SearchError) -> OrbitError:
    return missing(cause) if code == NotFound.code else _KINDS.get(code, SearchError)(cause)


def _segment(name: str) -> str:
    return quote(name, safe="")
