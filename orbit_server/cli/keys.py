"""``orbit keys``: API keys created, limited, listed and revoked."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from .options import Collection

if TYPE_CHECKING:
    from ..auth import Key
    from ..auth.key import Limits
    from ..auth.keys import Keys
    from ..types import StreamFormat

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Create, list, limit, rotate and revoke API keys.",
)

Reference = Annotated[str, typer.Argument(help="The key, its id or its visible prefix.")]


_DEFAULT = -1  # no limit of its own: what the configuration says


def _limit(text: str) -> int:
    from ..auth.key import MOST

    if text == "default":
        return _DEFAULT
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= MOST):
        raise typer.BadParameter(f"{text!r} is neither a number nor default; 0 means no limit")
    return int(text)


def _website(text: str) -> str:
    from ..auth import parse_origin

    try:
        return parse_origin(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _limit_option(name: str, help_text: str) -> Any:
    return typer.Option(name, help=help_text, parser=_limit, metavar="NUMBER")


Websites = Annotated[
    list[str] | None,
    typer.Option(
        "--website",
        help="Only pages of this site may use the key, such as https://town.example; repeatable.",
        parser=_website,
        metavar="ORIGIN",
    ),
]
PerMinute = Annotated[
    int | None, _limit_option("--per-minute", "Requests per minute; 0 for no limit.")
]
PerDay = Annotated[
    int | None, _limit_option("--per-day", "Requests per day (UTC); 0 for no limit.")
]
Streams = Annotated[int | None, _limit_option("--streams", "Concurrent answers; 0 for no limit.")]
VisitorPerMinute = Annotated[
    int | None,
    _limit_option("--visitor-per-minute", "Requests per minute from one address; 0 for no limit."),
]


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
    website: Websites = None,
    per_minute: PerMinute = None,
    per_day: PerDay = None,
    streams: Streams = None,
    visitor_per_minute: VisitorPerMinute = None,
) -> None:
    """Create a key for a collection, and show it once.

    With --website the key is public: limits that are not given are set to defaults.
    """
    from ..auth.key import PUBLIC, Limits
    from ..config.loader import load
    from ..retrieval.chroma.validation import checked_name
    from .console import say
    from .store import warn_unless_loaded

    usual = asdict(PUBLIC) if website else {}
    limits = Limits(**usual | _limits(per_minute, per_day, streams, visitor_per_minute))

    async def create(keys: "Keys") -> None:
        key, secret = await keys.create(
            checked_name(collection),
            name,
            notes=notes,
            expires_at=expires,
            stream_format=cast("StreamFormat | None", stream_format),  # its parser has checked it,
            origins=website or (),
            limits=limits,
        )
        safe = "" if website else "; keep it safe"
        say(f"Key {key.id} for collection {collection!r}. It is shown only once{safe}.")
        if website:
            say(f"Everybody who opens the page can see it. It works only on {', '.join(website)};")
            say(f"limits: {_limits_in_words(key.limits)}.")
        print(secret)

    _with_keys(context, create)
    warn_unless_loaded(load(context.obj), collection)


@app.command("list")
def list_keys(context: typer.Context) -> None:
    """List all keys by id and visible prefix."""
    from rich.table import Column, Table

    from .console import print_table, say

    async def show(keys: "Keys") -> None:
        ids = Column("id", no_wrap=True), Column("prefix", no_wrap=True)
        more = "today", Column("websites", min_width=16), Column("limits", min_width=16)
        table = Table(*ids, "collection", "client", "active", "expires", "last used", *more)
        now = datetime.now(UTC)
        for key in await keys.list():
            table.add_row(
                key.id,
                key.prefix + "…",
                key.collection,
                key.client_name,
                "yes" if key.active else "no",
                _time(key.expires_at, "never"),
                _time(key.last_used_at, "never"),
                str(key.used_today(now)),
                " ".join(key.origins) or "-",
                _limits_in_words(key.limits),
            )
        if table.row_count:
            print_table(table)
        else:
            say("There is no key yet: orbit keys create --collection NAME --name WHO creates one.")

    _with_keys(context, show)


@app.command("status")
def key_status(context: typer.Context, key: Reference) -> None:
    """Show one key."""

    async def show(keys: "Keys") -> None:
        _describe(await keys.find(key) or _unknown())

    _with_keys(context, show)


@app.command("limit")
def limit_key(
    context: typer.Context,
    key: Reference,
    website: Websites = None,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="Allow programs and pages of any site to use it.")
    ] = False,
    per_minute: PerMinute = None,
    per_day: PerDay = None,
    streams: Streams = None,
    visitor_per_minute: VisitorPerMinute = None,
) -> None:
    """Change the sites and limits of a key, and show it.

    "default" means the limit in the configuration. A running server follows within seconds.
    """
    if website and anywhere:
        raise typer.BadParameter("--website and --anywhere contradict each other")
    limits = _limits(per_minute, per_day, streams, visitor_per_minute)
    origins = [] if anywhere else website or None

    async def change(keys: "Keys") -> None:
        _describe(await keys.limit(key, limits, origins=origins) or _unknown())

    _with_keys(context, change)


@app.command("rotate")
def rotate_key(
    context: typer.Context,
    key: Reference,
    overlap: Annotated[
        datetime | None,
        typer.Option(
            "--overlap",
            help="How long the old secret works: 7d, 12h, or until a date (default: not at all).",
            parser=_expiry,
            metavar="WHEN",
        ),
    ] = None,
) -> None:
    """Give a key a new secret, and show it once.

    Its id, collection and limits stay.
    """
    from .console import say

    async def rotate(keys: "Keys") -> None:
        rotated, secret = await keys.rotate(key, until=overlap) or _unknown()
        ends = _time(overlap, "now" if overlap is None else "")
        say(f"Key {rotated.id} has a new secret, shown only once. The old one expires {ends}.")
        print(secret)

    _with_keys(context, rotate)


@app.command("deactivate")
def deactivate_key(context: typer.Context, key: Reference) -> None:
    """Deactivate a key. A running server follows within seconds."""
    from .console import say

    async def deactivate(keys: "Keys") -> None:
        found = await keys.deactivate(key) or _unknown()
        say(f"Key {found.id} is inactive.")

    _with_keys(context, deactivate)


@app.command("delete")
def delete_key(context: typer.Context, key: Reference) -> None:
    """Delete a key permanently. A running server follows within seconds."""
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
        ("used today", key.used_today(datetime.now(UTC))),
        ("stream", key.stream_format or "as configured"),
        ("websites", " ".join(key.origins) or "any, and programs"),
        ("limits", f"{_limits_in_words(key.limits)} (else as configured)"),
        ("old key", _time(key.previous_until, "none")),
    ):
        out.print(f"{name:<11}{value}")


def _limits(*given: int | None) -> dict[str, int | None]:
    """Return the limits that were given, in the order of ``LIMITS``, by name."""
    from ..auth.key import LIMITS

    named = zip(LIMITS, given, strict=True)
    return {name: None if n == _DEFAULT else n for name, n in named if n is not None}


def _limits_in_words(limits: "Limits") -> str:
    words = (
        (limits.requests_per_minute, "/min"),
        (limits.requests_per_day, "/day"),
        (limits.streams, " at once"),
        (limits.visitor_per_minute, "/min a visitor"),
    )
    return ", ".join(f"{n or 'any'}{what}" for n, what in words if n is not None) or "-"


def _time(moment: datetime | None, otherwise: str) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else otherwise


def _unknown() -> NoReturn:
    from ..errors import OrbitError

    raise OrbitError("there is no such key; `orbit keys list` shows all of them by id and prefix")
