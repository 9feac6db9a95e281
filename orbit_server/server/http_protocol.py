"""uvicorn's side of a connection, with limits on what a client may send and on how slowly."""

import asyncio
import math
import select
import socket
import struct
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ..errors import HeadersTooLarge, InvalidRequest, OrbitError

HEAD_LIMIT = 64 * 1024  # bytes
FIELD_LIMIT = 100
AHEAD_LIMIT = 256 * 1024  # bytes: what one read of a socket brings
HEAD_SECONDS = 20.0
STALL_SECONDS = 30.0
ARRIVAL_SECONDS = 0.5
# The parser cannot be stopped within a piece: it turns all requests in there into objects.
_PIECE = 1024
# Chunks of one byte come with five bytes of framing each.
_FRAMING_OF_A_BYTE = 8
_RESET = struct.pack("ii", 1, 0)


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, for clients that may be hostile.

    **Size.** What is not body may have ``HEAD_LIMIT`` bytes: the head, and once more everything
    between two pieces of the body or behind it (chunk sizes, chunk extensions, trailers). More, or
    a head of more than ``FIELD_LIMIT`` fields, is answered 431. Trailers are dropped: nothing
    behind the head counts as a header. Requests that come while another is answered wait unparsed,
    up to ``AHEAD_LIMIT`` bytes; a client that sends more gets no answer but the one under way.

    **Time.** A connection is closed that has brought no complete head for ``head_seconds``, or that
    still owes the rest of a body so long after its answer; as long as an answer is under way,
    nothing is closed. A client that takes nothing of what waits for it is dropped after
    ``stall_seconds``, at most twice as many.

    Refusals have the JSON body of all errors.
    """

    def __init__(
        self,
        *args: Any,
        head_seconds: float = HEAD_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._head_seconds = head_seconds
        self._stall_seconds = stall_seconds
        self._in_head = True
        self._framing = 0  # bytes since the head began or since the last piece of the body
        self._ahead = b""
        self._holding = False
        self._last_answer = False
        self._stopping = False
        self._active: RequestResponseCycle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread = math.inf
        self._reader_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._set_deadline()
        self._reader_check = self.loop.call_later(self._stall_seconds, self._check_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer, and tell the application: uvicorn tells the newest request only."""
        self._clear_deadline()
        if self._reader_check is not None:
            self._reader_check.cancel()
        if self._active is not None:
            _disconnect(self._active)
        super().connection_lost(exc)

    # -- what the client sends ---------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, unless the client is owed answers already."""
        rest = memoryview(self._ahead + data)
        self._ahead = b""
        while rest and not self._last_answer and not self.transport.is_closing():
            if self.pipeline:
                self._keep_for_later(bytes(rest))
                return
            if self._framing >= HEAD_LIMIT:
                self._refuse(HeadersTooLarge())
                return
            piece = rest[: min(_PIECE, HEAD_LIMIT - self._framing)]
            rest = rest[len(piece) :]
            self._framing += len(piece)
            super().data_received(cast(bytes, piece))
        if self._holding and not self.pipeline:
            self._holding = False
            self.flow.resume_reading()
        # What came may be no head yet, such as a line end: uvicorn's own deadline is off by now.
        if self._in_head and self._deadline is None and not self.transport.is_closing():
            self._set_deadline()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is none."""
        if not self._in_head:
            return
        if len(self.headers) >= FIELD_LIMIT:
            self._refuse(HeadersTooLarge())
            raise HeadersTooLarge  # which stops the parser
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to answer, unless this raises since the URL is none."""
        super().on_headers_complete()
        self._in_head = False
        self._framing = 0
        self._clear_deadline()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, which pays for some framing."""
        self._framing = max(0, self._framing - (1 + _FRAMING_OF_A_BYTE) * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take what follows for the next head."""
        self._in_head = True
        self._framing = 0
        self._clear_deadline()
        super().on_message_complete()

    def _keep_for_later(self, data: bytes) -> None:
        if len(data) <= AHEAD_LIMIT:
            self._ahead, self._holding = data, True
            self.flow.pause_reading()  # until the application waits for its client to leave
        else:
            self._finish_with_this_answer()

    def _finish_with_this_answer(self) -> None:
        self._last_answer = True
        self.pipeline.clear()
        if self._active is not None:
            self._active.keep_alive = False

    # -- what the application answers ----------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        cycle.transport = cast(asyncio.Transport, _HeadWithBody(self.transport, self.loop))
        self._unread = math.inf
        if self._stopping:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on to what waits: the next request, or the rest of a body nobody wanted to read."""
        self._unread = math.inf
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._stopping:
            self._close_soon()
        if self._holding:
            self.flow.pause_reading()  # which uvicorn has just ended
            if not self.pipeline:
                self.loop.call_soon(self.data_received, b"")
        if not self._in_head:
            self._set_deadline()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection that has brought nothing: a busy loop may not have read yet."""
        if not self.transport.is_closing() and not _has_arrived(self.transport):
            self.transport.close()

    def shutdown(self) -> None:
        """Let the answer under way end; a client that was not told of the end may ask once more."""
        self._stopping = True
        if not self._answering():
            self._close_soon()
        elif not self.cycle.response_started:
            super().shutdown()  # its head says so

    def _close_soon(self) -> None:
        # A request may be on the way already; to close now would be a reset, not an answer.
        self.loop.call_later(ARRIVAL_SECONDS, self._close_unless_asked)

    def _close_unless_asked(self) -> None:
        if self.transport.is_closing() or self._answering():
            return
        if _has_arrived(self.transport):
            self._close_soon()  # a busy loop comes here before it reads
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(InvalidRequest(msg))

    def _refuse(self, error: OrbitError) -> None:
        """Answer ``error`` and close; in the midst of an answer, without adding to it."""
        if self.transport.is_closing():
            return
        if self._in_head and self._answering():
            self._finish_with_this_answer()
            return
        if self._in_head or not self.cycle.response_started:
            if not self._in_head:
                _disconnect(self.cycle)  # the application waits for a body that does not come
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

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: curl asks for HTTP/2 in this way, and is answered as everybody is."""

    # -- how long it may take ------------------------------------------------------------------

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(self._head_seconds, self._overdue)

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

    def resume_writing(self) -> None:
        """Let the application write again: the client reads."""
        self._unread = math.inf
        super().resume_writing()

    def _check_reader(self) -> None:
        """Drop a client that takes nothing: to close would wait for it for ever.

        What waits for it is compared only while nothing is added.
        """
        unread = self.transport.get_write_buffer_size()
        idle = not self._answering() or self.flow.write_paused or self.transport.is_closing()
        if idle and 0 < self._unread <= unread:
            # With a reset: what the kernel has taken over would wait on, megabytes of it.
            if (connection := self.transport.get_extra_info("socket")) is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
            return
        self._unread = unread or math.inf
        self._reader_check = self.loop.call_later(self._stall_seconds, self._check_reader)


def _has_arrived(transport: asyncio.Transport) -> bool:
    """Tell whether there is something to read that the loop has not read yet."""
    arrived = select.poll()
    arrived.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(arrived.poll(0))


class _HeadWithBody:
    """The transport of one answer, on which its head goes out together with what follows at once.

    Two writes are two packets, for each of which the client wakes, and two records of TLS. What the
    application has no body for yet leaves before the loop turns to anything new.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._begun = False
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun, self._head = True, data
            self._loop.call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)  # of "writelines", TLS makes two records
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)


def _disconnect(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
    cycle.message_event.set()
