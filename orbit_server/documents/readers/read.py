"""One file -> its chunks, whatever its format.

What a reader of the document cannot see is left out: comments, scripts, hidden elements and
invisible characters.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ...errors import UnreadableDocument
from ..chunking import split
from ..cleaning import one_line
from ..model import Chunk, Document, Scalar, heading_path, shortened
from . import delimited, html, mail, markdown, markup, notebook, ocr, pairs, pdf, text
from .encoding import decoded
from .office import epub, opendocument, sheets, slides, word

MAX_BYTES = 50_000_000
TOO_LARGE = f"The file is larger than {MAX_BYTES // 1_000_000} MB; divide it."
_LONGEST_CHUNK = 5 * 1024 * 1024  # as JSON, on its way to a server
_TABLES = (".csv", ".tsv")
_TEXTS: dict[str, Callable[[str], Document]] = {
    ".md": markdown.read,
    ".markdown": markdown.read,
    ".txt": text.read,
    ".html": html.parse,
    ".htm": html.parse,
    ".rst": markup.read_rst,
    ".ipynb": notebook.read,
}
_BINARIES: dict[str, Callable[[bytes], Document]] = {
    ".docx": word.read,
    ".pptx": slides.read,
    ".odt": opendocument.read,
    ".odp": opendocument.read,
    ".epub": epub.read,
    ".eml": mail.read_eml,
    ".mbox": mail.read_mbox,
    ".rtf": markup.read_rtf,
}
_SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
SUFFIXES = (".json", *_TABLES, *_SHEETS, *_TEXTS, ".pdf", *_BINARIES)


_Columns = tuple[str | None, str | None]  # of questions and of answers


class ReadFile(NamedTuple):
    """The chunks of one file, and in a sentence each what could not be read.

    ``notes`` are about the file as a whole; the ``left_out`` are parts that could not be read.
    ``facts`` are what else is known of a page of the web.
    """

    chunks: list[Chunk]
    notes: Sequence[str] = ()
    left_out: Sequence[str] = ()
    facts: Mapping[str, Any] = {}


def read(
    path: Path,
    source: str,
    *,
    chunk_chars: int,
    chunk_overlap: int,
    question_column: str | None = None,
    answer_column: str | None = None,
    ocr_languages: Sequence[str] | None = None,
) -> ReadFile:
    """Read one file into chunks.

    ``source`` goes into every chunk's metadata. Passages are at most ``chunk_chars`` characters
    long and share whole sentences of up to ``chunk_overlap`` characters with the passage before.

    JSON (a list of objects) and CSV with such columns hold pairs: ``question`` is embedded and
    ``answer`` stored whole. Columns may have these names in many languages, or those that
    ``question_column`` and ``answer_column`` say; a CSV without is a document of its rows. The
    other fields of pairs become metadata: scalars as they are, lists and objects (and numbers that
    no database holds) as JSON text, nulls and empty cells not at all because they say nothing; a
    name that means something else to us is kept with ``extra_`` in front.

    With ``ocr_languages``, the text of scanned pages is recognized, in English if they are empty.

    Raises ``UnreadableDocument``, and ``ValueError`` for impossible chunk sizes.
    """
    if not 0 <= chunk_overlap < chunk_chars:
        raise ValueError("chunk_overlap must be at least 0 and smaller than chunk_chars")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UnreadableDocument(not_understood(path))
    try:
        columns = question_column, answer_column
        found, notes = _parsed(suffix, _bytes(path), columns, ocr_languages)
        if isinstance(found, Document):
            found.title = found.title or one_line(re.sub("[_-]+", " ", Path(source).stem)) or source
            passages = divided(found, source, chunk_chars, chunk_overlap)
            return ReadFile(passages, [*notes, *found.notes], found.left_out)
        chunks, problems = pairs.chunks(found, source)
        if any(len(orjson.dumps(chunk)) > _LONGEST_CHUNK for chunk in chunks):
            raise UnreadableDocument(f"One answer is longer than {_LONGEST_CHUNK >> 20} MiB.")
        return ReadFile(chunks, notes, problems)
    except UnreadableDocument:
        raise
    except OSError as error:
        raise UnreadableDocument(unopened(error)) from error
    except RecursionError as error:
        raise UnreadableDocument("The document is nested too deeply.") from error
    except Exception as error:
        # the parsers are other people's code, and one odd file must not end the loading of a
        # thousand
        raise UnreadableDocument(f"The file is damaged ({type(error).__name__}).") from error


def _pdf(data: bytes, ocr_languages: Sequence[str] | None) -> Document:
    if ocr_languages is None:
        return pdf.read(data)
    return pdf.read(data, partial(ocr.recognized, languages=ocr_languages))


def _parsed(
    suffix: str, data: bytes, columns: _Columns, ocr_languages: Sequence[str] | None
) -> tuple[Document | Iterator[pairs.QuestionAnswer | str], list[str]]:
    if suffix == ".pdf":
        return _pdf(data, ocr_languages), []
    if suffix in _BINARIES:
        return _BINARIES[suffix](data), []
    if suffix in _SHEETS:
        return _of_tables(sheets.tables(data), columns), []
    is_page = suffix in (".html", ".htm")
    content, note = decoded(data, html.declared_encoding(data) if is_page else None)
    notes = [note] if note else []
    if suffix == ".json":
        return pairs.read_json(content), notes
    if suffix in _TABLES:
        return _of_tables({"": delimited.table(content)}, columns), notes
    return _TEXTS[suffix](content), notes


def _of_tables(
    tables: Mapping[str, delimited.Table], columns: _Columns
) -> Document | Iterator[pairs.QuestionAnswer | str]:
    found = pairs.of_tables(tables, *columns)
    return delimited.rows_document(tables) if found is None else found


def divided(
    document: Document,
    source: str,
    size: int,
    overlap: int,
    more: Mapping[str, Scalar] | None = None,
) -> list[Chunk]:
    """Return the passages of a document as chunks, ``more`` being metadata of each.

    Raises ``UnreadableDocument`` where it holds none.
    """
    chunks = []
    title = shortened(document.title)
    passages = split(document.blocks, size=size, overlap=overlap)
    for position, passage in enumerate(passages):
        metadata: dict[str, Scalar] = {"source": source, "title": title, "position": position}
        metadata |= more or {}
        if passage.heading:
            metadata["heading"] = passage.heading
        if passage.page is not None:
            metadata["page"] = passage.page
        under_title = f"{passage.heading} > ".startswith(f"{title} > ")
        context = passage.heading if under_title else heading_path([title, passage.heading])
        chunks.append(Chunk.of(f"{context}\n{passage.text}", passage.text, metadata))
    if not chunks:
        raise UnreadableDocument(*document.left_out[:1] or ["The file contains no visible text."])
    return chunks


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableDocument(TOO_LARGE)
    if not data.strip():
        raise UnreadableDocument("The file is empty.")
    return data


def not_understood(path: Path) -> str:
    """Return the sentence for a file of a format that no reader knows."""
    ending = f"The ending {path.suffix}" if path.suffix else "A name without an ending"
    return f"{ending} is not understood; known are {' '.join(SUFFIXES)}."


def unopened(error: OSError | ValueError) -> str:
    """Return the sentence for a file that cannot be opened; it names no path."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"This cannot be opened: {reason[:1].lower()}{reason[1:]}."
