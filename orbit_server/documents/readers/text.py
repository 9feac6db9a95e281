"""Plain text: paragraphs between blank lines."""

from ..cleaning import unwrapped
from ..model import Block, Document


def without_comments(text: str) -> str:
    """Return ``text`` without its ``<!-- … -->``, which a page would not show."""
    visible, start = [], 0
    while (opening := text.find("<!--", start)) >= 0 <= (end := text.find("-->", opening + 4)):
        visible.append(text[start:opening])
        start = end + 3
    return "".join([*visible, text[start:]])


def read(text: str) -> Document:
    """Read text without a title."""
    paragraphs: list[list[str]] = [[]]
    for line in without_comments(text).splitlines():
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    return Document("", [Block(unwrapped("\n".join(lines))) for lines in paragraphs])
