"""``orbit ingest https://…``: web sites become a collection, and a report says how."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from ..errors import InvalidRequest

if TYPE_CHECKING:
    from ..config.loader import Config
    from ..documents.collection_store import Store
    from ..documents.site.crawl import Visit
    from ..documents.site.load import SiteReport
    from ..services import Services


def is_address(given: str) -> bool:
    """Tell whether an argument is the address of a web site and no file."""
    return re.match(r"https?://", given, re.I) is not None


def ingest_sites(
    config: "Config",
    addresses: Sequence[str],
    collection: str,
    server: str | None,
    *,
    languages: Sequence[str],
    prune: bool,
    max_pages: int,
    delay: float,
    allow_private: bool,
) -> None:
    """Load web sites into a collection, print what became of their pages, and exit with 1 if none.

    Files among the ``addresses`` are refused: they are loaded by a call of their own.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from ..documents.site.address import Site
    from ..documents.site.frontier import Bounds
    from ..documents.site.load import ingest_sites as load_sites
    from .console import notes
    from .models import require_models
    from .store import with_store

    if not all(map(is_address, addresses)):
        raise typer.BadParameter("Give files or the addresses of web sites, not both.")
    try:
        sites = [Site.of(address) for address in addresses]
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from error

    async def run(store: "Store", services: "Services") -> "SiteReport":
        if store is services.store:
            await require_models(config, "ollama.embed_model")
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description} {task.completed} of {task.total} addresses,"),
            TextColumn("{task.fields[chunks]} chunks"),
        )
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("Loading", total=len(sites), chunks=0)

            def advanced(visited: int, waiting: int, chunks: int) -> None:
                total = visited + waiting
                progress.update(task, completed=visited, total=total, chunks=chunks)

            return await load_sites(
                sites,
                collection,
                store,
                chunk_chars=config.embedding.chunk_chars,
                chunk_overlap=config.embedding.chunk_overlap,
                languages=languages,
                prune=prune,
                delay=delay,
                allow_private=allow_private,
                bounds=Bounds(pages=max_pages),
                advanced=advanced,
            )

    stopped = "stopped; loaded passages stay, and the same command continues from there"
    report = with_store(config, server, run, stopped=stopped)
    print_site_report(report, collection)
    if report.failed:
        raise typer.Exit(1)


def print_site_report(report: "SiteReport", collection: str) -> None:
    """Print a row for each page that changed or was removed, and the counts."""
    from rich.table import Table
    from rich.text import Text

    from .console import MOST_ROWS, print_table, say, some

    changed = [each for each in report.results if each.stored or each.removed or each.notes]
    table = Table("source", "chunks", "new", "removed", "note")
    for each in changed[:MOST_ROWS]:
        note = Text(" ".join(each.notes[:3]), style="yellow")
        table.add_row(each.source, str(each.chunks), str(each.stored), str(each.removed), note)
    for source in report.pruned[:MOST_ROWS]:
        table.add_row(source, "0", "0", "all", "page is gone")
    if table.row_count:
        print_table(table)
    for kind, more in (("loaded", changed), ("gone", report.pruned)):
        if len(more) > MOST_ROWS:
            say(f"{len(more) - MOST_ROWS} more pages {kind}.")
    for outcome, sentence in _SENTENCES.items():
        if visits := report.of(outcome):
            _say_visits(sentence, visits, by_reason=outcome == "skipped")
    if report.left:
        _say_left(report.left)
    for bound in report.bounds_hit:
        say(f"Ended early: {bound}")
    if report.stale:
        say(f"Gone, and removed only with --prune: {some(report.stale)}")
    _say_counts(report, collection)


_SENTENCES = {
    "refused": "Not allowed by robots.txt",
    "noindex": "Excluded by noindex",
    "duplicate": "Duplicates of another address",
    "skipped": "Not supported and skipped",
    "empty": "Without text",
    "gone": "Not there",
    "failed": "Failed",
}


def _say_visits(sentence: str, visits: "Sequence[Visit]", *, by_reason: bool) -> None:
    from .console import say, some

    if by_reason:
        kinds = Counter(visit.reason for visit in visits)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        say(f"{sentence}: {listed}: {some([visit.address for visit in visits])}")
        return
    rows = [f"{visit.address}{_why(visit)}" for visit in visits]
    say(f"{sentence}: {some(rows)}")


def _why(visit: "Visit") -> str:
    reason = visit.target or visit.reason.rstrip(".")
    return f" ({reason})" if reason and visit.outcome != "refused" else ""


def _say_left(left: Mapping[str, str]) -> None:
    from .console import say, some

    for reason, count in Counter(left.values()).most_common():
        addresses = [address for address, why in left.items() if why == reason]
        say(f"Not visited, {reason}: {count}: {some(addresses[:3])}")


def _say_counts(report: "SiteReport", collection: str) -> None:
    from .console import say

    names = {
        "fetched": ("read",),
        "unchanged": ("unchanged",),
        "redirected": ("redirected",),
        "duplicates": ("duplicate",),
        "refused": ("refused", "noindex"),
        "skipped": ("skipped", "empty"),
        "gone": ("gone",),
        "failed": ("failed",),
    }
    counts = ", ".join(f"{len(report.of(*each))} {name}" for name, each in names.items())
    say(f"Pages: {counts}, {len(report.pruned)} removed.")
    new = sum(result.stored for result in report.results)
    there = len(report.of("read", "unchanged"))
    say(f"{there} pages in collection {collection!r}, {new} new chunks.")
