"""``orbit ingest``: files and folders become a collection, and a report says what of each."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Collection, Server

if TYPE_CHECKING:
    from ..documents.collection_store import Store
    from ..documents.ingest import Report
    from ..documents.loading import FileResult
    from ..services import Services

_MOST_NOTES = 3


def _known_languages(codes: list[str] | None) -> list[str] | None:
    from ..retrieval.words.languages import LANGUAGES

    codes = [code.lower() for code in codes or ()]
    if unknown := [code for code in codes if code not in LANGUAGES]:
        known = ", ".join(sorted(LANGUAGES))
        raise typer.BadParameter(f"{', '.join(unknown)}: not one of {known}.")
    return codes


def ingest(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(help="Files and folders, or addresses of web sites.")
    ],
    collection: Collection,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove passages of files that no longer exist.")
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option("--follow-links", help="Follow symbolic links out of the given folders."),
    ] = False,
    question_column: Annotated[
        str | None,
        typer.Option(help="Question column of CSV files, if it has an unusual name."),
    ] = None,
    answer_column: Annotated[
        str | None,
        typer.Option(help="Answer column of CSV files, if it has an unusual name."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language",
            help="Language code of the documents, such as de or en; repeatable (default: detected)",
            metavar="CODE",
            callback=_known_languages,
        ),
    ] = None,
    ocr: Annotated[
        bool,
        typer.Option("--ocr", help="Recognize the text of scanned PDF pages with tesseract."),
    ] = False,
    max_pages: Annotated[
        int, typer.Option(help="Maximum number of web addresses to visit.", min=1)
    ] = 5000,
    delay: Annotated[
        float,
        typer.Option(help="Seconds between requests to a web site, unless it asks for more."),
    ] = 0.5,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Also read web sites in private networks."),
    ] = False,
    server: Server = None,
) -> None:
    """Load files and folders, or web sites, into a collection.

    Tables, office files, PDF, HTML, Markdown, text and more.
    """
    from ..config.loader import load
    from .site import ingest_sites, is_address

    if any(map(is_address, paths)):
        ingest_sites(
            load(context.obj),
            paths,
            collection,
            server,
            languages=language or (),
            prune=prune,
            max_pages=max_pages,
            delay=delay,
            allow_private=allow_private,
        )
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..documents.ingest import ingest as ingest_files
    from ..documents.readers.ocr import require as require_ocr
    from .console import notes
    from .models import require_models
    from .store import with_store

    config = load(context.obj)

    async def run(store: "Store", services: "Services") -> "Report":
        if store is services.store:
            if ocr:
                require_ocr(language or ("en",))
            await require_models(config, "ollama.embed_model")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(
                "{task.percentage:>3.0f}% {task.fields[chunks]} chunks {task.fields[rate]}/s"
            ),
            TimeRemainingColumn(),
        )
        # a slow machine needs minutes for a batch, and two batches for an estimate
        with Progress(*columns, console=notes, speed_estimate_period=600) as progress:
            task = progress.add_task("Loading", total=None, chunks=0, rate=0)
            chunks = 0

            def advanced(size: int, new: int) -> None:
                nonlocal chunks
                chunks += new
                elapsed = progress.tasks[0].elapsed or 0.0
                rate = round(chunks / elapsed) if elapsed else 0
                progress.update(task, advance=size, chunks=chunks, rate=rate)

            return await ingest_files(
                [Path(path) for path in paths],
                collection,
                store,
                chunk_chars=config.embedding.chunk_chars,
                chunk_overlap=config.embedding.chunk_overlap,
                languages=language or (),
                prune=prune,
                follow_links=follow_links,
                question_column=question_column,
                answer_column=answer_column,
                ocr=ocr,
                started=lambda size: progress.update(task, total=size),
                advanced=advanced,
            )

    stopped = "stopped; loaded passages stay, and the same command continues from there"
    report = with_store(config, server, run, stopped=stopped)
    print_report(report, collection)
    if report.failed:
        raise typer.Exit(1)


def print_report(report: "Report", collection: str) -> None:
    """Print a row for each file that changed or failed, failures last, and the counts."""
    from rich.table import Table
    from rich.text import Text

    from .console import MOST_ROWS, print_table, say, some

    loaded = [result for result in report.files if not result.error]
    noted = [result for result in loaded if result.notes]
    changed = [each for each in loaded if (each.stored or each.removed) and not each.notes]
    failed = [result for result in report.files if result.error]
    table = Table("source", "chunks", "new", "removed", "note")
    for result in changed[:MOST_ROWS]:
        table.add_row(*_counts(result), "")
    for source in report.pruned[:MOST_ROWS]:
        table.add_row(source, "0", "0", "all", "file is gone")
    for result in noted:
        table.add_row(*_counts(result), Text(_first(result.notes), style="yellow"))
    for result in failed:
        table.add_row(*_counts(result), Text(result.error, style="red"))
    if table.row_count:
        print_table(table)
    for kind, more in (("loaded", changed), ("gone", report.pruned)):
        if len(more) > MOST_ROWS:
            say(f"{len(more) - MOST_ROWS} more files {kind}.")
    if unchanged := len(loaded) - len(noted) - len(changed):
        say(f"{unchanged} {'file is' if unchanged == 1 else 'files are'} unchanged.")
    if report.ignored:
        say(f"Not supported and skipped: {_by_ending(report.ignored)}: {some(report.ignored)}")
    if report.links:
        say(f"Links out of the folder, followed only with --follow-links: {some(report.links)}")
    if left_out := sum(result.left_out for result in report.files):
        things = "entry or passage was" if left_out == 1 else "entries or passages were"
        say(f"{left_out} {things} skipped.")
    new = sum(result.stored for result in report.files)
    files = f"{len(loaded)} of {len(report.files)} files"
    say(f"{files} in collection {collection!r}, {new} new chunks.")


def _counts(result: "FileResult") -> tuple[str, str, str, str]:
    return (result.source, str(result.chunks), str(result.stored), str(result.removed))


def _first(notes: list[str]) -> str:
    more = len(notes) - _MOST_NOTES
    return " ".join(notes[:_MOST_NOTES]) + (f" And {more} more." if more > 0 else "")


def _by_ending(names: list[str]) -> str:
    endings = Counter(Path(name).suffix.lower() or "without ending" for name in names)
    return ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
