"""Plain text: paragraphs between blank lines. And bytes to text, for all readers of text."""

from ...errors import UnreadableDocument
from ..cleaning import unwrapped
from ..model import Block, Document


def decoded(data: bytes, encoding: str = "utf-8") -> str:
    """Return ``data`` as text; raise ``UnreadableDocument`` that names the first wrong byte."""
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnreadableDocument(
            f"The file is not {encoding.upper()} text: byte {error.start} is"
            f" 0x{data[error.start]:02x}; save it as UTF-8."
        ) from error


def without_comments(text: str) -> str:
    """Return ``text`` without its ``<!-- … -->``, which a page would not show."""
    visible, start = [], 0
    while (opening := text.find("<!--", start)) >= 0 <= (end := text.find("-->", opening + 4)):
        visible.append(text[start:opening])
        start = end + 3
    return "".join([*visible, text[start:]])


def read(data: bytes) -> Document:
    """Read UTF-8 text without a title. Raises ``UnreadableDocument``."""
    paragraphs: list[list[str]] = [[]]
    for line in without_comments(decoded(data)).splitlines():
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    return Document("", [Block(unwrapped("\n".join(lines))) for lines in paragraphs])
