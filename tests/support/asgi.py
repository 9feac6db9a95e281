"""Drive an ASGI application in this process, as the server and the client at once.

No client library can express what is tested with it: a client that leaves while its body is read or
in the middle of the response, one that stops reading, a second reader of ``receive``. What it does
with a message is what uvicorn does, except that it fails where uvicorn would only go wrong.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

Fields = Sequence[tuple[str, str | bytes]]


@dataclass(slots=True)
class Result:
    """What reached the client; ``times`` are seconds since the request, one for each message."""

    messages: list[Message] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        """The status, or ``None`` when no response was started."""
        return self.messages[0].get("status") if self.messages else None

    @property
    def headers(self) -> Headers:
        """The headers of the response, by name in any case."""
        return Headers(raw=self.messages[0].get("headers", []) if self.messages else [])

    @property
    def body(self) -> bytes:
        """All of the body that arrived."""
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def complete(self) -> bool:
        """Whether the response came to its end."""
        return bool(self.messages) and not self.messages[-1].get("more_body", True)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """One request and whoever sent it; ``receive`` and ``send`` are what the application is given.

    It leaves when ``leave`` is called, or by itself: once ``disconnect_after_chunks`` chunks of the
    body were read, or after ``disconnect_after`` messages of the response. What is sent to a client
    that left is dropped. With ``slow_after`` messages taken it takes no more until ``go_on``;
    ``stuck`` is set when one waits. ``calls`` are made when so many messages were taken.
    """

    def __init__(
        self,
        scope: Scope,
        body: Sequence[bytes] = (b"",),
        *,
        disconnect_after: int | None = None,
        disconnect_after_chunks: int | None = None,
        slow_after: int | None = None,
    ) -> None:
        self.scope = scope
        self.result = Result()
        self.readers = 0
        self.left = False
        self._chunks = list(body)[:disconnect_after_chunks]
        self._whole = len(self._chunks) == len(body)
        self._leaves_by_itself = disconnect_after_chunks is not None
        self._disconnect_after = disconnect_after
        self._slow_after = slow_after
        self.calls: dict[int, Callable[[], object]] = {}
        self.stuck = asyncio.Event()
        self._over = asyncio.Event()
        self._patient = asyncio.Event()
        self._started = time.perf_counter()

    def leave(self) -> None:
        """Close the connection."""
        self.left = True
        self._over.set()
        self._patient.set()

    def go_on(self) -> None:
        """Take messages again."""
        self._slow_after = None
        self._patient.set()

    async def receive(self) -> Message:
        """Return the next chunk of the body, or wait for the end of the connection."""
        assert self.readers == 0, "two readers of receive at once"
        self.readers += 1
        try:
            await asyncio.sleep(0)  # as from a socket, so that readers can overlap
            if self._chunks and not self.left:
                chunk = self._chunks.pop(0)
                more = bool(self._chunks) or not self._whole
                return {"type": "http.request", "body": chunk, "more_body": more}
            if self._leaves_by_itself:
                self.leave()
            await self._over.wait()
            return {"type": "http.disconnect"}
        finally:
            self.readers -= 1

    async def send(self, message: Message) -> None:
        """Take one message of the response; fail for one that is out of order."""
        taken = self.result.messages
        if self._slow_after is not None and len(taken) >= self._slow_after:
            self.stuck.set()
            await self._patient.wait()
        if self.left:
            return
        kind = message["type"].removeprefix("websocket.")
        if kind == "http.response.body":
            assert taken and not self.result.complete, "a body outside of a response"
        else:
            assert not taken, "a second start of the response"
        if self.scope.get("method") == "HEAD" and "body" in message:
            message = {**message, "body": b""}
        if kind == "http.response.body":
            message = {**message, "more_body": message.get("more_body", False)}
        taken.append(dict(message))
        self.result.times.append(time.perf_counter() - self._started)
        if self.result.complete:
            self._over.set()
        if len(taken) == self._disconnect_after:
            self.leave()
        if (call := self.calls.get(len(taken))) is not None:
            call()

    async def run(self, app: ASGIApp) -> Result:
        """Let ``app`` answer; fail when something still reads ``receive`` afterwards."""
        await app(self.scope, self.receive, self.send)
        assert self.readers == 0, "a reader of receive was left behind"
        return self.result


def scope(
    method: str = "GET",
    path: str = "/",
    headers: Fields = (),
    *,
    kind: str = "http",
    client: tuple[str, int] | None = ("192.0.2.1", 50000),
) -> Scope:
    """Return the scope of a request; header names are sent in lower case, as servers do."""
    path, _, query = path.partition("?")
    fields = [
        (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers
    ]
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": fields,
        "client": client,
        "server": ("127.0.0.1", 3000),
        **({"method": method} if kind == "http" else {"subprotocols": []}),
    }


async def call(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    headers: Fields = (),
    body: Sequence[bytes] = (b"",),
    *,
    kind: str = "http",
    client: tuple[str, int] | None = ("192.0.2.1", 50000),
    disconnect_after: int | None = None,
    disconnect_after_chunks: int | None = None,
) -> Result:
    """Send one request to ``app`` and return what came back; see ``Client`` for the options."""
    return await Client(
        scope(method, path, headers, kind=kind, client=client),
        body,
        disconnect_after=disconnect_after,
        disconnect_after_chunks=disconnect_after_chunks,
    ).run(app)
