"""One process that serves: from opening the services to the last line of the log."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from ..api.https_redirect import redirect_app
from ..app import create_app
from ..auth.shared_limiter import SharedLimiter
from ..config.loader import Config
from ..safety import SafetyRules
from ..services import Services
from .reload import reload
from .signals import caught_signals
from .sockets import address, listening
from .systemd import SystemdNotifier
from .uvicorn_server import Server, uvicorn_settings
from .worker_link import DRAIN, RELOAD, STOP, Parent

if TYPE_CHECKING:
    from .certificate import Certificate


@dataclass(frozen=True, slots=True)
class Accepted:
    """Configuration, rules and certificate to start with, instead of re-reading files.

    ``rules`` and ``pair`` (PEM of certificate chain and key) are read where they are ``None``.
    ``workers`` is how many processes serve; then ``limits`` is the socket where they are counted.
    """

    config: Config
    rules: SafetyRules | None = None
    pair: tuple[bytes, bytes] | None = None
    workers: int = 1
    limits: Path | None = None


LoadConfig = Callable[[], Config]
Prepare = Callable[[Services, str], Awaitable[str]]


def run(config: Config, load_config: LoadConfig, prepare: Prepare | None) -> int:
    """Serve ``config`` in this process until a signal comes; the exit code.

    ``load_config`` is called for every reload. ``prepare`` is awaited with the open services and
    the server's URL; what it returns is printed once the server answers. Raises ``OrbitError`` when
    something cannot be opened, ``SystemExit`` when a port is taken.
    """
    notifier = SystemdNotifier()

    def ready(banner: str) -> None:
        notifier.notify("READY=1")
        print(banner, flush=True)

    with listening(config) as sockets:
        return run_loop(
            serve(
                Accepted(config),
                load_config,
                sockets,
                ready=ready,
                alive=notifier.alive,
                stopping=partial(notifier.notify, "STOPPING=1"),
                prepare=prepare,
            )
        )


async def serve(
    accepted: Accepted,
    load_config: LoadConfig,
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[str], None],
    alive: Callable[[], None],
    stopping: Callable[[], None] = lambda: None,
    prepare: Prepare | None = None,
    parent: Parent | None = None,
) -> int:
    """Open the services and answer requests until a signal or ``parent`` stops it; the exit code.

    ``ready`` gets a banner once the server listens; ``alive`` is called every second, as long as
    the event loop is not held up; ``stopping`` when the end begins.
    """
    config = accepted.config
    with caught_signals() as signals:
        if parent is not None:
            parent.follow({DRAIN: signals.stop, STOP: signals.stop_now, RELOAD: signals.reload})
        certificate = load_certificate(config, accepted.pair)
        settings = uvicorn_settings(config)
        if certificate is not None:
            settings["ssl_context_factory"] = lambda *_: certificate.context
        limiter = SharedLimiter(accepted.limits) if accepted.limits else None
        services = Services(
            config,
            address=address(config),
            certificate=certificate,
            rules=accepted.rules,
            workers=accepted.workers,
            limiter=limiter,
        )
        try:
            async with heartbeat(alive), limiter or contextlib.nullcontext(), services:
                banner = f"ORBIT server answers at {address(config)}"
                if prepare is not None:
                    banner = await prepare(services, address(config))
                app = create_app(services=services)
                # What lives as long as the server is left out of every later search for garbage:
                # a full one would hold up all streams for a tenth of a second.
                gc.collect()
                gc.freeze()
                listener, *plain = sockets
                server = Server(
                    app,
                    settings,
                    expire=app.state.shutdown.expire,
                    reload=partial(reload, services, load_config),
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
async def heartbeat(alive: Callable[[], None]) -> AsyncIterator[None]:
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


def load_certificate(
    config: Config, accepted: tuple[bytes, bytes] | None = None
) -> "Certificate | None":
    """Return the certificate of HTTPS, ``None`` where it is off.

    ``accepted`` is used as long as the files cannot be; without it that is a ``ConfigError``.
    """
    https = config.general.https
    if not https.enabled:
        return None
    from .certificate import Certificate  # loads a large library

    return Certificate(Path(https.cert_file), Path(https.key_file), accepted=accepted)
