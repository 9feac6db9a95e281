"""Files -> text and structure -> chunks.

``files`` finds what to load, ``read`` turns one file into chunks. Every format ends in the same
blocks under headings (``chunks.py`` packs them), except question/answer pairs, which stay whole.
What a reader of the document cannot see is left out: comments, scripts, hidden elements and
invisible characters.
"""

import csv
import io
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import UnreadableDocument
from ..chunking import (
    Block,
    Chunk,
    Document,
    Scalar,
    clean,
    heading_path,
    one_line,
    shortened,
    split,
)
from .html import Attributes, Outline

if TYPE_CHECKING:
    from markdown_it.rules_core import StateCore

__all__ = ["SUFFIXES", "Chunk", "File", "UnreadableDocument", "files", "read", "source_name"]

MAX_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class File:
    """One thing that ``files`` came across.

    ``source`` is its name for users and never an absolute path. A ``document`` can be given to
    ``read``; ``ignored`` has an ending that is not understood; for an ``error`` the ``problem``
    says what is wrong.
    """

    path: Path
    source: str
    outcome: Literal["document", "ignored", "error"] = "document"
    problem: str = ""


def files(paths: Sequence[Path]) -> Iterator[File]:
    """Find the documents at ``paths``, folders recursively, in sorted order, each real file once.

    In folders hidden files and folders are left out and links are followed, loops included. A path
    that is named itself must exist and be understood. ``source`` is relative to the working
    directory for a file inside it, else to the folder that contains the given path, with forward
    slashes; a second file that would get the same source is an error. Nothing is raised.
    """
    seen: set[Path] = set()
    sources: set[str] = set()
    for given in paths:
        for path, problem in _walk(given, seen):
            source = source_name(path, given)
            if not problem and path.suffix.lower() not in SUFFIXES:
                if path is not given:
                    yield File(path, source, "ignored")
                    continue
                problem = _not_understood(path)
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


def _walk(given: Path, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    waiting = [given]
    while waiting:
        path = waiting.pop()
        try:
            real = path.resolve(strict=True)
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
            yield path, _unopened(error)


def _not_understood(path: Path) -> str:
    ending = f"The ending {path.suffix}" if path.suffix else "A name without an ending"
    return f"{ending} is not understood; known are {' '.join(SUFFIXES)}."


def _unopened(error: OSError | ValueError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"This cannot be opened: {reason[:1].lower()}{reason[1:]}."


def read(path: Path, source: str, *, chunk_chars: int, chunk_overlap: int) -> list[Chunk]:
    """Read one file into chunks.

    ``source`` goes into every chunk's metadata. Passages are at most ``chunk_chars`` characters
    long and share whole sentences of up to ``chunk_overlap`` characters with the passage before.

    JSON (a list of objects) and CSV (comma, semicolon or tab; header in any case) hold pairs:
    ``question`` is embedded and ``answer`` stored whole. Their other fields become metadata:
    scalars as they are, lists and objects (and numbers that no database holds) as JSON text, nulls
    and empty cells not at all because they say nothing; a name that means something else to us is
    kept with ``extra_`` in front.

    Raises ``UnreadableDocument``, and ``ValueError`` for impossible chunk sizes.
    """
    if not 0 <= chunk_overlap < chunk_chars:
        raise ValueError("chunk_overlap must be at least 0 and smaller than chunk_chars")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UnreadableDocument(_not_understood(path))
    try:
        data = _bytes(path)
        if suffix in _PAIRS:
            return _paired(_PAIRS[suffix](data), source)
        document = _DOCUMENTS[suffix](data)
        document.title = document.title or one_line(re.sub("[_-]+", " ", path.stem)) or source
        return _divided(document, source, chunk_chars, chunk_overlap)
    except UnreadableDocument:
        raise
    except OSError as error:
        raise UnreadableDocument(_unopened(error)) from error
    except RecursionError as error:
        raise UnreadableDocument("The document is nested too deeply.") from error
    except Exception as error:
        # the parsers are other people's code, and one odd file must not end the loading of a
        # thousand
        raise UnreadableDocument(f"The file is damaged ({type(error).__name__}).") from error


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableDocument(f"The file is larger than {MAX_BYTES // 1_000_000} MB; divide it.")
    if not data.strip():
        raise UnreadableDocument("The file is empty.")
    return data


def _decoded(data: bytes, encoding: str = "utf-8") -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnreadableDocument(
            f"The file is not {encoding.upper()} text: byte {error.start} is"
            f" 0x{data[error.start]:02x}; save it as UTF-8."
        ) from error


def _without_comments(text: str) -> str:
    visible, start = [], 0
    while (opening := text.find("<!--", start)) >= 0 <= (end := text.find("-->", opening + 4)):
        visible.append(text[start:opening])
        start = end + 3
    return "".join([*visible, text[start:]])


# --- question/answer pairs


_PAIR_KEYS = ("question", "answer")


@dataclass(frozen=True, slots=True)
class _Pair:
    question: str
    answer: str
    extras: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Mapping[str, Any], name: str) -> "_Pair":
        texts = []
        for key in _PAIR_KEYS:
            value = entry.get(key)
            texts.append(_without_comments(clean(value)).strip() if isinstance(value, str) else "")
            if not texts[-1]:
                raise UnreadableDocument(f'{name} has no text as "{key}".')
        extras = {key: value for key, value in entry.items() if key not in _PAIR_KEYS}
        return cls(one_line(texts[0]), texts[1], extras)


def _json(data: bytes) -> Iterator[_Pair]:
    expected = 'a list of objects with "question" and "answer"'
    try:
        entries = json.loads(_decoded(data))
    except json.JSONDecodeError as error:
        raise UnreadableDocument(
            f"The file is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    if not isinstance(entries, list):
        raise UnreadableDocument(f"The JSON is not {expected}.")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UnreadableDocument(f"Entry [{index}] is not an object; expected is {expected}.")
        yield _Pair.of(entry, f"Entry [{index}]")


def _csv(data: bytes) -> Iterator[_Pair]:
    text = _decoded(data)
    try:
        delimiter, columns = _header(text)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        next(rows)
        for row in rows:
            name = f"The row that ends in line {rows.line_num}"
            if any(cell.strip() for cell in row[len(columns) :]):
                raise UnreadableDocument(f"{name} has more cells than the header.")
            if cells := {
                name: cell for name, cell in zip(columns, row, strict=False) if cell.strip()
            }:
                yield _Pair.of(cells, name)
    except csv.Error as error:
        raise UnreadableDocument(f"The file is not valid CSV: {error}.") from error


def _header(text: str) -> tuple[str, list[str]]:
    for delimiter in ",;\t":
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        columns = [
            one_line(name) or f"column {number}" for number, name in enumerate(names, start=1)
        ]
        columns = [name.lower() if name.lower() in _PAIR_KEYS else name for name in columns]
        if all(key in columns for key in _PAIR_KEYS):
            return delimiter, columns
    raise UnreadableDocument("The CSV has no header with the columns question and answer.")


def _paired(pairs: Iterator[_Pair], source: str) -> list[Chunk]:
    chunks = []
    for position, pair in enumerate(pairs):
        metadata: dict[str, Scalar] = {
            "source": source,
            "title": pair.question,
            "position": position,
            "question": pair.question,
            "answer": pair.answer,
        }
        for key, value in pair.extras.items():
            if value is not None:
                name = one_line(key)
                reserved = name.startswith(("chroma:", "$"))
                while name in metadata or name in ("", "heading") or reserved:
                    name, reserved = f"extra_{name}", False
                metadata[name] = _scalar(value)
        chunks.append(Chunk.of(pair.question, pair.answer, metadata))
    if not chunks:
        raise UnreadableDocument("The file holds no question/answer pairs.")
    return chunks


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return clean(json.dumps(value, ensure_ascii=False))


# --- documents


def _divided(document: Document, source: str, size: int, overlap: int) -> list[Chunk]:
    chunks = []
    title = shortened(document.title)
    passages = split(document.blocks, size=size, overlap=overlap)
    for position, passage in enumerate(passages):
        metadata: dict[str, Scalar] = {"source": source, "title": title, "position": position}
        if passage.heading:
            metadata["heading"] = passage.heading
        if passage.page is not None:
            metadata["page"] = passage.page
        under_title = f"{passage.heading} > ".startswith(f"{title} > ")
        context = passage.heading if under_title else heading_path([title, passage.heading])
        chunks.append(Chunk.of(f"{context}\n{passage.text}", passage.text, metadata))
    if not chunks:
        raise UnreadableDocument("The file holds no text that a reader would see.")
    return chunks


def _text(data: bytes) -> Document:
    paragraphs: list[list[str]] = [[]]
    for line in _without_comments(_decoded(data)).splitlines():
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return Document("", [Block(" ".join(lines)) for lines in paragraphs])


_FRONT_MATTER = re.compile(
    r"---[ \t]*\r?\n(?=[\w-]+[ \t]*:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S
)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(\"?'?)(.*?)\1[ \t\r]*$", re.M | re.I)


def _markdown(data: bytes) -> Document:
    from markdown_it import MarkdownIt

    text = _decoded(data)
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        if named := _FRONT_TITLE.search(front[1]):
            title = one_line(named[2])
    outline = Outline(title)
    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 100}).enable("table")
    parser.core.ruler.before("inline", "brackets", _brackets_as_text)
    for token in parser.parse(text):
        if token.level >= 99:
            raise UnreadableDocument("The document is nested too deeply.")
        if token.type == "html_block":
            outline.markup(token.content)
        elif token.type in ("fence", "code_block"):
            outline.handle_starttag("pre", [])
            outline.handle_data(token.content)
            outline.handle_endtag("pre")
        elif token.nesting > 0:
            attributes: Attributes = [(name, str(value)) for name, value in token.attrs.items()]
            outline.handle_starttag(token.tag, attributes)
        elif token.nesting < 0:
            outline.handle_endtag(token.tag)
        for piece in token.children or ():
            if piece.type == "html_inline":
                outline.markup(piece.content)
            elif piece.type == "hardbreak":
                outline.handle_starttag("br", [])
            elif piece.type == "softbreak":
                outline.handle_data(" ")
            elif piece.type in ("text", "code_inline"):
                outline.handle_data(piece.content)
    return outline.finished()


_MOST_BRACKETS = 2000


def _brackets_as_text(state: "StateCore") -> None:
    # The end of a link is looked for from every bracket on: the square of their number.
    for token in state.tokens:
        if token.type == "inline" and token.content.count("[") > _MOST_BRACKETS:
            token.content = re.sub(r"\\?\[", "&#91;", token.content)


_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]{1,40})", re.I)


def _html(data: bytes) -> Document:
    declared = _CHARSET.search(data[:2048])
    try:
        text = _decoded(data)
    except UnreadableDocument:
        if declared is None:
            raise
        try:
            text = _decoded(data, declared[1].decode())
        except LookupError:
            raise UnreadableDocument("The page declares an unknown character set.") from None
    outline = Outline("")
    outline.markup(text)
    return outline.finished()


def _pdf(data: bytes) -> Document:
    import pypdf
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("The PDF is protected by a password.")
        title = reader.metadata.title if reader.metadata else None
        pages = [page.extract_text() for page in reader.pages]
    except UnreadableDocument:
        raise
    except DependencyError as error:
        raise UnreadableDocument(
            "The PDF is encrypted with AES; reading it needs the package cryptography."
        ) from error
    except Exception as error:
        raise UnreadableDocument(f"The PDF is broken ({type(error).__name__}).") from error
    if not any(text.strip() for text in pages):
        raise UnreadableDocument("The PDF holds only images; run text recognition on it first.")
    meant = isinstance(title, str) and title.strip().lower() not in ("untitled", "(anonymous)")
    document = Document(one_line(title) if title and meant else "")
    for number, text in enumerate(pages, start=1):
        for paragraph in _paragraphs(text):
            last = document.blocks[-1] if document.blocks else Block("")
            if (
                last.page == number - 1
                and paragraph[0].islower()
                and not last.text.endswith((".", "!", "?"))
            ):
                document.blocks[-1] = Block(_continued(last.text, paragraph), page=last.page)
            else:
                document.blocks.append(Block(paragraph, page=number))
    return document


_BULLET = re.compile(r"[•▪‣◦–—*-]\s|\(?\d{1,2}[.)]\s")
_HYPHENS = ("-", "\u00ad", "\u2010")


def _paragraphs(text: str) -> Iterator[str]:
    # a line much shorter than the others was ended on purpose
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lengths = sorted(len(line) for line in lines if line)
    short = 0.75 * lengths[int(0.8 * len(lengths))] if lengths else 0
    paragraph = previous = ""
    for line in lines:
        ended = len(previous) < short and not previous.endswith(_HYPHENS) and not line[:1].islower()
        if paragraph and (not line or (ended and previous.endswith((".", "!", "?")))):
            yield paragraph
            paragraph = line
        elif paragraph and (ended or _BULLET.match(line)):
            paragraph = f"{paragraph}\n{line}"
        else:
            paragraph = _continued(paragraph, line) if paragraph else line
        previous = line
    if paragraph:
        yield paragraph


def _continued(before: str, after: str) -> str:
    hyphenated = before.endswith(_HYPHENS) and before[-2:-1].isalpha() and after[0].islower()
    return before[:-1] + after if hyphenated else f"{before} {after}"


_PAIRS: dict[str, Callable[[bytes], Iterator[_Pair]]] = {".json": _json, ".csv": _csv}
_DOCUMENTS: dict[str, Callable[[bytes], Document]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _text,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
SUFFIXES = (*_PAIRS, *_DOCUMENTS)
