"""The store that a command works with: the files of this machine, or a running server."""

import asyncio
import difflib
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ..config.loader import Config
from ..documents.collection_store import Store
from ..documents.remote_store import RemoteStore, is_loopback
from ..errors import CollectionNotFound, Forbidden, OrbitError
from ..retrieval.chroma.lock import holder, holder_token
from ..server.exit import fail
from ..services import Services
from .console import say

T = TypeVar("T")


@asynccontextmanager
async def open_store(
    config: Config, server: str | None, services: Services
) -> AsyncIterator[Store]:
    """Open the store that ``config`` names, or the running server that holds it.

    Raises ``OrbitError`` with the remedy when a server holds it and there is no way to go through.
    """
    ours = server is not None and is_loopback(server)
    if server is None and config.chroma.host is None and (held := holder(config.chroma.path)):
        server, ours = held.get("address"), True
        if server is None:
            raise OrbitError(
                f"{config.chroma.path} is in use by process {held.get('pid')}, which has not "
                "registered an address, as an application that mounts the server does not. Name it "
                "with --server URL, for which ADMIN_TOKEN must be set, or stop it first."
            )
        say(f"A server holds {config.chroma.path}; going through {server}.")
    if server is None:
        services.chroma.answers_meanwhile = False  # this command has it for itself
        async with services.lexical, services.chroma:
            yield services.store
        return
    async with remote_store(config, server, ours=ours) as store:
        yield store


def remote_store(config: Config, server: str, *, ours: bool) -> RemoteStore:
    """Return the store of the running server at ``server``, to be entered.

    ``ours`` tells that it serves with this configuration, and so with its certificate. Raises
    ``Forbidden`` without a token: the one beside the lock, or the configured one.
    """
    https = config.general.https
    cert_file = https.cert_file if ours and https.enabled else None
    return RemoteStore(server, _token(config, server), cert_file=cert_file)


def _token(config: Config, server: str) -> str:
    if config.chroma.host is None:
        held = holder(config.chroma.path)
        if held is not None and _same_server(held["address"], server):
            token = holder_token(config.chroma.path)
            if token is not None:
                return token
    if config.admin_token is None:
        raise Forbidden(
            cause=f"going through the server at {server} needs its admin token: set ADMIN_TOKEN in "
            "the environment or in .env, or run this in the server's folder, as its user."
        )
    return config.admin_token.get_secret_value()


def _same_server(held: str | None, server: str) -> bool:
    """Tell whether both URLs lead to one server: this machine has several names for itself."""
    if held is None:
        return False
    ours, theirs = urlsplit(held.rstrip("/")), urlsplit(server.rstrip("/"))
    same_host = ours.hostname == theirs.hostname or (is_loopback(held) and is_loopback(server))
    return same_host and (ours.port, ours.path) == (theirs.port, theirs.path)


def with_store(
    config: Config,
    server: str | None,
    run: Callable[[Store, Services], Awaitable[T]],
    *,
    stopped: str = "stopped",
) -> T:
    """Return what ``run`` returns, called with the opened store and services.

    SIGTERM and SIGHUP (the terminal was closed) end it as Ctrl-C does, so that the store is closed:
    ended in the middle of a write, Chroma may not open a collection again. The process then ends
    with the sentence ``stopped``. Raises what ``open_store`` does, and whatever ``run`` raises.
    """
    received: list[int] = []

    async def main() -> T:
        _cancel_on_signals(received)
        services = Services(config)
        async with services.ollama, open_store(config, server, services) as store:
            try:
                return await run(store, services)
            except CollectionNotFound as error:
                names = [each["name"] for each in await store.collections()]
                there = f"There are: {', '.join(names)}." if names else "There is none yet."
                raise CollectionNotFound(f"{error} {there}") from error

    try:
        return asyncio.run(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        fail(stopped, 128 + (received[0] if received else signal.SIGINT))


def warn_unless_loaded(config: Config, name: str) -> None:
    """Say so when there is no collection ``name``, and what the nearest ones are called.

    Nothing is said where that cannot be found out, and nothing is created.
    """
    held = config.chroma.host is not None or Path(config.chroma.path).exists()
    names = asyncio.run(_names(config)) if held else []
    if names is None or name in names:
        return
    near = difflib.get_close_matches(name, names, n=3)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    remedy = f"orbit ingest FILES --collection {name}"
    say(f"There is no collection {name!r} yet.{meant} To create it: {remedy}")


async def _names(config: Config) -> list[str] | None:
    services = Services(config)
    try:
        async with services.ollama, open_store(config, None, services) as store:
            return [each["name"] for each in await store.collections()]
    except OrbitError:
        return None


def _cancel_on_signals(received: list[int]) -> None:
    """Cancel the running task at a signal, and note its number in ``received``."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop(number: int) -> None:
        received.append(number)
        if task is not None:
            task.cancel()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                loop.add_signal_handler(number, stop, number)
