"""``orbit keys``: API keys created, listed and revoked."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from .options import Collection

if TYPE_CHECKING:
    from ..auth import Key
    from ..auth.keys import Keys
    from ..types import StreamFormat

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Create, list and revoke API keys."
)

Reference = Annotated[str, typer.Argument(help="The key, its id or its visible prefix.")]


def _stream_format(text: str) -> str:
    from typing import get_args

    from ..types import StreamFormat

    if text not in (known := get_args(StreamFormat)):
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(known)}")
    return text


def _expiry(text: str) -> datetime:
    from ..auth import parse_expiry

    try:
        return parse_expiry(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("create")
def create_key(
    context: typer.Context,
    collection: Collection,
    name: Annotated[str, typer.Option("--name", help="Who will use the key.", metavar="WHO")],
    notes: Annotated[str, typer.Option("--notes", help="Anything worth remembering.")] = "",
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            help="90d, 12h, or a date such as 2030-01-31.",
            parser=_expiry,
            metavar="WHEN",
        ),
    ] = None,
    stream_format: Annotated[
        str | None,
        typer.Option(
            "--stream-format",
            help="delta or cumulative (default: chat.stream_format).",
            parser=_stream_format,
            metavar="FORMAT",
        ),
    ] = None,
) -> None:
    """Create a key for a collection, and show it this once."""
    from ..retrieval.chroma.validation import checked_name
    from .console import say

    async def create(keys: "Keys") -> None:
        key, secret = await keys.create(
            checked_name(collection),
            name,
            notes=notes,
            expires_at=expires,
            stream_format=cast("StreamFormat | None", stream_format),  # its parser has checked it,
        )
        say(f"Key {key.id} for collection {collection!r}. It is shown this once; keep it safe.")
        print(secret)

    _with_keys(context, create)


@app.command("list")
def list_keys(context: typer.Context) -> None:
    """List all keys by id and visible prefix."""
    from rich.table import Column, Table

    from .console import print_table

    async def show(keys: "Keys") -> None:
        ids = Column("id", no_wrap=True), Column("prefix", no_wrap=True)
        table = Table(*ids, "collection", "client", "active", "expires", "last used")
        for key in await keys.list():
            table.add_row(
                key.id,
                key.prefix + "…",
                key.collection,
                key.client_name,
                "yes" if key.active else "no",
                _time(key.expires_at, "never"),
                _time(key.last_used_at, "never"),
            )
        print_table(table)

    _with_keys(context, show)


@app.command("status")
def key_status(context: typer.Context, key: Reference) -> None:
    """Show one key."""

    async def show(keys: "Keys") -> None:
        _describe(await keys.find(key) or _unknown())

    _with_keys(context, show)


@app.command("deactivate")
def deactivate_key(context: typer.Context, key: Reference) -> None:
    """Switch a key off. A running server follows within seconds."""
    from .console import say

    async def deactivate(keys: "Keys") -> None:
        found = await keys.deactivate(key) or _unknown()
        say(f"Key {found.id} is inactive.")

    _with_keys(context, deactivate)


@app.command("delete")
def delete_key(context: typer.Context, key: Reference) -> None:
    """Delete a key for good. A running server follows within seconds."""
    from .console import say

    async def delete(keys: "Keys") -> None:
        if not await keys.delete(key):
            _unknown()
        say("The key is deleted.")

    _with_keys(context, delete)


def _with_keys(context: typer.Context, run: "Callable[[Keys], Coroutine[Any, Any, None]]") -> None:
    from ..auth.keys import Keys
    from ..config.loader import load

    config = load(context.obj)

    async def main() -> None:
        async with Keys(config.database.url, prefix=config.api_keys.prefix) as keys:
            await run(keys)

    asyncio.run(main())


def _describe(key: "Key") -> None:
    from .console import out

    for name, value in (
        ("id", key.id),
        ("prefix", key.prefix + "…"),
        ("collection", key.collection),
        ("client", key.client_name),
        ("notes", key.notes),
        ("active", "yes" if key.active else "no"),
        ("created", _time(key.created_at, "-")),
        ("expires", _time(key.expires_at, "never")),
        ("last used", _time(key.last_used_at, "never")),
        ("stream", key.stream_format or "as configured"),
    ):
        out.print(f"{name:<11}{value}")


def _time(moment: datetime | None, otherwise: str) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else otherwise


def _unknown() -> NoReturn:
    from ..errors import OrbitError

    raise OrbitError("there is no such key; `orbit keys list` shows all of them by id and prefix")
