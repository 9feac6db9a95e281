"""``orbit questions``: what people asked, and what of it the documents do not answer."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..options import AsJson, Collection, Server

if TYPE_CHECKING:
    from ...observability.questions.report import Report

Origin = Literal["files", "elasticsearch"]


def questions(
    context: typer.Context,
    collection: Collection,
    since: Annotated[
        str,
        typer.Option(
            "--since", help="Start of the period: 30d, 12h, 2w, or a date.", metavar="TIME"
        ),
    ] = "30d",
    origin: Annotated[
        Origin,
        typer.Option(
            "--from", help="The chat log of this host (files), or of all (elasticsearch)."
        ),
    ] = "files",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")] = False,
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write an HTML page to this file.", metavar="FILE")
    ] = None,
    review: Annotated[
        bool, typer.Option("--review", help="Answer, ignore or export questions one by one.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="File that --review exports to.", metavar="FILE"),
    ] = None,
    server: Server = None,
) -> None:
    """Show what people asked, and which questions found no answer.

    Questions are counted by outcome. Those that found nothing or little are grouped by
    meaning. All of it stays on this machine.
    """
    from ...config.loader import load
    from ..console import say
    from .asking import questions_of

    config = load(context.obj)
    now = datetime.now(UTC)
    made = questions_of(config, collection, beginning(since, now), now, origin, server)
    if html is not None:
        from .page import write_page

        write_page(html, made)
        say(f"Written to {html}.")
    if review:
        from .review import review_gaps

        review_gaps(config, made, export or Path(f"questions-{collection}.csv"), server)
    elif as_json:
        import orjson

        print(orjson.dumps(made.json(), option=orjson.OPT_INDENT_2).decode())
    elif as_csv:
        import sys

        from .sheet import write_gaps

        write_gaps(sys.stdout, made.gaps)
    elif html is None:
        _print(made)


def beginning(text: str, now: datetime) -> datetime:
    """Return the time that ``text`` names: how long before ``now``, or a date in UTC.

    Raises ``typer.BadParameter``.
    """
    from datetime import timedelta

    units = {"h": "hours", "d": "days", "w": "weeks"}
    number, unit = text[:-1], text[-1:]
    try:
        if unit in units and number.isascii() and number.isdigit():
            return now - timedelta(**{units[unit]: int(number)})
        named = datetime.fromisoformat(text)
        return named if named.tzinfo else named.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is none of 30d, 12h, 2w, or a date such as 2026-03-01", param_hint="--since"
        ) from None


def _print(made: "Report") -> None:
    from .tables import print_report

    print_report(made)
