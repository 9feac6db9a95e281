"""One record for every request: what it was, how it ended, how long it took."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._scope import Network, client_address, header_values, route_template, shared_state

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def new_request_id() -> str:
    """Return 32 random hexadecimal characters."""
    return secrets.token_hex(16)


class RequestLogMiddleware:
    """Give every request an id and hand one record to ``emit`` when its response has ended.

    The id comes from the request's ``X-Request-ID`` where that is short and plain, else from
    ``new_id``; it is left in ``state["request_id"]`` and sent back as ``X-Request-ID``. The
    client's address, seen through ``trusted_proxies``, is left in ``state["client"]``, the socket's
    peer in ``state["peer"]``.

    ``state["send_body"]`` is the way to the client from here on. A stream may send its body by it
    once its head has gone through all layers: those between this one and the stream look at heads
    only, and each would cost every piece of the stream.

    The record: ``request_id, method, route`` (the template, never the path: a path may hold a
    secret), ``status, bytes, first_byte_ms, duration_ms, outcome, client, key_id, error, refused``.
    ``outcome`` is ``completed`` when the last body message went out, ``disconnected`` when it never
    did, ``failed`` for an exception other than ``ClientDisconnect``, a status of 500 and above, or
    when a layer below left a code in ``state["error"]``. ``refused`` is the rule or limit, if any,
    that one left in ``state["refused"]``. The clock stops at the last body message,
    not after background tasks.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        emit: Callable[[dict[str, Any]], None],
        trusted_proxies: Sequence[Network] = (),
        new_id: Callable[[], str] = new_request_id,
    ) -> None:
        self.app = app
        self.emit = emit
        self.trusted_proxies = tuple(trusted_proxies)
        self.new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # A dictionary of this request's own: a host's lifespan state may use the same names, and a
        # server that hands every request the same dictionary would mix callers up.
        scope["state"] = {**scope.get("state", {}), "caller": None, "error": None}
        state = shared_state(scope)
        request_id = state["request_id"] = self._request_id(scope)
        state["client"] = client_address(scope, self.trusted_proxies)
        state["peer"] = client_address(scope, ())
        started = time.perf_counter()
        status = 0
        sent = 0
        first_byte: float | None = None
        ended: float | None = None

        async def send_and_measure(message: Message) -> None:
            nonlocal status, sent, first_byte, ended
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                await send(message)
                sent += len(body)
                if body and first_byte is None:
                    first_byte = time.perf_counter()
                if not message.get("more_body", False):
                    ended = time.perf_counter()
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        state["send_body"] = send_and_measure
        raised = False
        try:
            await self.app(scope, receive, send_and_measure)
        except ClientDisconnect:
            raise
        except BaseException:
            raised = True
            status = status or 500
            raise
        finally:
            error = state.get("error")
            if raised or status >= 500 or error:
                outcome = "failed"
            else:
                outcome = "completed" if ended else "disconnected"
            self.emit(
                {
                    "request_id": request_id,
                    "method": scope["method"],
                    "route": route_template(scope),
                    "status": status or None,
                    "bytes": sent,
                    "first_byte_ms": _milliseconds(started, first_byte),
                    "duration_ms": _milliseconds(started, ended or time.perf_counter()),
                    "outcome": outcome,
                    "client": state["client"],
                    "key_id": getattr(state.get("caller"), "id", None),
                    "error": error,
                    "refused": state.get("refused"),
                }
            )

    def _request_id(self, scope: Scope) -> str:
        for value in header_values(scope, b"x-request-id"):
            if 0 < len(value) <= 128 and _ID_CHARACTERS.issuperset(value):
                return value
        return self.new_id()


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 1)
