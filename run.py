"""Run the server: ``python run.py``, with the options that ``--help`` lists."""

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import uvicorn
from starlette.applications import Starlette

from orbit_server import logs
from orbit_server.app import create_app
from orbit_server.chroma_local import HOST, LocalChroma
from orbit_server.config import Config, load
from orbit_server.errors import ConfigError, KeysUnavailable, OrbitError
from orbit_server.metrics import shared_by_workers
from orbit_server.notify import Notify
from orbit_server.redirect import redirect_app
from orbit_server.reload import reload, taken_over
from orbit_server.server import Server, uvicorn_settings
from orbit_server.services import Services
from orbit_server.settings import ChromaConfig
from orbit_server.workers import BEAT, DRAIN, READY, RELOAD, STOP, Parent, Workers

if TYPE_CHECKING:
    from orbit_server.tls import Certificate

logger = logging.getLogger("orbit_server")

Load = Callable[[], Config]
Prepare = Callable[[Services, str], Awaitable[str]]


def main(argv: list[str] | None = None) -> NoReturn:
    """Start the server as the command line and the configuration say, and exit when it ends.

    The exit code is 0 when it was asked to stop, 1 when something could not be opened, 2 for a
    wrong option or configuration, and 128 and the signal when it was told twice.
    """
    options = arguments(argv)
    overrides: dict[str, Any] = {
        f"general.{name}": value
        for name, value in (("host", options.host), ("port", options.port))
        if value is not None
    }
    with told():
        again: Load = partial(load, options.config, overrides=overrides)
        prepare: Prepare | None = None
        if options.demo:
            from orbit_server import demo  # what loads documents need not be loaded to answer

            config, prepare = demo.configure(options.config, overrides), demo.prepare
            again = lambda: config  # noqa: E731
        else:
            config = again()
        logs.configure(config)
        for warning in config.warnings:
            logger.warning("%s", warning)
        if not config.safety.active:
            logger.info("questions are answered unchecked: the safety check is switched off")
        allow_many_connections()
        if options.reload:
            serve_reloading(config, options.config)
            raise SystemExit(0)
        if options.workers > 1:
            raise SystemExit(serve_with_workers(config, options, overrides))
        raise SystemExit(serve(config, again, prepare))


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
        work = answer(config, again, sockets, ready=ready, alive=notify.alive, prepare=prepare)
        code = run_loop(work)
        notify("STOPPING=1")
    return code


def serve_with_workers(
    config: Config, options: argparse.Namespace, overrides: Mapping[str, Any]
) -> int:
    """Serve ``config`` in ``options.workers`` processes until a signal comes; the exit code.

    Where Chroma would run in process, the workers share a Chroma server that is started for them.
    """
    notify = Notify()
    with contextlib.ExitStack() as stack:
        load_certificate(config)  # said once here, instead of by each worker
        stack.enter_context(shared_by_workers())
        sockets = stack.enter_context(listening(config))
        chroma = None
        if config.chroma.host is None:
            log = Path(config.logging.file.directory) / "chroma.log"
            path = Path(config.chroma.path)
            chroma = stack.enter_context(LocalChroma(path, address=address(config), log=log))
            overrides = {**overrides, **where_is(chroma)}
        again: Load = partial(load, options.config, overrides=overrides)
        config = again()

        def ready() -> None:
            print(
                f"ORBIT server answers at {address(config)}, with {options.workers} workers",
                flush=True,
            )

        def take_up() -> None:
            nonlocal config
            with contextlib.suppress(ConfigError):  # which the workers complain about
                config = taken_over(config, again())
                logs.set_level(config)

        workers = Workers(
            options.workers,
            # One that comes later works as the others do, whatever the file says by then.
            lambda: partial(work, config, again),
            sockets,
            chroma=chroma,
            drain=config.general.drain_seconds,
            notify=notify,
            ready=ready,
            reload=take_up,
        )
        return workers.run()


def work(
    config: Config,
    again: Load,
    number: int,
    pair: socket.socket,
    sockets: Sequence[socket.socket],
) -> None:
    """Be worker ``number``: serve on ``sockets`` until the parent at the end of ``pair`` says so.

    Ends the process as ``main`` does.
    """
    with told():
        logs.configure(config, worker=number)
        allow_many_connections()
        parent = Parent(pair)

        def ready(banner: str) -> None:
            parent.say(READY)

        alive = partial(parent.say, BEAT)
        raise SystemExit(
            run_loop(answer(config, again, sockets, ready=ready, alive=alive, parent=parent))
        )


def serve_reloading(config: Config, path: Path | None) -> None:
    """Let uvicorn run the server in a process that it starts anew when the code changes."""
    if path is not None:
        os.environ["ORBIT_CONFIG"] = str(path.resolve())
    general = config.general
    settings = uvicorn_settings(config)
    if general.https.enabled:
        settings |= {
            "ssl_certfile": general.https.cert_file,
            "ssl_keyfile": general.https.key_file,
        }
    os.environ["ORBIT_ADDRESS"] = address(config)
    port = general.https.port if general.https.enabled else general.port
    uvicorn.run("run:create", factory=True, host=general.host, port=port, reload=True, **settings)


def create() -> Starlette:
    """Make the application in the process that uvicorn started for ``--reload``."""
    config = load()
    logs.configure(config)
    return create_app(services=Services(config, address=os.environ.get("ORBIT_ADDRESS")))


async def answer(
    config: Config,
    again: Load,
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[str], None],
    alive: Callable[[], None],
    prepare: Prepare | None = None,
    parent: Parent | None = None,
) -> int:
    """Open the services and answer requests until told to stop; the exit code."""
    server: Server | None = None
    with stopped_early() as cancel:
        if parent is not None:
            # Before there is a server, to stop is to give up.
            parent.follow(
                {
                    DRAIN: lambda: server.stop() if server else cancel(),
                    STOP: lambda: server.hurry_up() if server else cancel(),
                    RELOAD: lambda: server.reload() if server else None,
                }
            )
        certificate = load_certificate(config)
        settings = uvicorn_settings(config)
        if certificate is not None:
            settings["ssl_context_factory"] = lambda *_: certificate.context
        services = Services(config, address=address(config), certificate=certificate)
        async with services:
            banner = f"ORBIT server answers at {address(config)}"
            if prepare is not None:
                banner = await prepare(services, address(config))
            app = create_app(services=services)
            listener, *plain = sockets
            server = Server(
                app,
                settings,
                hurry=app.state.shutdown.hurry,
                reload=partial(reload, services, again),
                ready=partial(ready, banner),
                alive=alive,
                patient=parent is not None,
                plain_app=redirect_app(config) if plain else None,
                plain_sockets=plain,
            )
            await server.serve(sockets=[listener])
        return 128 + server.stopped_by if server.stopped_by else 0


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run ``work`` in the fastest loop there is; its result, or 0 when it was stopped early."""
    loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            return runner.run(work)
        except asyncio.CancelledError:
            return 0


@contextlib.contextmanager
def stopped_early() -> Iterator[Callable[[], None]]:
    """Cancel the running task when SIGTERM comes and no server handles it; yields what does it."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def cancel() -> None:
        if task is not None:
            task.cancel()

    def caught(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(cancel)

    before = signal.signal(signal.SIGTERM, caught)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGTERM, before)


def load_certificate(config: Config) -> "Certificate | None":
    """Return the certificate of HTTPS, ``None`` where it is off; raises ``ConfigError``."""
    https = config.general.https
    if not https.enabled:
        return None
    from orbit_server.tls import Certificate  # loads a large library

    return Certificate(Path(https.cert_file), Path(https.key_file))


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


def address(config: Config) -> str:
    """Return the URL at which this machine reaches the server."""
    general = config.general
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(general.host, general.host)
    if ":" in host:
        host = f"[{host}]"
    if general.https.enabled:
        return f"https://{host}:{general.https.port}"
    return f"http://{host}:{general.port}"


@contextlib.contextmanager
def listening(config: Config) -> Iterator[list[socket.socket]]:
    """Listen where the server answers, and behind that where it sends others to HTTPS.

    Ends the process with one clear sentence when that cannot be.
    """
    https = config.general.https
    ports = [https.port if https.enabled else config.general.port]
    if https.enabled and https.redirect_http:
        ports.append(config.general.port)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(bind(config.general.host, port)) for port in ports]


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


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong on purpose into a sentence and an exit code."""
    try:
        yield
    except ConfigError as error:
        fail("the configuration cannot be used:\n  " + "\n  ".join(error.mistakes), 2)
    except KeysUnavailable as error:
        fail(f"the database of the keys (database.url) cannot be used: {error}", 1)
    except OrbitError as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail("stopped", 130)


def fail(sentence: str, code: int) -> NoReturn:
    """End the process with a sentence for whoever started it."""
    print(f"orbit: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; an unknown option prints the usage and exits with 2."""
    parser = argparse.ArgumentParser(prog="start.sh", allow_abbrev=False)
    parser.add_argument("--host", help="address to listen on (default: general.host)")
    parser.add_argument("--port", type=int, help="port to listen on (default: general.port)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes")
    parser.add_argument("--reload", action="store_true", help="restart when the code changes")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument("--demo", action="store_true", help="answer from the sample documents")
    options = parser.parse_args(argv)
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    if options.demo and (options.workers > 1 or options.reload):
        parser.error("--demo goes with neither --workers nor --reload")
    if options.reload and options.workers > 1:
        parser.error("--reload goes with one worker")
    return options


if __name__ == "__main__":
    main()
