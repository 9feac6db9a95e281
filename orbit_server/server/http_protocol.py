"""uvicorn's side of a connection, with limits on how large and how slow a request may be."""

import asyncio
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ..errors import HeadersTooLarge, InvalidRequest, OrbitError

HEAD_LIMIT = 64 * 1024
HEAD_SECONDS = 20.0
ARRIVAL_SECONDS = 0.5


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, for clients that may be hostile.

    A request line with headers over ``HEAD_LIMIT`` bytes is answered 431. A connection is closed
    that has brought no complete head for ``HEAD_SECONDS``, or that still owes the rest of a body so
    long after its answer; as long as an answer is under way, nothing is closed. Refusals have the
    JSON body of all errors.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on what arrived, of a head never more than is allowed."""
        while data and not self.transport.is_closing():
            allowed = HEAD_LIMIT - self._head_bytes if self._in_head else len(data)
            if allowed <= 0:
                self._refuse(HeadersTooLarge())
                return
            part, data = data[:allowed], data[allowed:]
            self._head_bytes += len(part)
            super().data_received(part)
        # What came may be no head yet, such as a line end: uvicorn's own deadline is off by now.
        if self._in_head and self._deadline is None and not self.transport.is_closing():
            self._set_deadline()

    def on_headers_complete(self) -> None:
        """Start to answer."""
        self._in_head = False
        self._clear_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take what follows for the next head."""
        self._in_head = True
        self._head_bytes = 0
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that nobody wanted to read."""
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._set_deadline()

    def shutdown(self) -> None:
        """Let the answer under way end; a client that has just come may still ask."""
        if cast(Any, self.cycle) is None:
            # Its request may be on the way already; to close now would be a reset, not an answer.
            self.loop.call_later(ARRIVAL_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(InvalidRequest(msg))

    def _refuse(self, error: OrbitError) -> None:
        if not self._answering():  # else these bytes would end up in the midst of an answer
            body = orjson.dumps(error.body())
            fields = [
                *self.server_state.default_headers,
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
            self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + body)
        self.transport.close()

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._overdue)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _overdue(self) -> None:
        self._deadline = None
        if self._answering():
            self._set_deadline()
        elif not self.transport.is_closing():
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete
