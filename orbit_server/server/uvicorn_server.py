"""uvicorn's server with draining, reload and a second port."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ..config.loader import Config
from .http_protocol import ARRIVAL_SECONDS, LimitedProtocol
from .signals import ECHO_SECONDS

logger = logging.getLogger(__name__)

Take = Callable[[socket.socket], Awaitable[object]]

_FORCED_SECONDS = 4.0
_HANDSHAKE_SECONDS = 10.0
_BYE_SECONDS = 2.0
_SLOW_SECONDS = 5.0


class Server(uvicorn.Server):
    """Serves ``app`` on ``sockets``, and ``plain_app`` without TLS on ``plain_sockets``.

    ``handle_exit`` stops it: nothing new is accepted, what is under way may finish. A second one
    calls ``expire``, which has to end what is under way; with ``patient`` only ``stop_now()`` does.
    ``reload()`` calls ``reload``. ``ready`` is called once it listens, ``stopping`` when it ends.

    uvicorn ends the process by the signal that has stopped it; this one returns from ``serve``, so
    that services are closed and logs written.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: dict[str, Any],
        *,
        expire: Callable[[], None],
        reload: Callable[[], Awaitable[None]],
        ready: Callable[[], None],
        stopping: Callable[[], None],
        patient: bool = False,
        plain_app: ASGIApp | None = None,
        plain_sockets: Sequence[socket.socket] = (),
    ) -> None:
        super().__init__(uvicorn.Config(app, lifespan="off", **settings))
        self.stopped_by: int | None = None
        self._asked_at = 0.0
        self._expire = expire
        self._reload = reload
        self._ready = ready
        self._stopping = stopping
        self._patient = patient
        self._plain_app = plain_app
        self._plain_sockets = plain_sockets
        self._plain_settings = {
            name: settings[name] for name in settings if not name.startswith("ssl_")
        }
        self._reloading: asyncio.Task[None] | None = None
        self._outdated = False
        self._accepting: list[tuple[socket.socket, Take]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and call ``ready``."""
        self.servers = []
        for listener in sockets or []:
            await self._listen(listener, self.config)
        if self._plain_app is not None:
            plain = uvicorn.Config(self._plain_app, lifespan="off", **self._plain_settings)
            plain.load()
            for listener in self._plain_sockets:
                await self._listen(listener, plain)
        self.started = True
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, and wait for what is under way."""
        self._stopping()
        abandoning = asyncio.create_task(self._abandon_the_slow())
        await self._stop_accepting()
        await super().shutdown([*(sockets or []), *self._plain_sockets])
        abandoning.cancel()
        # Out of time, answers still say so to their readers and to the log.
        if self.force_exit and self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_FORCED_SECONDS)
            for task in self.server_state.tasks:
                task.cancel()

    def stop_now(self) -> None:
        """Stop without waiting."""
        self.handle_exit(signal.SIGTERM, None)
        self.force_exit = True
        self._expire()

    def reload(self) -> None:
        """Begin to reload; once more, if that is just being done."""
        self._outdated = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload_until_current())

    async def _reload_until_current(self) -> None:
        while self._outdated:
            self._outdated = False
            await self._reload()

    async def _abandon_the_slow(self) -> None:
        """Drop connections when every answer was made, and some are still not taken."""
        since = time.monotonic()
        while time.monotonic() - since < _SLOW_SECONDS:
            await asyncio.sleep(0.1)
            if self.server_state.tasks:
                since = time.monotonic()
        for connection in list(self.server_state.connections):
            if transport := getattr(connection, "transport", None):
                transport.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; at a second one, at once."""
        now = time.monotonic()
        again = self.should_exit and now - self._asked_at > ECHO_SECONDS
        if not self.should_exit:
            self._asked_at = now
        # This is the method of uvicorn that sse-starlette puts its own in front of: the streams
        # learn from there that the server stops.
        super().handle_exit(signal.SIGTERM, frame)
        if again and not self._patient:
            self.stopped_by = sig
            self.force_exit = True
            self._expire()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process around this server, since some come before or after it."""
        yield

    async def _listen(self, listener: socket.socket, config: uvicorn.Config) -> None:
        def protocol() -> asyncio.Protocol:
            return LimitedProtocol(config=config, server_state=self.server_state, app_state={})

        # asyncio gives a silent client a minute for its handshake, and a stop would wait half a
        # minute for the farewell of each one that has lost its network.
        seconds = (_HANDSHAKE_SECONDS, _BYE_SECONDS) if config.ssl else (None, None)
        tls: dict[str, Any] = {
            "ssl": config.ssl,
            "ssl_handshake_timeout": seconds[0],
            "ssl_shutdown_timeout": seconds[1],
        }
        loop = asyncio.get_running_loop()
        self.servers.append(
            await loop.create_server(protocol, sock=listener, backlog=config.backlog, **tls)
        )
        self._accepting.append((listener, partial(loop.connect_accepted_socket, protocol, **tls)))

    async def _stop_accepting(self) -> None:
        """Stop to listen, and take over who has connected by now: a close would reset them."""
        taken = []
        for server, (listener, take) in zip(self.servers, self._accepting, strict=True):
            with contextlib.suppress(OSError):  # there is nobody more
                while True:
                    connection, _ = listener.accept()
                    taken.append(take(connection))
            server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await asyncio.gather(*taken, return_exceptions=True)


def uvicorn_settings(config: Config) -> dict[str, Any]:
    """Return uvicorn's own settings. Its access log would show paths, and keys stand in some."""
    return {
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "http": LimitedProtocol,
        "ws": "none",
        "timeout_graceful_shutdown": int(config.general.drain_seconds) + 5,
    }
