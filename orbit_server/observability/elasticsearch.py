"""The Elasticsearch client of the chat log, and what its failures mean.

Failure         a request failed
└── TooLarge    413: the request, or its only document, is over the server's limit
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from . import index_template

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REQUEST_SECONDS = 30.0
_LONGEST_SENTENCE = 300
_TAG = re.compile(r"<[^>]*>")


class Failure(Exception):
    """A request failed; ``str()`` is the cause, for the operator.

    ``status`` is the HTTP status, 0 when there was none. ``lasting`` means that trying again
    helps only once somebody acted.
    """

    def __init__(self, cause: str, *, status: int = 0, lasting: bool = False) -> None:
        super().__init__(f"{cause} (status {status})" if status else cause)
        self.status = status
        self.lasting = lasting or (400 <= status < 500 and status not in (408, 429))


class TooLarge(Failure):
    """413: the request, or its only document, is over the server's limit."""


class ElasticsearchClient:
    """The Elasticsearch at ``node``; opens itself at the first request.

    Its methods raise ``Failure`` for everything that can go wrong, after one try; the caller
    decides when to try again.
    """

    def __init__(
        self,
        node: str,
        *,
        username: str | None = None,
        password: str | None = None,
        api_key: str | None = None,
        ca_certs: str | None = None,
        verify_certs: bool = True,
    ) -> None:
        self.node = node
        self._options: dict[str, Any] = {}
        if api_key is not None:
            self._options["api_key"] = api_key
        elif username is not None:
            self._options["basic_auth"] = (username, password or "")
        if node.startswith("https:"):
            self._options |= {"verify_certs": verify_certs, "ssl_show_warn": False}
            if ca_certs is not None:
                self._options["ca_certs"] = ca_certs
        self._client: AsyncElasticsearch | None = None
        self._warned: set[str] = set()

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def create(self, operations: bytes) -> list[dict[str, Any]]:
        """Send the lines of a bulk request of ``create`` actions; return the result of each."""
        body: Any = operations
        reply: Any = (await self._call(lambda client: client.bulk(operations=body))).body
        try:
            return [item["create"] for item in reply["items"]]
        except (KeyError, TypeError):
            raise Failure("its reply is not a bulk result") from None

    async def pages(
        self, target: str, filters: Sequence[Mapping[str, Any]], *, size: int = 500
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the documents in ``target`` that pass all ``filters``, oldest first, in pages.

        One page is held at a time, and each begins behind the last document of the one before.
        ``target`` is an index or a pattern of names; one that matches none has no documents.
        """
        query: Any = {"bool": {"filter": list(filters)}}
        order: Any = [{"@timestamp": "asc"}, {"event.id": "asc"}]
        behind: Any = None
        while True:
            reply: Any = await self._call(
                lambda client: client.search(
                    index=target,
                    query=query,
                    sort=order,
                    size=size,
                    search_after=behind,  # noqa: B023 - called at once
                    track_total_hits=False,
                )
            )
            try:
                hits = reply.body["hits"]["hits"]
                page = [hit["_source"] for hit in hits]
                behind = hits[-1]["sort"] if len(hits) == size else None
            except (KeyError, TypeError):
                raise Failure("its reply is not a list of documents") from None
            if page:
                yield page
            if behind is None:
                return

    async def ping(self) -> None:
        """Ask for a sign of life."""
        try:
            await self._call(lambda client: client.info())
        except Failure as failure:
            if failure.status != 403:  # it is there; to describe itself needs a privilege
                raise

    async def may_create(self, target: str) -> bool:
        """Tell whether we may create documents in ``target``, an index or a pattern of names.

        Any user may query its own privileges; with security off, all is allowed.
        """
        wanted: Any = [{"names": [target], "privileges": ["create_doc"]}]
        try:
            reply: Any = await self._call(
                lambda client: client.security.has_privileges(index=wanted)
            )
        except Failure as failure:
            if failure.status in (400, 405, 500):
                return True
            raise
        return bool(reply.body.get("has_all_requested"))

    async def prepare(
        self, *, index: str, data_stream: str | None, retention_days: int | None
    ) -> None:
        """Install the lifecycle and the index template, as far as that is allowed.

        A refusal is a warning, once: documents are stored all the same.
        """
        name = f"orbit-{data_stream or index}"
        policy = None
        if retention_days is not None and data_stream is None:
            body = index_template.lifecycle(retention_days)
            if await self._install(
                "lifecycle", lambda client: client.ilm.put_lifecycle(name=name, policy=body)
            ):
                policy = name
        template = index_template.template(
            index=index, data_stream=data_stream, policy=policy, retention_days=retention_days
        )
        await self._install(
            "index template",
            lambda client: client.indices.put_index_template(name=name, body=template),
        )

    async def _install(
        self, what: str, call: "Callable[[AsyncElasticsearch], Awaitable[object]]"
    ) -> bool:
        try:
            await self._call(call)
        except Failure as failure:
            if not failure.lasting or failure.status in (0, 401):
                raise
            if what not in self._warned:
                self._warned.add(what)
                logger.warning("Elasticsearch does not accept our %s: %s", what, failure)
            return False
        return True

    async def _call(self, call: "Callable[[AsyncElasticsearch], Awaitable[T]]") -> T:
        if self._client is None:
            try:
                # In a thread: loading the package and reading certificates take a second.
                self._client = await asyncio.to_thread(self._open)
            except (ValueError, OSError, ImportError) as error:
                raise Failure(f"it cannot be set up: {error}", lasting=True) from error
        from elasticsearch import exceptions

        try:
            return await call(self._client)
        except exceptions.UnsupportedProductError:
            raise Failure("it is not Elasticsearch", lasting=True) from None
        except exceptions.ApiError as error:
            kind = TooLarge if error.status_code == 413 else Failure
            raise kind(sentence(error.body), status=error.status_code) from None
        except exceptions.SerializationError:
            raise Failure("its reply is not JSON") from None
        except exceptions.SSLError as error:
            cause = f"its certificate is not trusted (elasticsearch.ca_certs): {error.message}"
            raise Failure(cause, lasting=True) from None
        except exceptions.TransportError as error:
            raise Failure(f"it cannot be reached: {error.message}") from None

    def _open(self) -> "AsyncElasticsearch":
        from elasticsearch import AsyncElasticsearch

        if self._options.get("verify_certs") is False:
            logger.warning(
                "elasticsearch.verify_certs is false: anybody could impersonate the server"
            )
        node = urlsplit(self.node)
        if node.port is None:
            port = 443 if node.scheme == "https" else 80
            node = node._replace(netloc=f"{node.netloc}:{port}")
        return AsyncElasticsearch(
            node.geturl(), request_timeout=_REQUEST_SECONDS, max_retries=0, **self._options
        )


def sentence(body: Any) -> str:
    """Return the cause of a refused request or document, in one short line.

    Elasticsearch sends an object with an ``error``, itself an object or a text; a proxy in front of
    it sends text or a page.
    """
    error = body.get("error") if isinstance(body, dict) else body
    if isinstance(error, dict):
        return f"{error.get('type')}: {error.get('reason')}"[:_LONGEST_SENTENCE]
    text = _TAG.sub(" ", error) if isinstance(error, str) else ""
    return " ".join(text.split())[:_LONGEST_SENTENCE] or "it refuses without a reason"
