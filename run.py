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
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from starlette.applications import Starlette

from orbit_server import logs
from orbit_server.app import create_app
from orbit_server.config import Config, load
from orbit_server.errors import ConfigError, KeysUnavailable, OrbitError
from orbit_server.metrics import shared_by_workers
from orbit_server.protocol import LimitedProtocol
from orbit_server.services import Services

logger = logging.getLogger("orbit_server")

Prepare = Callable[[Services, str], Awaitable[str]]


class Server(uvicorn.Server):
    """uvicorn's server, which comes back after a signal instead of dying of it.

    uvicorn raises a signal that it has caught once more when it has stopped; that would end the
    process before the services are closed and the logs are written.
    """

    banner = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        if self.banner:
            print(self.banner, flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hand SIGINT and SIGTERM to uvicorn while it serves, and give them back afterwards."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def create() -> Starlette:
    """Make the application in a process that uvicorn started (``--workers``, ``--reload``)."""
    allow_many_connections()
    config = load()
    logs.configure(config)
    return create_app(services=Services(config, address=os.environ.get("ORBIT_ADDRESS")))


def serve(config: Config, *, prepare: Prepare | None = None) -> None:
    """Serve ``config`` in this process until a signal comes.

    ``prepare`` is awaited with the open services and the server's URL; what it returns is printed
    once the server answers. Raises ``OrbitError`` when something cannot be opened, ``SystemExit``
    when the port is taken.
    """
    allow_many_connections()
    listener = bind(config)
    services = Services(config, address=address(config))
    settings = uvicorn_settings(config)

    async def main() -> None:
        async with services:
            banner = f"ORBIT server answers at {address(config)}"
            if prepare is not None:
                banner = await prepare(services, address(config))
            app = create_app(services=services)
            server = Server(uvicorn.Config(app, lifespan="off", **settings))
            server.banner = banner
            await server.serve(sockets=[listener])

    loop_factory = uvicorn.Config("", **settings).get_loop_factory()
    with listener, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def allow_many_connections() -> None:
    """Let this process open as many files and sockets as the machine lets it, if it does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def uvicorn_settings(config: Config) -> dict[str, Any]:
    """Return uvicorn's own settings. Its access log would show paths, and keys stand in some."""
    https = config.general.https
    settings: dict[str, Any] = {
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "http": LimitedProtocol,
        "timeout_graceful_shutdown": int(config.general.drain_seconds) + 5,
    }
    if https.enabled:
        settings |= {"ssl_certfile": https.cert_file, "ssl_keyfile": https.key_file}
    return settings


def address(config: Config) -> str:
    """Return the URL at which this machine reaches the server."""
    general = config.general
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(general.host, general.host)
    if ":" in host:
        host = f"[{host}]"
    if general.https.enabled:
        return f"https://{host}:{general.https.port}"
    return f"http://{host}:{general.port}"


def bind(config: Config) -> socket.socket:
    """Return a socket bound to the configured address, or end with one clear sentence."""
    general = config.general
    port = general.https.port if general.https.enabled else general.port
    family = socket.AF_INET6 if ":" in general.host else socket.AF_INET
    # With its protocol named: asyncio switches Nagle's delay off only for sockets that say TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((general.host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        fail(f"cannot listen on {general.host}:{port}: {error.strerror or error}", 1)
    return listener


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
    return options


def main(argv: list[str] | None = None) -> None:
    """Start the server as the command line and the configuration say."""
    options = arguments(argv)
    overrides = {
        f"general.{name}": value
        for name, value in (("host", options.host), ("port", options.port))
        if value is not None
    }
    try:
        prepare: Prepare | None = None
        if options.demo:
            from orbit_server import demo  # what loads documents need not be loaded to answer

            config, prepare = demo.configure(options.config, overrides), demo.prepare
        else:
            config = load(options.config, overrides=overrides)
        logs.configure(config)
        for warning in config.warnings:
            logger.warning("%s", warning)
        if not config.safety.active:
            logger.info("questions are answered unchecked: the safety check is switched off")
        if options.workers > 1 or options.reload:
            serve_in_children(config, options)
        else:
            serve(config, prepare=prepare)
    except ConfigError as error:
        fail("the configuration cannot be used:\n  " + "\n  ".join(error.mistakes), 2)
    except KeysUnavailable as error:
        fail(f"the database of the keys (database.url) cannot be used: {error}", 1)
    except OrbitError as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail("stopped", 130)


def serve_in_children(config: Config, options: argparse.Namespace) -> None:
    """Let uvicorn run the server in processes of its own: several, or one that it restarts."""
    if options.workers > 1 and config.chroma.host is None:
        fail(
            f"--workers={options.workers} needs a Chroma server: Chroma in process belongs to one "
            "process. Start `chroma run --path data/chroma` and set chroma.host.",
            2,
        )
    if options.config is not None:
        os.environ["ORBIT_CONFIG"] = str(options.config.resolve())
    os.environ["ORBIT_ADDRESS"] = address(config)
    with shared_by_workers() if options.workers > 1 else contextlib.nullcontext():
        uvicorn.run(
            "run:create",
            factory=True,
            host=config.general.host,
            port=config.general.https.port if config.general.https.enabled else config.general.port,
            workers=options.workers if options.workers > 1 else None,
            reload=options.reload,
            **uvicorn_settings(config),
        )


if __name__ == "__main__":
    main()
