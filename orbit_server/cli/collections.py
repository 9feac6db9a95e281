"""``orbit collections``: what is loaded, listed, indexed again and deleted."""

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Server

if TYPE_CHECKING:
    from ..documents.collection_store import Store
    from ..documents.repair import Repaired
    from ..retrieval.words.mending import Reindexed
    from ..services import Services

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, repair and delete collections and their contents.",
)

_SUMMARY = ("name", "chunks", "embedder", "model", "dimension", "languages")


@app.command("list")
def list_collections(context: typer.Context, server: Server = None) -> None:
    """List all collections with their size and embedder."""
    from rich.table import Table

    from ..config.loader import load
    from .console import print_table, say
    from .store import with_store

    async def run(store: "Store", services: "Services") -> None:
        table = Table(*_SUMMARY)
        for found in await store.collections():
            table.add_row(*(_cell(found.get(key)) for key in _SUMMARY))
            if found.get("error"):
                damaged.append(found["name"])
        if table.row_count:
            print_table(table)
        else:
            say("There is no collection yet: orbit ingest FILES --collection NAME creates one.")

    damaged: list[str] = []
    with_store(load(context.obj), server, run)
    for name in damaged:
        say(f"{name} is damaged and cannot be searched: orbit collections repair {name}")


@app.command("show")
def show_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Show one collection and its sources."""
    from rich.table import Table

    from ..config.loader import load
    from .console import out, print_table
    from .store import with_store

    async def run(store: "Store", services: "Services") -> None:
        found = await store.show(name)
        sources = found.pop("sources")
        for key, value in found.items():
            out.print(f"{key:<16} {_cell(value)}")
        table = Table("source", "chunks")
        for source, chunks in sources.items():
            table.add_row(source, str(chunks))
        print_table(table)

    with_store(load(context.obj), server, run)


@app.command("files")
def list_files(context: typer.Context, name: str, server: Server = None) -> None:
    """List the sources of a collection.

    With passages, pages, time, language, and warnings about what was skipped or unreadable.
    """
    from rich.table import Table

    from ..config.loader import load
    from .console import print_table
    from .store import with_store

    async def run(store: "Store", services: "Services") -> None:
        table = Table("source", "passages", "pages", "loaded", "language", "warnings")
        after: str | None = ""
        while after is not None:
            files, after = await store.files(name, after=after)
            for file in files:
                table.add_row(
                    file.source,
                    str(file.passages),
                    _cell(file.pages),
                    _cell(file.loaded),
                    _cell(file.languages),
                    "\n".join(file.warnings),
                )
        print_table(table)

    with_store(load(context.obj), server, run)


@app.command("remove")
def remove_file(context: typer.Context, name: str, source: str, server: Server = None) -> None:
    """Remove one source, named as in `files`."""
    from ..config.loader import load
    from .console import say
    from .store import with_store

    async def run(store: "Store", services: "Services") -> int:
        return await store.remove(name, source)

    removed = with_store(load(context.obj), server, run)
    passages = "passage is" if removed == 1 else "passages are"
    say(f"{removed} {passages} removed from collection {name!r}.")


@app.command("reindex")
def reindex_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Rebuild the word index of a collection from Chroma.

    Also works for collections that other programs loaded.
    """
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
    say(
        f"{result.done} passages of collection {name!r} indexed, {result.removed} obsolete removed."
    )


@app.command("repair")
def repair_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Repair a damaged collection.

    Texts that are still in the database are embedded again.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from ..config.loader import load
    from .console import notes, say
    from .store import with_store

    async def run(store: "Store", services: "Services") -> "Repaired":
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("Repairing", total=None)
            result = await store.repair(name)
            while result.next is not None:
                progress.update(task, completed=result.done, total=result.total)
                result = await store.repair(name, result.next)
            progress.update(task, completed=result.done, total=result.total)
        return result

    result = with_store(load(context.obj), server, run)
    if result.total == 0:
        say(f"Collection {name!r} is not damaged. Nothing was changed.")
        return
    say(
        f"Collection {name!r} is repaired, {result.total} passages. If loading it was interrupted,"
        " run `orbit ingest` again: it adds what is missing."
    )


@app.command("clean")
def clean_collections(context: typer.Context, server: Server = None) -> None:
    """Remove deleted data from disk.

    Rewrites Chroma's database, which needs as much free disk space as the database, and about a
    second for each 100 MB, during which questions wait. Word indexes of deleted collections are
    deleted.
    """
    from ..config.loader import load
    from .console import say
    from .store import with_store

    async def run(store: "Store", services: "Services") -> int:
        return await store.clean()

    freed = with_store(load(context.obj), server, run)
    say(f"{freed / 1_000_000:.1f} MB freed.")


@app.command("delete")
def delete_collection(
    context: typer.Context,
    name: str,
    server: Server = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a collection and all its documents."""
    from ..config.loader import load
    from .console import say, typed
    from .store import with_store

    if not yes:
        question = f"Delete collection {name!r} and everything in it? [y/N]: "
        answer = "?"
        while answer not in ("y", "yes", "n", "no", ""):
            answer = (typed(question) or "").strip().lower()
        if not answer.startswith("y"):
            raise typer.Abort

    async def run(store: "Store", services: "Services") -> None:
        await store.drop(name)
        say(f"Collection {name!r} is deleted.")

    with_store(load(context.obj), server, run)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
