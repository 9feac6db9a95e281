"""Where the server listens: its addresses, its sockets, and how many it may open."""

import contextlib
import resource
import socket
from collections.abc import Iterator
from errno import EADDRINUSE
from urllib.parse import urlsplit

from ..config.loader import Config
from .exit import fail


def addresses(config: Config) -> dict[str, str]:
    """Return the URLs at which this machine reaches the server, by the keys that set their ports.

    The first one answers requests; a second one redirects to it.
    """
    general, https = config.general, config.general.https
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(general.host, general.host)
    host = f"[{host}]" if ":" in host else host
    plain = {"general.port": f"http://{host}:{general.port}"}
    if not https.enabled:
        return plain
    secure = {"general.https.port": f"https://{host}:{https.port}"}
    return secure | plain if https.redirect_http else secure


def address(config: Config) -> str:
    """Return the URL at which this machine reaches the server."""
    return next(iter(addresses(config).values()))


@contextlib.contextmanager
def listening(config: Config, *, redirecting: bool = True) -> Iterator[list[socket.socket]]:
    """Listen at all ``addresses`` while the block lasts; the sockets are in the same order.

    Without ``redirecting``, only at the first. Ends the process with one clear sentence when that
    cannot be.
    """
    host = config.general.host
    urls = list(addresses(config).values())
    with contextlib.ExitStack() as stack:
        sockets = []
        for url in urls if redirecting else urls[:1]:
            port = urlsplit(url).port or 0
            try:
                sockets.append(stack.enter_context(listen(host, port)))
            except OSError as error:
                remedy = "; choose another with --port" if error.errno == EADDRINUSE else ""
                fail(f"cannot listen on {host}:{port}: {error.strerror or error}{remedy}", 1)
        yield sockets


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; ``OSError`` when that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: asyncio switches Nagle's delay off only for sockets that say TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def raise_open_file_limit() -> None:
    """Let this process open as many files and sockets as the machine lets it, if it does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
