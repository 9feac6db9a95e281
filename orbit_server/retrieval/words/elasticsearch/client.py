"""Requests to the Elasticsearch that holds the words, over connections that are kept.

Plain JSON of no version, which Elasticsearch 8 and 9 take; a third of the processor time that its
own package needs, and that is paid with every question.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from ....errors import NotStarted, SearchError
from ...http import HttpConnections, NoHttp, Reply
from ..errors import WordsUnavailable

logger = logging.getLogger(__name__)

_SECONDS = 30.0
_LONGEST_REASON = 300
_FIRST_REST, _LONGEST_REST = 1.0, 8.0
_BUSY = {408, 429}


class Answer(NamedTuple):
    """A status, and the JSON that came with it."""

    status: int
    body: Any


class ElasticsearchClient:
    """The Elasticsearch at ``node``; opening it sends nothing, so that it may start later.

    What it does not answer, or answers with nonsense, raises ``WordsUnavailable`` and is said once,
    until it answers again; ``cause`` is empty as long as it does. What it refuses for its content
    raises ``SearchError``. A question waits for ``question_seconds`` at most, and for a while not
    at all where others have waited in vain.
    """

    def __init__(
        self,
        node: str,
        *,
        authorization: str | None = None,
        ca_certs: str | None = None,
        verify_certs: bool = True,
        question_seconds: float = 0.3,
    ) -> None:
        self.node = node
        self.cause = ""
        url = urlsplit(node)
        self._tls = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._tls else 80)
        self._path = url.path.rstrip("/")
        self._headers = {"Host": url.netloc, "Accept": "application/json"}
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._ca_certs, self._verify_certs = ca_certs, verify_certs
        self._question_seconds = question_seconds
        self._rest, self._resting_until = 0.0, 0.0
        self._connections: HttpConnections | None = None

    async def open(self) -> None:
        """Make ready. Raises ``SearchError`` where ``ca_certs`` cannot be used."""
        try:
            tls = await asyncio.to_thread(self._context) if self._tls else None
        except (OSError, ValueError) as error:
            raise SearchError(f"elasticsearch.ca_certs: cannot be used: {error}") from error
        self._connections = HttpConnections(self._host, self._port, headers=self._headers, tls=tls)

    def close(self) -> None:
        """Close all connections."""
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Bound the time of what a question waits for, which is none while others waited in vain.

        Raises ``WordsUnavailable``.
        """
        if asyncio.get_running_loop().time() < self._resting_until:
            raise WordsUnavailable(self.cause)
        try:
            async with asyncio.timeout(self._question_seconds):
                yield
        except TimeoutError:
            raise self._failed(f"no answer within {self._question_seconds:g} s") from None

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        lines: bytes | None = None,
        expected: Collection[int] = (),
    ) -> Answer:
        """Send ``body`` as JSON, or ``lines`` of JSON; return the answer.

        Statuses from 300 on raise, but for those that are ``expected``.
        """
        if self._connections is None:
            raise NotStarted("The word index is used outside its `async with`.")
        kind = "application/x-ndjson" if lines is not None else "application/json"
        data = lines if lines is not None else b"" if body is None else orjson.dumps(body)
        try:
            reply = await self._connections.request(
                method,
                f"{self._path}{path}",
                data,
                seconds=_SECONDS,
                headers={"Content-Type": kind} if data else None,
            )
        except TimeoutError:
            raise self._failed("it does not answer in time") from None
        except (OSError, NoHttp) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise self._failed(f"it cannot be reached: {reason}") from None
        return self._answer(reply, expected)

    def refused(self, status: int, body: Any) -> SearchError:
        """Return the error for an answer that says that something failed."""
        reason = self._without_secret(_reason(body))
        if status >= 500 or status in _BUSY or status in (401, 403):
            return self._failed(f"{reason} (status {status})")
        return SearchError(f"Elasticsearch at {self.node} refuses (status {status}): {reason}")

    def damaged(self) -> WordsUnavailable:
        """Return the error for an answer in another form than Elasticsearch gives it."""
        return self._failed("its reply is not one of Elasticsearch")

    def _answer(self, reply: Reply, expected: Collection[int]) -> Answer:
        try:
            body = orjson.loads(reply.body) if reply.body else None
        except orjson.JSONDecodeError:
            body = reply.body.decode(errors="replace")
        if reply.status >= 300 and reply.status not in expected:
            raise self.refused(reply.status, body)
        if isinstance(body, str):
            raise self.damaged()
        if self.cause:
            logger.warning("Elasticsearch at %s answers again: words are searched", self.node)
        self.cause, self._rest = "", 0.0
        return Answer(reply.status, body)

    def _failed(self, cause: str) -> WordsUnavailable:
        if not self.cause:
            logger.warning(
                "questions are answered by meaning alone while Elasticsearch at %s fails: %s",
                self.node,
                cause,
            )
        self.cause = cause
        self._rest = min(_LONGEST_REST, 2 * self._rest) or _FIRST_REST
        self._resting_until = asyncio.get_running_loop().time() + self._rest
        return WordsUnavailable(f"Words cannot be searched at {self.node}: {cause}")

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_certs)
        if not self._verify_certs:
            logger.warning(
                "elasticsearch.verify_certs is false: anybody could impersonate the server"
            )
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _without_secret(self, text: str) -> str:
        secret = self._headers.get("Authorization", "").rpartition(" ")[2]
        return text.replace(secret, "[secret]") if secret else text


def _reason(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else body
    if isinstance(error, dict):
        return f"{error.get('type')}: {error.get('reason')}"[:_LONGEST_REASON]
    return " ".join(str(error or "").split())[:_LONGEST_REASON] or "no reason given"
