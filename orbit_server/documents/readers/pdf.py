"""PDF: the text of its pages, lines joined to paragraphs and divided words mended."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...errors import UnreadableDocument
from ..cleaning import one_line, unwrapped
from ..model import Block, Document
from . import ocr

Recognize = Callable[[int, int, bytes], str]

_MOST_CHARS = 20_000_000
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
# Names that programs make up: "Microsoft Word - x.doc", a file or a path, numbers.
_JUNK_TITLE = re.compile(
    r"microsoft \w+ - .*|(?:[a-z]:|file:|[\\/]).*|[\W\d_]*"
    r"|.*\.(?:ai|cdr|docx?|dvi|dwg|eps|exe|fm|html?|indd|jpe?g|od[pst]|pdf|pmd|png|pp[st]x?|ps|pub"
    r"|qxd|rtf|tex|tiff?|tmp|txt|wpd|xlsx?|xml)"
    r"|\(?(?:untitled|anonymous|unknown|no title)\b.*|powerpoint presentation|(?:slide|layout) \d+",
    re.I,
)
_MOST_PIXELS = 6000  # a side; of A3 at 300 dots an inch 4961
_HYPHENS = ("-", "\u00ad", "\u2010")
_BROKEN_WORD = re.compile("[\x02\ufffe]")  # pdfium's sign for a hyphen with the line's end
_SYMBOL_BULLETS = re.compile("[\uf0a7\uf0b7\uf0d8\uf0fc]")  # those of Wingdings and Symbol
_BULLET = re.compile(r"[•▪‣◦–—*-]\s|\(?\d{1,2}[.)]\s")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
# After a hyphen they say that it stands for the end of a later word: "pre- and post-war".
_SUSPENDING = frozenset("and or to und oder bis bzw. et ou y o e en of".split())  # noqa: SIM905
# With a long word after them they are rather compounds ("open-domain") than syllables.
_COMPOUNDING = re.compile(
    r"(?:open|well|self|non|high|low|long|short|real|full|half|hard|free|two|three|four|five|six|ten)"
    r"-(?!ing|er|ness|it|ful|ish|ly|ment|able|less)\w{5,}"
)


def read(data: bytes, recognize: Recognize | None = None) -> Document:
    """Read the pages of a PDF; ``recognize`` reads the pictures of those without text.

    It gets width, height and as many bytes from black to white. Raises ``UnreadableDocument`` for
    a PDF that is locked, broken, too long or without any text.
    """
    title, texts, scanned, recognized = _pages(data, recognize)
    pages = [_SYMBOL_BULLETS.sub("•", _BROKEN_WORD.sub("-\n", text)) for text in texts]
    if not any(text.strip() for text in pages):
        raise UnreadableDocument(
            "The PDF holds only images, and no text was recognized in them."
            if recognize
            else "The PDF holds only images: load it with --ocr, which needs tesseract."
        )
    title = one_line(title)
    document = Document("" if _JUNK_TITLE.fullmatch(title) else title)
    if scanned:
        remedy = "nothing was recognized" if recognize else "scanned? --ocr reads them"
        document.notes.append(f"No text on {_named(scanned)} of {len(pages)}: {remedy}.")
    if recognized:
        document.notes.append(f"Text was recognized on {_named(recognized)} of {len(pages)}.")
    lines = _Lines(pages)
    for number, text in enumerate(pages, start=1):
        for paragraph in lines.paragraphs(text):
            last = document.blocks[-1] if document.blocks else Block("")
            if (
                last.page == number - 1
                and paragraph[0].islower()
                and not last.text.endswith((".", "!", "?"))
            ):
                document.blocks[-1] = Block(lines.joined(last.text, paragraph), page=last.page)
            else:
                document.blocks.append(Block(paragraph, page=number))
    return document


def _named(pages: Sequence[int]) -> str:
    """Return the numbers of pages, those in a row by their first and last."""
    rows: list[list[int]] = []
    for page in pages:
        if rows and rows[-1][-1] == page - 1:
            rows[-1][1:] = [page]
        else:
            rows.append([page])
    return f"page{'s' * (len(pages) > 1)} " + ", ".join("–".join(map(str, row)) for row in rows)


def _pages(data: bytes, recognize: Recognize | None) -> tuple[str, list[str], list[int], list[int]]:
    """Return the title, the texts, and the numbers of pages that are pictures, read or not."""
    # Here for the time of its import: most who know this module never read a PDF.
    import pypdfium2  # type: ignore[import-untyped]

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _WRONG_PASSWORD:
            raise UnreadableDocument("The PDF is protected by a password.") from error
        raise UnreadableDocument("The PDF is broken.") from error
    pages: list[str] = []
    scanned: list[int] = []
    recognized: list[int] = []
    size = 0
    for number, page in enumerate(document, start=1):
        text = page.get_textpage().get_text_range()
        if not text.strip() and next(page.get_objects(max_depth=1), None) is not None:
            text = _recognized(page, recognize) if recognize else text
            (recognized if text.strip() else scanned).append(number)
        size += len(text)
        if size > _MOST_CHARS:
            raise UnreadableDocument("The PDF holds more than 20 million characters; divide it.")
        pages.append(text)
        page.close()
    return document.get_metadata_value("Title"), pages, scanned, recognized


def _recognized(page: Any, recognize: Recognize) -> str:
    width, height = page.get_size()  # in points, of which an inch has 72
    scale = min(ocr.DOTS_PER_INCH / 72, _MOST_PIXELS / max(width, height, 1))
    bitmap = page.render(scale=scale, grayscale=True)
    rows = bytes(bitmap.buffer)
    lines = (rows[y * bitmap.stride :][: bitmap.width] for y in range(bitmap.height))
    return recognize(bitmap.width, bitmap.height, b"".join(lines))


class _Lines:
    """Joins the lines of one document, whose own words tell which hyphens belong to words."""

    def __init__(self, pages: Sequence[str]) -> None:
        whole = re.sub(r"\S+[-\u00ad\u2010][ \t]*\r?\n\s*\S+", " ", "\n".join(pages))
        self._words = set(_WORD.findall(whole))
        self._lower = {word.lower() for word in self._words}

    def paragraphs(self, text: str) -> Iterator[str]:
        """Yield the paragraphs of a page; a line much shorter than most was ended on purpose."""
        lines = [" ".join(line.split()) for line in text.splitlines()]
        lengths = sorted(len(line) for line in lines if line)
        short = 0.75 * lengths[int(0.8 * len(lengths))] if lengths else 0
        paragraph = previous = ""
        for line in lines:
            ended = (
                len(previous) < short and not previous.endswith(_HYPHENS) and not line[:1].islower()
            )
            if paragraph and (not line or (ended and previous.endswith((".", "!", "?")))):
                yield paragraph
                paragraph = line
            elif paragraph and (ended or _BULLET.match(line)):
                paragraph = f"{paragraph}\n{line}"
            else:
                paragraph = self.joined(paragraph, line) if paragraph else line
            previous = line
        if paragraph:
            yield paragraph

    def joined(self, before: str, after: str) -> str:
        """Return two lines as one: a divided word whole again, a compound with its hyphen."""
        hyphened = before.endswith(_HYPHENS) and before[-2:-1].isalnum() and after[:1].isalnum()
        if hyphened and after.split()[0] not in _SUSPENDING:
            divided = before.endswith("\u00ad") or self._divided(before, after)
            return before[:-1] + ("" if divided else "-") + after
        return before[:-1] + unwrapped(f"{before[-1:]}\n{after[:1]}") + after[1:]

    def _divided(self, before: str, after: str) -> bool:
        """Return whether the hyphen between the lines is the line's and not the word's."""
        firsts, second = _WORD.findall(before[:-1].rsplit(" ", 1)[-1]), _WORD.match(after)
        if not firsts or second is None:
            return False
        first, rest = firsts[-1], second[0]
        if (first + rest).lower() in self._lower:
            return True
        if not rest[0].islower() or f"{first}-{rest}".lower() in self._lower:
            return False
        # In German, say, a second part that begins a word elsewhere has a capital there.
        compound = "-" in first or rest in self._words
        known = compound and first.rpartition("-")[2].lower() in self._lower
        return not known and not _COMPOUNDING.match(f"{first}-{rest}".lower())
