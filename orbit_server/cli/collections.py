"""``orbit collections`` and ``orbit ingest``: documents loaded, listed and deleted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Collection, Server

if TYPE_CHECKING:
    from ..documents.collection_store import Reindexed, Store
    from ..documents.ingest import Report
    from ..services import Services

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, reindex and delete collections."
)

_SUMMARY = ("name", "chunks", "embedder", "model", "dimension")


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    collection: Collection,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what was loaded from files that are gone.")
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option("--follow-links", help="Follow links that lead out of the given folders."),
    ] = False,
    server: Server = None,
) -> None:
    """Load documents into a collection: JSON and CSV questions, Markdown, text, HTML, PDF."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..config.loader import load
    from ..documents.ingest import ingest as ingest_files
    from .console import notes
    from .store import with_store

    config = load(context.obj)

    async def run(store: "Store", services: "Services") -> "Report":
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(
                "{task.percentage:>3.0f}% {task.fields[chunks]} chunks {task.fields[rate]}/s"
            ),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("Loading", total=None, chunks=0, rate=0)
            chunks = 0

            def advanced(size: int, new: int) -> None:
                nonlocal chunks
                chunks += new
                elapsed = progress.tasks[0].elapsed or 0.0
                rate = round(chunks / elapsed) if elapsed else 0
                progress.update(task, advance=size, chunks=chunks, rate=rate)

            return await ingest_files(
                paths,
                collection,
                store,
                chunk_chars=config.embedding.chunk_chars,
                chunk_overlap=config.embedding.chunk_overlap,
                prune=prune,
                follow_links=follow_links,
                started=lambda size: progress.update(task, total=size),
                advanced=advanced,
            )

    report = with_store(config, server, run)
    _print_report(report, collection)
    if report.failed:
        raise typer.Exit(1)


@app.command("list")
def list_collections(context: typer.Context, server: Server = None) -> None:
    """List all collections with their size and embedder."""
    from rich.table import Table

    from ..config.loader import load
    from .console import print_table
    from .store import with_store

    async def run(store: "Store", services: "Services") -> None:
        table = Table("name", "chunks", "embedder", "model", "dimension")
        for found in await store.collections():
            table.add_row(*(str(found[key] if found[key] is not None else "-") for key in _SUMMARY))
        print_table(table)

    with_store(load(context.obj), server, run)


@app.command("show")
def show_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Show one collection and what it was loaded from."""
    from rich.table import Table

    from ..config.loader import load
    from .console import out, print_table
    from .store import with_store

    async def run(store: "Store", services: "Services") -> None:
        found = await store.show(name)
        sources = found.pop("sources")
        for key, value in found.items():
            out.print(f"{key:<16} {value}")
        table = Table("source", "chunks")
        for source, chunks in sources.items():
            table.add_row(source, str(chunks))
        print_table(table)

    with_store(load(context.obj), server, run)


@app.command("reindex")
def reindex_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Rebuild the word index of a collection from Chroma; also of one loaded by other programs."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from ..config.loader import load
    from .console import notes, say
    from .store import with_store

    async def run(store: "Store", services: "Services") -> "Reindexed":
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("Indexing", total=None)
            result = await store.reindex(name)
            while result.done < result.total:
                progress.update(task, completed=result.done, total=result.total)
                result = await store.reindex(name, result.done)
            progress.update(task, completed=result.done, total=result.total)
        return result

    result = with_store(load(context.obj), server, run)
    say(f"{result.done} passages of collection {name!r} indexed, {result.removed} gone removed.")


@app.command("delete")
def delete_collection(
    context: typer.Context,
    name: str,
    server: Server = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a collection and all its documents."""
    from ..config.loader import load
    from .console import say
    from .store import with_store

    if not yes:
        typer.confirm(f"Delete collection {name!r} and everything in it?", abort=True)

    async def run(store: "Store", services: "Services") -> None:
        await store.drop(name)
        say(f"Collection {name!r} is deleted.")

    with_store(load(context.obj), server, run)


def _print_report(report: "Report", collection: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from .console import print_table, say

    table = Table("source", "chunks", "new", "removed", "")
    for result in report.files:
        table.add_row(
            result.source,
            str(result.chunks),
            str(result.stored),
            str(result.removed),
            Text(result.error or " ".join(result.notes), style="red" if result.error else "yellow"),
        )
    for source in report.pruned:
        table.add_row(source, "0", "0", "all", "file is gone")
    print_table(table)
    loaded = sum(not result.error for result in report.files)
    new = sum(result.stored for result in report.files)
    if report.ignored:
        say(f"Not understood and left out: {', '.join(report.ignored)}")
    if report.links:
        say(
            "Links that lead out of the folder, followed only with --follow-links: "
            + ", ".join(report.links)
        )
    say(f"{loaded} of {len(report.files)} files in collection {collection!r}, {new} chunks new.")
