"""The store of a running server, spoken to over its admin routes.

Chroma in process belongs to one process. While the server runs, the command line sends chunks to it
instead of opening the folder a second time; the server embeds and stores them.
"""

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson

from .chunks import Chunk
from .errors import CollectionNotFound, Forbidden, NotStarted, SearchError, SearchUnavailable
from .retrieval import Candidate
from .store import Reindexed
from .types import Passage


class RemoteStore:
    """A ``Store`` behind the admin routes of the server at ``url``, opened by ``async with``.

    ``cert_file`` (PEM) is the server's own certificate, where this machine has it: then that one is
    believed and no other, whatever host it names, because no certificate names 127.0.0.1.

    Raises ``Forbidden`` for a wrong admin token, ``SearchUnavailable`` when nothing answers, and
    ``SearchError`` with the server's own words for everything else.
    """

    def __init__(self, url: str, token: str, *, cert_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._cert_file = cert_file
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        ssl = True if self._cert_file is None else _fingerprint(self._cert_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl),
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

    async def put(self, collection: str, chunks: Sequence[Chunk], remove: Sequence[str]) -> None:
        batch = {"documents": [asdict(chunk) for chunk in chunks], "remove": list(remove)}
        await self._call("POST", f"/{_segment(collection)}/documents", body=batch)

    async def search(self, collection: str, question: str) -> list[Passage]:
        body = {"question": question}
        found = await self._call("POST", f"/{_segment(collection)}/search", body=body)
        return [Passage(**passage) for passage in found["passages"]]

    async def candidates(self, collection: str, question: str) -> list[Candidate]:
        body = {"question": question}
        found = await self._call("POST", f"/{_segment(collection)}/candidates", body=body)
        return [Candidate(Passage(**each.pop("passage")), **each) for each in found["candidates"]]

    async def sample(self, collection: str, n: int) -> list[Passage]:
        found = await self._call("GET", f"/{_segment(collection)}/sample", query={"n": str(n)})
        return [Passage(**passage) for passage in found["passages"]]

    async def calibrate(self, collection: str, threshold: float) -> None:
        body = {"threshold": threshold}
        await self._call("POST", f"/{_segment(collection)}/threshold", body=body)

    async def reindex(self, collection: str, start: int = 0) -> Reindexed:
        body = {"start": start}
        reply = await self._call("POST", f"/{_segment(collection)}/reindex", body=body)
        return Reindexed(**reply)

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
    ) -> Any:
        if self._session is None:
            raise NotStarted("the remote store is used before it is opened")
        data = None if body is None else BytesIO(orjson.dumps(body))
        url = f"{self.url}/admin/collections{path}"
        try:
            async with self._session.request(method, url, data=data, params=query) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SearchUnavailable(f"no answer from the server at {self.url}: {error}") from error
        try:
            reply = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise SearchError(f"{self.url} is not an ORBIT server: {text[:80]!r}") from error
        if response.status == 200:
            return reply
        if not isinstance(reply, dict):
            raise SearchError(f"{self.url} is not an ORBIT server: {text[:80]!r}")
        cause = str(reply.get("cause") or reply.get("detail") or f"status {response.status}")
        if response.status in (401, 403):
            raise Forbidden(cause=f"the server at {self.url} says: {cause}")
        if reply.get("code") == "collection_not_found":
            raise CollectionNotFound(cause)
        raise SearchError(cause)


def _fingerprint(cert_file: str) -> aiohttp.Fingerprint:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        # The server's own comes first in the file, those that vouch for it behind.
        first = Path(cert_file).read_text().partition(begin)[2].partition(end)[0]
        der = PEM_cert_to_DER_cert(f"{begin}{first}{end}")
    except (OSError, ValueError) as error:
        raise SearchError(
            f"general.https.cert_file: {cert_file} cannot be read: {error}"
        ) from error
    return aiohttp.Fingerprint(sha256(der).digest())


def _segment(name: str) -> str:
    return quote(name, safe="")
