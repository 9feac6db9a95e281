"""What the commands share: their options, what they print on, and the store they work with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..config.loader import Config
from ..documents.collection_store import Store
from ..errors import Forbidden, OrbitError
from ..retrieval.chroma.lock import holder
from ..services import Services

T = TypeVar("T")

Collection = Annotated[str, typer.Option("--collection", help="Name of the collection.")]
Server = Annotated[
    str | None, typer.Option("--server", help="URL of a running server to go through.")
]

# Names and texts of documents are printed as they are: to rich, [b] in one would be an order.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
notes = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

_ONE_LINE = 10_000


def say(sentence: str) -> None:
    """Tell whoever typed the command; what it was run for goes to ``out``."""
    notes.print(sentence)


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or with each row on one line where there is none."""
    for column in table.columns:
        column.overflow = "fold"  # what is cut off an id or a file name is missing
    # A file or another program gets every row as one line, however long.
    wide = Console(highlight=False, markup=False, emoji=False, width=_ONE_LINE)
    (out if out.is_terminal else wide).print(table)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far ``total`` steps have come; yields what to call after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.update(task, advance=1)


@asynccontextmanager
async def open_store(
    config: Config, server: str | None, services: Services
) -> AsyncIterator[Store]:
    """Open the store that ``config`` names, or the running server that holds it.

    Raises ``OrbitError`` with the remedy when a server holds it and there is no way to go through.
    """
    from ..documents.remote_store import RemoteStore, is_loopback

    ours = server is not None and is_loopback(server)
    if server is None and config.chroma.host is None and (held := holder(config.chroma.path)):
        server, ours = held.get("address"), True
        if server is None:
            raise OrbitError(
                f"{config.chroma.path} is in use by process {held.get('pid')}, which has not said "
                "where it answers. Name it with --server URL, or stop it first."
            )
        notes.print(f"A server holds {config.chroma.path}; going through {server}.")
    if server is None:
        async with services.lexical, services.chroma:
            yield services.store
        return
    if config.admin_token is None:
        raise Forbidden(
            cause=f"going through the server at {server} needs its admin token: set ADMIN_TOKEN in "
            "the environment or in .env. Nothing was changed."
        )
    https, token = config.general.https, config.admin_token.get_secret_value()
    cert_file = https.cert_file if ours and https.enabled else None
    async with RemoteStore(server, token, cert_file=cert_file) as store:
        yield store


def with_store(
    config: Config, server: str | None, run: Callable[[Store, Services], Awaitable[T]]
) -> T:
    """Return what ``run`` returns, called with the opened store and services.

    Raises what ``open_store`` does, and whatever ``run`` raises.
    """

    async def main() -> T:
        services = Services(config)
        async with services.ollama, open_store(config, server, services) as store:
            return await run(store, services)

    return asyncio.run(main())
