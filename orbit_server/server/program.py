"""The server as one process, as several, or as one that restarts when its code changes."""

import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from ..app import create_app
from ..config.loader import Config, load
from ..config.schema import ChromaConfig
from ..errors import ConfigError
from ..observability import logging as logs
from ..observability.metrics import shared_by_workers
from ..safety import read_rules
from ..services import Services
from .chroma_child import HOST, LocalChroma
from .exit import exit_on_error, fail
from .process import Accepted, Load, Prepare, address, answer, load_certificate, run_loop
from .reload import taken_over
from .supervisor import BEAT, READY, Parent, Work, Workers
from .systemd import Notify
from .uvicorn_server import uvicorn_settings

logger = logging.getLogger(__name__)


def serve(config: Config, again: Load, prepare: Prepare | None) -> int:
    """Serve ``config`` in this process until a signal comes; the exit code.

    ``again`` reads the configuration anew. ``prepare`` is awaited with the open services and the
    server's URL; what it returns is printed once the server answers. Raises ``OrbitError`` when
    something cannot be opened, ``SystemExit`` when a port is taken.
    """
    notify = Notify()

    def ready(banner: str) -> None:
        notify("READY=1")
        print(banner, flush=True)

    with listening(config) as sockets:
        return run_loop(
            answer(
                Accepted(config),
                again,
                sockets,
                ready=ready,
                alive=notify.alive,
                stopping=partial(notify, "STOPPING=1"),
                prepare=prepare,
            )
        )


def serve_with_workers(
    config: Config, count: int, path: Path | None, overrides: Mapping[str, Any]
) -> int:
    """Serve ``config`` in ``count`` processes until a signal comes; the exit code.

    The configuration is read again from ``path`` with ``overrides``.

    Where Chroma would run in process, the workers share a Chroma server that is started for them.
    """
    notify = Notify()

    def stop_early(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop_early)  # until the workers are looked after
    with contextlib.ExitStack() as stack:
        # Read here too: a mistake is said once, and later workers get what the others work with.
        certificate = load_certificate(config)
        rules = read_rules(config.safety)
        stack.enter_context(shared_by_workers())
        sockets = stack.enter_context(listening(config))
        chroma = None
        if config.chroma.host is None:
            folder = Path(config.logging.file.directory)
            log = folder / "chroma.log" if config.logging.file.enabled else None
            documents = Path(config.chroma.path)
            chroma = stack.enter_context(LocalChroma(documents, address=address(config), log=log))
            overrides = {**overrides, **where_is(chroma)}
        again: Load = partial(load, path, overrides=overrides)
        config = again()

        def ready() -> None:
            notify("READY=1")
            print(
                f"ORBIT server answers at {address(config)}, with {count} workers",
                flush=True,
            )

        def take_up() -> None:
            nonlocal config, rules
            with contextlib.suppress(ConfigError):  # which the workers complain about
                wanted = taken_over(config, again())
                read = read_rules(wanted.safety)
                config, rules = wanted, read
                logs.set_level(config)

        def alive() -> None:
            notify.alive()
            if certificate is not None:
                certificate.look(quiet=True)  # the workers say it

        def next_work() -> Work:
            pair = certificate.accepted if certificate else None
            return partial(work, Accepted(config, rules, pair), again)

        workers = Workers(
            count,
            next_work,
            sockets,
            chroma=chroma,
            drain=config.general.drain_seconds,
            ready=ready,
            alive=alive,
            stopping=partial(notify, "STOPPING=1"),
            reload=take_up,
        )
        return workers.run()


def work(
    accepted: Accepted,
    again: Load,
    number: int,
    pair: socket.socket,
    sockets: Sequence[socket.socket],
) -> None:
    """Be worker ``number``: serve on ``sockets`` until the parent at the end of ``pair`` says so.

    Ends the process as ``main`` does.
    """
    with exit_on_error():
        logs.configure(accepted.config, worker=number)
        allow_many_connections()
        parent = Parent(pair)

        def ready(banner: str) -> None:
            parent.say(READY)

        alive = partial(parent.say, BEAT)
        raise SystemExit(
            run_loop(answer(accepted, again, sockets, ready=ready, alive=alive, parent=parent))
        )


def serve_reloading(config: Config, path: Path | None) -> None:
    """Let uvicorn run the server in a process that it starts anew when the code changes."""
    from uvicorn.supervisors import ChangeReload  # loads what watches files

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it ends with the terminal it belongs to
    if path is not None:
        os.environ["ORBIT_CONFIG"] = str(path.resolve())
    os.environ["ORBIT_ADDRESS"] = address(config)
    load_certificate(config)
    general = config.general
    settings = uvicorn_settings(config)
    if general.https.enabled:
        settings |= {
            "ssl_certfile": general.https.cert_file,
            "ssl_keyfile": general.https.key_file,
        }
    reloading = uvicorn.Config(
        "orbit_server.server.program:create", factory=True, reload=True, **settings
    )
    with bind(general.host, main_port(config)) as listener:
        ChangeReload(reloading, uvicorn.Server(reloading).run, [listener]).run()


def create() -> Starlette:
    """Make the application in the process that uvicorn started for ``--reload``."""
    config = load()
    logs.configure(config)
    return create_app(services=Services(config, address=os.environ.get("ORBIT_ADDRESS")))


def where_is(chroma: LocalChroma) -> dict[str, Any]:
    """Return the overrides with which a worker finds ``chroma``, whatever else is configured."""
    plain = {name: info.default for name, info in ChromaConfig.model_fields.items()}
    elsewhere = {f"chroma.{name}": plain[name] for name in ("ssl", "tenant", "database")}
    found = {"chroma.host": HOST, "chroma.port": chroma.port, "chroma.headers": {}}
    return elsewhere | found


def allow_many_connections() -> None:
    """Let this process open as many files and sockets as the machine lets it, if it does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def listening(config: Config) -> Iterator[list[socket.socket]]:
    """Listen where the server answers, and behind that where it sends others to HTTPS.

    Ends the process with one clear sentence when that cannot be.
    """
    https = config.general.https
    ports = [main_port(config)]
    if https.enabled and https.redirect_http:
        ports.append(config.general.port)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(bind(config.general.host, port)) for port in ports]


def main_port(config: Config) -> int:
    """Return the port at which requests are answered."""
    general = config.general
    return general.https.port if general.https.enabled else general.port


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens there, or end with one clear sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: asyncio switches Nagle's delay off only for sockets that say TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        fail(f"cannot listen on {host}:{port}: {error.strerror or error}", 1)
    return listener
