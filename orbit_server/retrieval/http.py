"""HTTP/1.1 to one server, over connections that are kept: a quarter of the time of a whole client.

A question costs two short requests to a server that is known, and each of its milliseconds counts.
There are no redirects, proxies, cookies or compressed replies.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

import httptools

NoHttp = httptools.HttpParserError  # what a reply is that is no HTTP

_IDLE_SECONDS = 15.0  # after that a firewall may have forgotten the connection
_MOST_IDLE = 32


class Reply(NamedTuple):
    """The status and the body of a whole reply."""

    status: int
    body: bytes


class ConnectTimeout(TimeoutError):
    """The server takes no connection."""


class HttpConnections:
    """Requests to ``host`` and ``port``, as many at once as are made, each on its own connection.

    ``tls`` is for HTTPS. ``headers`` go with every request; ``ValueError`` for one that is none.
    ``connect_seconds`` is for a new connection at most. Used on one event loop.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        connect_seconds: float = 3.0,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connect_seconds = connect_seconds
        self._head = _lines(headers)
        self._idle: list[_Connection] = []
        self._open = True

    def close(self) -> None:
        """Close the connections that are not in use, and the others when they are done."""
        self._open = False
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the reply. ``target`` is quoted; ``seconds`` are for all of the exchange.

        Raises ``ConnectTimeout``, ``TimeoutError``, ``OSError`` when the connection fails, and
        ``NoHttp``. Nothing goes on after a cancellation.
        """
        head = f"{method} {target} HTTP/1.1\r\n{self._head}{_lines(headers or {})}"
        data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        async with asyncio.timeout(seconds):
            while (connection := self._kept()) is not None:
                try:
                    return await self._exchange(connection, data)
                except ConnectionError:
                    # The server closed it while it was idle, before it saw the request.
                    if connection.replied:
                        raise
            return await self._exchange(await self._connected(seconds), data)

    async def _exchange(self, connection: "_Connection", data: bytes) -> Reply:
        try:
            reply = await connection.exchange(data)
        except BaseException:
            connection.close()
            raise
        if self._open and connection.is_open and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _kept(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_seconds < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connected(self, seconds: float) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(seconds, self._connect_seconds)):
                _, connection = await loop.create_connection(
                    _Connection, self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            raise ConnectTimeout from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection, on which one exchange follows the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._body: list[bytes] = []
        self._idle_since = 0.0
        self.replied = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def idle_seconds(self) -> float:
        return self._loop.time() - self._idle_since

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, data: bytes) -> Reply:
        """Send a request and return its reply; ``replied`` tells whether any of it came."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        self.replied = False
        self._reply = self._loop.create_future()
        self._transport.write(data)
        try:
            return await self._reply
        finally:
            self._reply = None

    # -- what asyncio calls ------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._reply is None:  # nobody has asked
            self.close()
            return
        self.replied = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(exc or ConnectionResetError("the connection was closed"))

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    # -- what httptools calls ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._reply is None or self._reply.done():
            self.close()  # a second reply, which would be taken for that to the next request

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body, status = b"".join(self._body), self._parser.get_status_code()
        self._body.clear()
        if self._reply is None or self._reply.done():
            return
        if status < 200:  # "100 Continue" and the like come before the reply
            return
        self._idle_since = self._loop.time()
        self._reply.set_result(Reply(status, body))
        if not self._parser.should_keep_alive():
            self.close()


def _lines(headers: Mapping[str, str]) -> str:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if any(character in line for line in lines for character in "\r\n\0"):
        raise ValueError("A header may not contain the end of a line.")
    return "".join(f"{line}\r\n" for line in lines)
