"""Files become chunks, and chunks become what a collection holds; resumable, in batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .answers import ANSWERS
from .collection_store import Store
from .discovery import File, discover, source_name
from .loading import FileResult, LoadOptions, load, remove_all, size_of
from .remote_store import RemoteStore
from .sending import send


@dataclass(slots=True)
class Report:
    """What became of all files, which were not understood, and which sources were pruned.

    ``links`` lead out of the named folders and were not followed.
    """

    files: list[FileResult] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any file, or a passage of one, could not be loaded, or there was none at all."""
        return not self.files or any(result.error or result.left_out for result in self.files)


async def ingest(
    paths: Sequence[Path],
    collection: str,
    store: Store,
    *,
    chunk_chars: int,
    chunk_overlap: int,
    batch: int = 512,
    languages: Sequence[str] = (),
    prune: bool = False,
    follow_links: bool = False,
    question_column: str | None = None,
    answer_column: str | None = None,
    ocr: bool = False,
    started: Callable[[int], None] = lambda size: None,
    advanced: Callable[[int, int], None] = lambda size, chunks: None,
) -> Report:
    """Load the files at ``paths`` into ``collection`` and say what happened to each.

    Only chunks that the collection does not hold are embedded, so a second run changes nothing and
    an interrupted one continues where it stopped. Old chunks of an edited file go when its new ones
    are in. ``prune`` also removes the sources under ``paths`` whose file is gone. Links that lead
    out of a folder are followed with ``follow_links`` only. A file that cannot be read is reported
    and left as it was. The columns are those of question/answer tables, where they have unusual
    names; with ``ocr`` the text of scanned pages is recognized. A running server is sent the files,
    and reads them itself, into chunks as it is configured. ``started(bytes)`` tells the total,
    ``advanced(bytes, chunks)`` what of it is done.
    Raises what ``store`` raises: no later file would fare better.
    """
    report = Report()
    found = list(discover(paths, follow_links=follow_links))
    report.ignored = [entry.source for entry in found if entry.outcome == "ignored"]
    report.links = [entry.source for entry in found if entry.outcome == "link"]
    documents = [entry for entry in found if entry.outcome in ("document", "error")]
    started(sum(map(size_of, documents)))
    options = LoadOptions(
        chunk_chars=chunk_chars,
        chunk_overlap=chunk_overlap,
        languages=languages,
        question_column=question_column,
        answer_column=answer_column,
        ocr=ocr,
        batch=batch,
    )
    if isinstance(store, RemoteStore):
        report.files = await send(documents, collection, store, options, advanced=advanced)
    else:
        report.files = await load(documents, collection, store, options, advanced=advanced)
    if prune:
        report.pruned = await _prune(paths, collection, store, found)
    return report


async def _prune(
    paths: Sequence[Path], collection: str, store: Store, found: Sequence[File]
) -> list[str]:
    roots = [source_name(path) for path in paths]
    present = {entry.source for entry in found}
    # What cannot be opened, or was not followed, is not gone: a folder may just not be mounted.
    closed = [entry.source for entry in found if entry.outcome in ("error", "link")]
    gone = [
        source
        for source in await store.sources(collection)
        if source not in present
        and source != ANSWERS
        and _below(source, roots)
        and not _below(source, closed)
    ]
    await remove_all(gone, collection, store)
    return gone


def _below(source: str, places: Sequence[str]) -> bool:
    return any(
        place in ("", ".") or source == place or source.startswith(place + "/") for place in places
    )
