"""``python -m orbit_server logs``: the chat log, read and sent on."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.text import Text

from .chatlog import FILE_NAME
from .config import load
from .errors import OrbitError
from .parts import make_shipper
from .shipper import Shipper

app = typer.Typer(no_args_is_help=True, help="Follow the chat log, and send it to Elasticsearch.")
out = Console(highlight=False, soft_wrap=True)

_COLOURS = {"completed": "green", "disconnected": "yellow", "failed": "red"}
_LOOK_EVERY = 0.5


@app.command()
def tail(
    context: typer.Context,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many to begin with.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with what comes.")
    ] = True,
) -> None:
    """Show the latest records, and each new one as it is written."""
    directory = Path(load(context.obj).logging.file.directory)
    seen: dict[Path, int] = {}
    for record in list(_new_records(directory, seen))[-lines:]:
        out.print(_shown(record))
    while follow:
        time.sleep(_LOOK_EVERY)
        for record in _new_records(directory, seen):
            out.print(_shown(record))


@app.command()
def status(context: typer.Context) -> None:
    """Show how much of the chat log is not yet in Elasticsearch."""
    shipper = _shipper(context)
    lines, size = shipper.lag()
    out.print(f"Elasticsearch  {shipper.state}{f': {shipper.cause}' if shipper.cause else ''}")
    out.print(f"to be sent     {lines} lines, {size} bytes")


@app.command()
def ship(context: typer.Context) -> None:
    """Send all that is not yet in Elasticsearch, and exit."""
    shipped = asyncio.run(_shipper(context).ship_once())
    out.print(
        f"{shipped.documents} records are in Elasticsearch now, {shipped.rejected} put aside."
    )


def _shipper(context: typer.Context) -> Shipper:
    config = load(context.obj)
    if not config.elasticsearch.enabled:
        raise OrbitError("elasticsearch.enabled is false: the chat log is in its files only")
    return make_shipper(config)


def _new_records(directory: Path, seen: dict[Path, int]) -> Iterator[dict[str, Any]]:
    """Yield what whole lines hold beyond ``seen``, bytes by file, and move that on."""
    try:
        paths = sorted(path for path in directory.iterdir() if FILE_NAME.fullmatch(path.name))
    except FileNotFoundError:
        return
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        with path.open("rb") as file:
            file.seek(seen.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                seen[path] = seen.get(path, 0) + len(line)
                try:
                    record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue  # a process that died in the middle of it
                if isinstance(record, dict):
                    yield record


def _shown(record: dict[str, Any]) -> Text:
    text = Text(f"{str(record.get('timestamp', ''))[:19].replace('T', ' ')}  ", style="dim")
    match record.get("kind"):
        case "exchange":
            outcome = "blocked" if record.get("blocked") else str(record.get("outcome"))
            colour = _COLOURS.get(outcome, "magenta")
            text.append(f"{outcome:<12} ", style=colour)
            text.append(f"{record.get('collection')}  ", style="cyan")
            text.append(f"{_line(record.get('query'))}  ", style="bold not dim")
            text.append(_line(record.get("response")), style="not dim")
        case "error":
            text.append(f"{'error':<12} {record.get('code')}  ", style="red")
            text.append(_line(record.get("cause")), style="not dim")
        case kind:
            rest = {k: v for k, v in record.items() if k not in ("timestamp", "id", "kind")}
            text.append(f"{kind!s:<12} ", style="blue")
            text.append(_line(" ".join(f"{k}={v}" for k, v in rest.items())), style="not dim")
    return text


def _line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 160 else text[:159] + "…"
