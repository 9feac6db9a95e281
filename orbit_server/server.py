"""uvicorn's server with the manners of a service: how it listens, and what signals mean to it."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from .config import Config
from .protocol import LimitedProtocol
from .workers import ECHO_SECONDS

logger = logging.getLogger(__name__)

_TICK = 1.0
_FORCED_SECONDS = 4.0


class Server(uvicorn.Server):
    """Serves ``app`` on ``sockets``, and ``plain_app`` without TLS on ``plain_sockets``.

    SIGTERM and SIGINT stop it: nothing new is accepted, and what is under way may finish. A second
    one calls ``hurry``, which has to end what is under way; with ``patient`` only ``hurry_up()``
    does. SIGHUP calls ``reload``. ``ready`` is called once it listens, ``alive`` every second.

    uvicorn ends the process by the signal that has stopped it; this one returns from ``serve``, so
    that services are closed and logs written.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: dict[str, Any],
        *,
        hurry: Callable[[], None],
        reload: Callable[[], Awaitable[None]],
        ready: Callable[[], None],
        alive: Callable[[], None],
        patient: bool = False,
        plain_app: ASGIApp | None = None,
        plain_sockets: Sequence[socket.socket] = (),
    ) -> None:
        async def tick() -> None:
            alive()

        notify: dict[str, Any] = {"callback_notify": tick, "timeout_notify": _TICK}
        super().__init__(uvicorn.Config(app, lifespan="off", **settings, **notify))
        self.stopped_by: int | None = None
        self._asked_at = 0.0
        self._hurry = hurry
        self._reload = reload
        self._ready = ready
        self._patient = patient
        self._plain_app = plain_app
        self._plain_sockets = plain_sockets
        self._settings = {name: settings[name] for name in settings if not name.startswith("ssl_")}
        self._reloading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        if self._plain_app is not None:
            await self._listen_plainly(uvicorn.Config(self._plain_app, **self._settings))
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, and wait for what is under way."""
        await super().shutdown([*(sockets or []), *self._plain_sockets])
        # Told to hurry, answers still say so to their readers and to the log.
        if self.force_exit and self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_FORCED_SECONDS)
            for task in self.server_state.tasks:
                task.cancel()

    def stop(self) -> None:
        """Accept nothing new, and return from ``serve`` when all is finished."""
        self.handle_exit(signal.SIGTERM, None)

    def hurry_up(self) -> None:
        """Stop, and wait for nobody."""
        self.stop()
        self.force_exit = True
        self._hurry()

    def reload(self) -> None:
        """Begin to take up the configuration anew, unless that is being done."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(self._reload())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; at a second one, at once."""
        before, self._asked_at = self._asked_at, time.monotonic()
        again = self.should_exit and self._asked_at - before > ECHO_SECONDS
        # This is the method of uvicorn that sse-starlette puts its own in front of: the streams
        # learn from there that the server stops.
        super().handle_exit(signal.SIGTERM, frame)
        if again and not self._patient:
            self.stopped_by = sig
            self.force_exit = True
            self._hurry()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP while serving, and give them back afterwards."""
        loop = asyncio.get_running_loop()

        def hang_up(sig: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.reload)

        handlers = {
            signal.SIGINT: self.handle_exit,
            signal.SIGTERM: self.handle_exit,
            signal.SIGHUP: hang_up,
        }
        before = {sig: signal.signal(sig, handler) for sig, handler in handlers.items()}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    async def _listen_plainly(self, config: uvicorn.Config) -> None:
        config.load()

        def protocol() -> asyncio.Protocol:
            return LimitedProtocol(config=config, server_state=self.server_state, app_state={})

        loop = asyncio.get_running_loop()
        for listener in self._plain_sockets:
            server = await loop.create_server(protocol, sock=listener, backlog=config.backlog)
            self.servers.append(server)


def uvicorn_settings(config: Config) -> dict[str, Any]:
    """Return uvicorn's own settings. Its access log would show paths, and keys stand in some."""
    return {
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "http": LimitedProtocol,
        "timeout_graceful_shutdown": int(config.general.drain_seconds) + 5,
    }
