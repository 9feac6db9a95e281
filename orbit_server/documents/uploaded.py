"""What a client calls its files becomes names of sources, and never a path of this machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .cleaning import one_line
from .discovery import File
from .readers.read import SUFFIXES, TOO_LARGE, not_understood

LONGEST = 500  # characters of a source
_SHOWN = 80


@dataclass(slots=True)
class ReceivedFile:
    """A file as it came: the ``name`` is what the client says, the ``path`` is ours.

    Without a path it is not on the disk: it was not understood, or too large.
    """

    name: str
    path: Path | None = None
    size: int = 0


def ending(name: str) -> str | None:
    """Return the ending by which a reader knows the format of a file of this name, if any does."""
    suffix = PurePosixPath(_relative(name)).suffix.lower()
    return suffix if suffix in SUFFIXES else None


def uploaded_files(received: Iterable[ReceivedFile], prefix: str = "") -> list[File]:
    """Return what is to be loaded, and as ``error`` what is not, with the reason.

    A source is the path that the client gave, below ``prefix``: relative, without ``.`` and ``..``,
    and with nothing invisible. Of two that would have the same only the first counts. What has
    neither name nor content is a form's empty field, and left out.
    """
    files: list[File] = []
    sources: set[str] = set()
    before = one_line(prefix)
    if before and not before.endswith("/"):
        before += "/"
    for each in received:
        if not each.name and not each.size:
            continue
        relative = _relative(each.name)
        source = before + relative
        if problem := _problem(each, relative, source, sources):
            shown = source if len(source) <= _SHOWN else f"{source[:_SHOWN]}…"
            files.append(File(Path(), shown, "error", problem))
        elif each.path is not None:
            sources.add(source)
            files.append(File(each.path, source))
    return files


def _problem(file: ReceivedFile, relative: str, source: str, sources: set[str]) -> str:
    if not relative:
        return "It has no name."
    if len(source) > LONGEST:
        return f"Its name is longer than {LONGEST} characters."
    if source in sources:
        return f"Another file is already called {source}."
    if file.path is not None:
        return ""
    if ending(file.name) is None:
        return not_understood(Path(relative))
    return TOO_LARGE


def _relative(name: str) -> str:
    # What ``discovery.source_name`` returns stays as it is.
    return "/".join(
        part for part in one_line(name).split("/") if part.strip() not in ("", ".", "..")
    )
