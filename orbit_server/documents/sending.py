"""Files go to a running server, which reads and stores them as ``load`` does it here."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from typing import Any, BinaryIO

from .discovery import File
from .loading import FileResult, LoadOptions, size_of
from .readers.read import MAX_BYTES, TOO_LARGE, unopened
from .remote_store import RemoteStore

# Far below what a server takes in one form. Files are open while they are sent.
_FORM_FILES = 200
_FORM_BYTES = 100_000_000
_UNTOLD = "The server did not say what became of it."


async def send(
    files: Sequence[File],
    collection: str,
    store: RemoteStore,
    options: LoadOptions,
    *,
    advanced: Callable[[int, int], None],
) -> list[FileResult]:
    """Send ``files``, in several forms where they are many, and say what became of each.

    Chunks are as the server is configured, and each file is there as it was or as it is, also when
    this is cancelled. ``advanced(bytes, chunks)`` tells what is done. Raises what ``store`` raises.
    """
    problems = {entry: _problem(entry) for entry in files}
    found: dict[str, FileResult] = {}
    wanted = [entry for entry in files if not problems[entry]]
    for group in _groups(wanted):
        await _send(group, collection, store, options, found, advanced)
    return [
        FileResult(entry.source, error=problems[entry])
        if problems[entry]
        else found.get(entry.source) or FileResult(entry.source, error=_UNTOLD)
        for entry in files
    ]


def _problem(entry: File) -> str:
    if size_of(entry) > MAX_BYTES:
        return TOO_LARGE
    return entry.problem


def _groups(files: Sequence[File]) -> Iterator[list[File]]:
    group: list[File] = []
    size = 0
    for entry in files:
        if group and (len(group) == _FORM_FILES or size + size_of(entry) > _FORM_BYTES):
            yield group
            group, size = [], 0
        group.append(entry)
        size += size_of(entry)
    if group:
        yield group


async def _send(
    group: Sequence[File],
    collection: str,
    store: RemoteStore,
    options: LoadOptions,
    results: dict[str, FileResult],
    advanced: Callable[[int, int], None],
) -> None:
    with ExitStack() as stack:
        opened: dict[str, BinaryIO] = {}
        for entry in group:
            try:
                opened[entry.source] = stack.enter_context(entry.path.open("rb"))
            except OSError as error:
                results[entry.source] = FileResult(entry.source, error=unopened(error))
        size, done, new = sum(map(size_of, group)), 0, 0
        if opened:
            events = store.upload(collection, opened, _fields(options))
            async with aclosing(events):
                async for event in events:
                    if event.get("event") == "progress":
                        advanced(event["bytes"] - done, event["new"] - new)
                        done, new = event["bytes"], event["new"]
                    elif event.get("event") in ("stored", "skipped"):
                        results[event["source"]] = _result(event)
        advanced(size - done, 0)


def _fields(options: LoadOptions) -> list[tuple[str, str]]:
    fields = [("language", code) for code in options.languages]
    if options.question_column is not None:
        fields.append(("question_column", options.question_column))
    if options.answer_column is not None:
        fields.append(("answer_column", options.answer_column))
    if options.ocr:
        fields.append(("ocr", "true"))
    return fields


def _result(event: dict[str, Any]) -> FileResult:
    if event["event"] == "skipped":
        return FileResult(event["source"], error=event["reason"])
    return FileResult(
        event["source"],
        chunks=event["passages"],
        stored=event["new"],
        removed=event["removed"],
        left_out=event["left_out"],
        notes=event["warnings"],
    )
