"""The language model: its clients, and what the rest of the program needs of any."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..config.schema import OllamaConfig, OllamaHost
from .hosts import Host, Hosts, hosts_check
from .installed import version_check
from .ollama import Ollama
from .protocols import Chat, Complete, TextStream
from .queue import FairQueue

__all__ = [
    "Chat",
    "Complete",
    "FairQueue",
    "Hosts",
    "Ollama",
    "TextStream",
    "build",
    "build_one",
    "build_queue",
    "places",
    "server_check",
]


def build(config: OllamaConfig, *, workers: int = 1) -> Ollama | Hosts:
    """Return the client of the configured Ollama, or of all its hosts; nothing is opened.

    One of ``workers`` processes may use its share of each host.
    """
    if len(config.servers) == 1:
        return build_one(config, config.servers[0])
    return Hosts(
        [_host(config, server, workers) for server in config.servers],
        embed_model=config.embed_model,
        first_timeout=config.first_token_timeout,
        place_timeout=config.queue_timeout,
    )


def build_one(config: OllamaConfig, server: OllamaHost) -> Ollama:
    """Return the client of one of the configured servers."""
    return Ollama(
        server.url,
        options=config.options,
        keep_alive=config.keep_alive,
        think=config.think,
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        headers={name: value.get_secret_value() for name, value in server.headers.items()},
        proxy=server.proxy.get_secret_value() if server.proxy else None,
    )


def build_queue(
    config: OllamaConfig, ollama: Ollama | Hosts | None = None, *, workers: int = 1
) -> FairQueue:
    """Return the queue towards ``ollama`` of one of ``workers`` processes: its share of the whole.

    Shares are rounded up, so that none of Ollama's places stays empty. With several hosts, it has
    the places of those that can be asked now.
    """
    length, timeout = share(config.queue, workers), config.queue_timeout
    if not isinstance(ollama, Hosts):
        return FairQueue(places(config, workers), length=length, timeout=timeout)
    hosts, model = ollama, config.model
    queue = FairQueue(lambda: hosts.capacity(model), length=length, timeout=timeout)
    hosts.watch_places(queue.admit)
    return queue


def server_check(ollama: Ollama | Hosts) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return the health check of the servers behind ``ollama``, whatever models they have."""
    return hosts_check(ollama) if isinstance(ollama, Hosts) else version_check(ollama)


def places(config: OllamaConfig, workers: int = 1) -> int:
    """Return how many answers each of ``workers`` lets be written at once; 0 for any number."""
    shares = [share(config.places(server), workers) for server in config.servers]
    return sum(shares) if all(shares) else 0


def share(whole: int, workers: int) -> int:
    """Return what each of ``workers`` gets of ``whole``."""
    return -(-whole // workers)


def _host(config: OllamaConfig, server: OllamaHost, workers: int) -> Host:
    here = share(config.places(server), workers)
    return Host(build_one(config, server), weight=server.weight or here or 1, places=here)
