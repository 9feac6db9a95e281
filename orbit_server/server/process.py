"""One process that serves: from opening the services to the last line of the log."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from ..api.https_redirect import redirect_app
from ..app import create_app
from ..config.loader import Config
from ..safety import SafetyRules
from ..services import Services
from .reload import reload
from .supervisor import DRAIN, RELOAD, STOP, Parent
from .uvicorn_server import Server, uvicorn_settings

if TYPE_CHECKING:
    from .certificate import Certificate


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a process works with, whatever the files say by now.

    ``rules`` and ``pair`` (PEM of certificate chain and key) are read where they are ``None``.
    """

    config: Config
    rules: SafetyRules | None = None
    pair: tuple[bytes, bytes] | None = None


Load = Callable[[], Config]
Prepare = Callable[[Services, str], Awaitable[str]]


async def answer(
    accepted: Accepted,
    again: Load,
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[str], None],
    alive: Callable[[], None],
    stopping: Callable[[], None] = lambda: None,
    prepare: Prepare | None = None,
    parent: Parent | None = None,
) -> int:
    """Open the services and answer requests until told to stop; the exit code.

    ``ready`` gets a banner once the server listens; ``alive`` is called every second, as long as
    the event loop is not held up; ``stopping`` when the end begins.
    """
    config = accepted.config
    with caught_signals() as signals:
        if parent is not None:
            parent.follow({DRAIN: signals.stop, STOP: signals.hurry, RELOAD: signals.reload})
        certificate = load_certificate(config, accepted.pair)
        settings = uvicorn_settings(config)
        if certificate is not None:
            settings["ssl_context_factory"] = lambda *_: certificate.context
        services = Services(
            config, address=address(config), certificate=certificate, rules=accepted.rules
        )
        try:
            async with beating(alive), services:
                banner = f"ORBIT server answers at {address(config)}"
                if prepare is not None:
                    banner = await prepare(services, address(config))
                app = create_app(services=services)
                listener, *plain = sockets
                server = Server(
                    app,
                    settings,
                    hurry=app.state.shutdown.expire,
                    reload=partial(reload, services, again),
                    ready=partial(ready, banner),
                    stopping=stopping,
                    patient=parent is not None,
                    plain_app=redirect_app(config) if plain else None,
                    plain_sockets=plain,
                )
                with signals.handled_by(server):
                    await server.serve(sockets=[listener])
        except asyncio.CancelledError:
            if signals.cancelled_by is None:
                raise
            if signals.served:
                return 128 + signals.cancelled_by
            if signals.cancelled_by == signal.SIGINT:
                raise KeyboardInterrupt from None
            return 0
        return 128 + server.stopped_by if server.stopped_by else 0


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run ``work`` in the fastest loop there is; its result, or the code it was stopped with."""
    loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work)


@contextlib.asynccontextmanager
async def beating(alive: Callable[[], None]) -> AsyncIterator[None]:
    """Call ``alive`` every second while the block lasts."""

    async def beat() -> None:
        while True:
            alive()
            await asyncio.sleep(1)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


class Signals:
    """What a process is told, by signals or by its parent, at any moment of its life.

    Before there is a server, to stop is to give up, and a reload is put off. While it serves, it is
    told itself. Afterwards, a stop is a second one: the closing of the services is not waited for.
    """

    def __init__(self) -> None:
        self.cancelled_by: int | None = None
        self.served = False
        self._server: Server | None = None
        self._outdated = False
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def handled_by(self, server: Server) -> Iterator[None]:
        """Pass everything on to ``server`` while the block lasts."""
        self._server, self.served = server, True
        if self._outdated:
            server.reload()
        try:
            yield
        finally:
            self._server = None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop, when what is under way is finished; a signal handler may call it."""
        if self._server is not None:
            self._server.handle_exit(number, None)
        else:
            self._loop.call_soon_threadsafe(self._give_up, number)

    def _give_up(self, number: int) -> None:
        if self._server is not None:  # by now
            self._server.handle_exit(number, None)
        elif self._task is not None:
            self.cancelled_by = number
            self._task.cancel()

    def hurry(self) -> None:
        """Stop at once."""
        if self._server is not None:
            self._server.hurry_up()
        else:
            self.stop()

    def reload(self) -> None:
        """Take up the configuration anew."""
        self._outdated = True
        if self._server is not None:
            self._server.reload()


@contextlib.contextmanager
def caught_signals() -> Iterator[Signals]:
    """Handle signals while the block lasts; yields what does it, for others to call."""
    signals = Signals()
    loop = asyncio.get_running_loop()

    def caught(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            loop.call_soon_threadsafe(signals.reload)
        else:
            signals.stop(number)

    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in handled:
        signal.signal(number, caught)
    try:
        yield signals
    finally:
        # What comes now is too late to change anything, least of all the exit code.
        for number in handled:
            signal.signal(number, signal.SIG_IGN)


def load_certificate(
    config: Config, accepted: tuple[bytes, bytes] | None = None
) -> "Certificate | None":
    """Return the certificate of HTTPS, ``None`` where it is off.

    ``accepted`` is shown as long as the files cannot be used; without it that is a ``ConfigError``.
    """
    https = config.general.https
    if not https.enabled:
        return None
    from .certificate import Certificate  # loads a large library

    return Certificate(Path(https.cert_file), Path(https.key_file), accepted=accepted)


def address(config: Config) -> str:
    """Return the URL at which this machine reaches the server."""
    general = config.general
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(general.host, general.host)
    if ":" in host:
        host = f"[{host}]"
    if general.https.enabled:
        return f"https://{host}:{general.https.port}"
    return f"http://{host}:{general.port}"
