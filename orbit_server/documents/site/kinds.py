"""Which reader a file of a web site is for: by its first bytes, its media type, its address."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/rtf": ".rtf",
    "application/rtf": ".rtf",
    "application/pdf": ".pdf",
    "application/x-pdf": ".pdf",
    "application/epub+zip": ".epub",
    f"{_OFFICE}.wordprocessingml.document": ".docx",
    f"{_OFFICE}.presentationml.presentation": ".pptx",
    f"{_OFFICE}.spreadsheetml.sheet": ".xlsx",
    "application/vnd.ms-excel": ".xls",
    f"{_OPEN}.text": ".odt",
    f"{_OPEN}.presentation": ".odp",
    f"{_OPEN}.spreadsheet": ".ods",
}
# What servers say of files that they do not know.
_VAGUE = frozenset(("", "application/octet-stream", "application/zip", "application/download"))
_FILES = frozenset(_SUFFIXES.values()) - {".html"}
_PACKED = frozenset((".docx", ".pptx", ".xlsx", ".xlsm", ".odt", ".odp", ".ods", ".epub"))


def is_file(address: str) -> bool:
    """Tell whether an address looks like that of a document that is no page."""
    return _ending(address) in _FILES


def wanted(kind: str, address: str) -> bool:
    """Tell whether an answer of the media type ``kind`` can be read."""
    return kind in _SUFFIXES or (kind in _VAGUE and is_file(address))


def suffix(file: Path, kind: str, address: str) -> str:
    """Return the ending by which readers know what ``file`` is."""
    with file.open("rb") as opened:
        head = opened.read(1024).lstrip(b"\xef\xbb\xbf\r\n\t ").lower()
    said = _SUFFIXES.get(kind) or _ending(address)
    if head.startswith(b"%pdf-"):
        return ".pdf"
    if head.startswith((b"<!doctype html", b"<html")):
        return ".html"
    if head.startswith(b"pk\x03\x04") and said not in _PACKED:
        # The address is anybody's; of a name of a file only a known ending becomes part.
        return _ending(address) if is_file(address) else ""
    return said


def _ending(address: str) -> str:
    return PurePosixPath(unquote(urlsplit(address).path)).suffix.lower()
