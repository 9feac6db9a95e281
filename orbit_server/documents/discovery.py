"""Paths -> the files at and below them that can be read, each under the name that users know."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .cleaning import one_line
from .readers.read import SUFFIXES, not_understood, unopened


@dataclass(frozen=True, slots=True)
class File:
    """One thing that ``discover`` came across.

    ``source`` is its name for users and never an absolute path. A ``document`` can be given to
    ``read``; ``ignored`` has an ending that is not understood; a ``link`` leads out of the folder
    and was not followed; for an ``error`` the ``problem`` says what is wrong.
    """

    path: Path
    source: str
    outcome: Literal["document", "ignored", "link", "error"] = "document"
    problem: str = ""


def discover(paths: Sequence[Path], *, follow_links: bool = False) -> Iterator[File]:
    """Find the documents at ``paths``, folders recursively, in sorted order, each real file once.

    In folders hidden files and folders are left out. Links are followed, loops included, but out of
    the given folder only with ``follow_links``: whoever may write there could have any file of the
    machine loaded. A path that is given itself must exist and be understood. ``source`` is relative
    to the working directory for a file inside it, else to the folder that contains the given path,
    with forward slashes; a second file that would get the same source is an error. Nothing is
    raised.
    """
    seen: set[Path] = set()
    sources: set[str] = set()
    for given in paths:
        for path, problem in _walk(given, seen, follow_links):
            source = source_name(path, given)
            if problem is None:
                yield File(path, source, "link")
                continue
            if not problem and path.suffix.lower() not in SUFFIXES:
                if path is not given:
                    yield File(path, source, "ignored")
                    continue
                problem = not_understood(path)
            if not problem and source in sources:
                problem = (
                    f"Another file is already called {source}; load both from a common folder."
                )
            if problem:
                yield File(path, source, "error", problem)
            else:
                sources.add(source)
                yield File(path, source)


def source_name(path: Path, given: Path | None = None) -> str:
    """Return what ``path`` is called when found at or below ``given`` (at itself if None).

    Relative to the working directory for a path inside it ("." for the directory itself), else to
    the folder that contains ``given``; with forward slashes, never absolute.
    """
    # normpath and not resolve: a document is known by the name it has here, wherever a link leads
    full, base, here = (
        Path(os.path.normpath(each.absolute())) for each in (path, given or path, Path())
    )
    return one_line(full.relative_to(here if full.is_relative_to(here) else base.parent).as_posix())


def _walk(given: Path, seen: set[Path], follow_links: bool) -> Iterator[tuple[Path, str | None]]:
    """Yield what is found, with what is wrong with it; None for a link that leads out."""
    waiting = [given]
    root = Path(os.path.realpath(given))
    while waiting:
        path = waiting.pop()
        try:
            real = path.resolve(strict=True)
            if not follow_links and not real.is_relative_to(root):
                yield path, None
                continue
            if real in seen:
                continue
            seen.add(real)
            if real.is_dir():
                inside = [child for child in path.iterdir() if not child.name.startswith(".")]
                waiting += sorted(inside, key=lambda child: child.name, reverse=True)
            else:
                yield path, "" if real.is_file() else "This is not a regular file."
        except RuntimeError:
            yield path, "This link leads back to itself."
        except (OSError, ValueError) as error:
            yield path, unopened(error)
