"""PDF: the text of its pages, lines joined to paragraphs."""

import io
import logging
import re
from collections.abc import Iterator

from ...errors import UnreadableDocument
from ..cleaning import one_line
from ..model import Block, Document

_BULLET = re.compile(r"[•▪‣◦–—*-]\s|\(?\d{1,2}[.)]\s")
_HYPHENS = ("-", "\u00ad", "\u2010")


def read(data: bytes) -> Document:
    """Read the pages of a PDF. Raises ``UnreadableDocument`` for one without any text."""
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
