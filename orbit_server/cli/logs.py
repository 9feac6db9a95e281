"""``orbit logs``: the chat log read, and sent to Elasticsearch."""

import asyncio
import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from ..observability.shipper import Shipper

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Follow the chat log, and send it to Elasticsearch.",
)
_COLOURS = {"completed": "green", "disconnected": "yellow", "failed": "red"}
_LOOK_EVERY = 0.5
_MOST_ASKED = 10_000  # questions that a rating may still come for


@app.command()
def tail(
    context: typer.Context,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Number of records to begin with.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Keep showing new records.")
    ] = True,
) -> None:
    """Show the latest records, and each new one as it is written."""
    from ..config.loader import load
    from .console import out

    directory = Path(load(context.obj).logging.file.directory)
    seen: dict[Path, int] = {}
    asked: OrderedDict[str, str] = OrderedDict()
    with _readable():
        for record in deque(_noted(_new_records(directory, seen), asked), maxlen=lines):
            out.print(_shown(record, asked))
        while follow:
            time.sleep(_LOOK_EVERY)
            for record in _noted(_new_records(directory, seen), asked):
                out.print(_shown(record, asked))


@app.command()
def status(context: typer.Context) -> None:
    """Show how much of the chat log is still to be sent.

    And whether Elasticsearch accepts records.
    """
    from .console import out

    shipper = _shipper(context)
    with _readable():
        lines, size = shipper.lag()
    out.print(f"Elasticsearch  {shipper.status}{f': {shipper.cause}' if shipper.cause else ''}")
    out.print(f"to be sent     {lines} lines, {size} bytes")
    if rejected := shipper.rejected():
        out.print(f"rejected       {rejected} lines, in {shipper.checkpoint.rejected.path}")


@app.command()
def ship(context: typer.Context) -> None:
    """Send all records not yet in Elasticsearch, and exit."""
    from .console import out

    shipped = asyncio.run(_shipper(context).ship_once())
    out.print(f"{shipped.documents} records are in Elasticsearch now, {shipped.rejected} rejected.")


@app.command()
def resend(context: typer.Context) -> None:
    """Send the lines in rejected.log again.

    Those that are rejected again stay in it.
    """
    from .console import out

    sent = asyncio.run(_shipper(context).resend_rejected())
    out.print(f"{sent.documents} records are in Elasticsearch now, {sent.rejected} rejected again.")
    if sent.rejected:
        raise typer.Exit(1)


def _shipper(context: typer.Context) -> "Shipper":
    from ..config.loader import load
    from ..errors import OrbitError
    from ..observability import build_shipper

    config = load(context.obj)
    if not config.elasticsearch.enabled:
        raise OrbitError("elasticsearch.enabled is false: the chat log is in its files only")
    return build_shipper(config.elasticsearch, config.logging.file.directory)


@contextmanager
def _readable() -> Iterator[None]:
    from ..errors import OrbitError

    try:
        yield
    except OSError as error:
        raise OrbitError(f"the chat log cannot be read: {error}") from error


def _new_records(directory: Path, seen: dict[Path, int]) -> Iterator[dict[str, Any]]:
    """Yield what whole lines hold beyond ``seen``, bytes by file, and move that on."""
    for path in _files(directory):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if seen.get(path, 0) > os.fstat(file.fileno()).st_size:
                seen[path] = 0  # it was replaced
            file.seek(seen.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                seen[path] = seen.get(path, 0) + len(line)
                record = _record(line)
                if isinstance(record, dict):
                    yield record


def _noted(
    records: Iterator[dict[str, Any]], asked: OrderedDict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield ``records``, and note the latest questions by the ids of their answers in ``asked``."""
    from .console import on_one_line

    for record in records:
        if isinstance(id := record.get("answer_id"), str) and record.get("kind") == "exchange":
            asked[id] = on_one_line(record.get("query"))
            if len(asked) > _MOST_ASKED:
                asked.popitem(last=False)
        yield record


def _files(directory: Path) -> list[Path]:
    """Return the files of the chat log, that which was written last at the end."""
    from ..observability.chatlog_files import log_files

    found: list[tuple[float, Path]] = []
    for file in log_files(directory):
        with suppress(FileNotFoundError):  # too old, and removed
            found.append((file.path.stat().st_mtime, file.path))
    return [path for _, path in sorted(found)]


def _record(line: bytes) -> Any:
    """Return what a line holds, if need be behind the torn line of a process that died in it."""
    import orjson

    from ..observability.chatlog_files import split_torn

    for _, rest in split_torn(line):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(rest)
    return None


def _shown(record: dict[str, Any], asked: Mapping[str, str]) -> "Text":
    from rich.text import Text

    from .console import on_one_line

    text = Text()
    text.append(f"{on_one_line(record.get('timestamp', ''))[:19].replace('T', ' ')}  ", style="dim")
    match record.get("kind"):
        case "exchange":
            outcome = "blocked" if record.get("blocked") else on_one_line(record.get("outcome"))
            colour = _COLOURS.get(outcome, "magenta")
            text.append(f"{outcome:<12} ", style=colour)
            text.append(f"{on_one_line(record.get('collection'))}  ", style="cyan")
            text.append(f"{on_one_line(record.get('query'))}  ", style="bold")
            text.append(on_one_line(record.get("response")))
        case "feedback":
            up = record.get("rating") == 1
            text.append(f"{'rated':<12} ", style="green" if up else "yellow")
            text.append(f"{on_one_line(record.get('collection'))}  ", style="cyan")
            text.append(f"{'+1' if up else '-1'}  ")
            text.append(f"{asked.get(str(record.get('answer_id')), '')}  ", style="bold")
            text.append(on_one_line(record.get("comment") or ""))
        case "error":
            text.append(f"{'error':<12} {on_one_line(record.get('code'))}  ", style="red")
            text.append(on_one_line(record.get("cause")))
        case kind:
            rest = {k: v for k, v in record.items() if k not in ("timestamp", "id", "kind")}
            text.append(f"{on_one_line(kind):<12} ", style="blue")
            text.append(on_one_line(" ".join(f"{k}={v}" for k, v in rest.items())))
    return text
