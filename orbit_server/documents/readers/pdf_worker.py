"""A process of its own that reads one PDF: the file on standard input, JSON on standard output.

The parser is C++ and the files are anybody's, so what it costs is limited, and what it breaks is
this process. ``pdf.py`` runs it as a script; nothing of ours is imported.
"""

import contextlib
import json
import sys

import pypdfium2  # type: ignore[import-untyped]

_MOST_CHARS = 20_000_000
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD


def limit(megabytes: int, seconds: int) -> None:
    """Limit this process where the system can: Windows cannot, and others not everything."""
    try:
        import resource
    except ImportError:
        return
    for kind, value in (
        (resource.RLIMIT_AS, megabytes << 20),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


def read(data: bytes) -> dict[str, object]:
    """Return ``title``, the text of all ``pages``, and how many have ``unread`` pictures only.

    Of a file that cannot be opened it is ``refused`` instead: ``password`` or ``broken``.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        locked = getattr(error, "err_code", None) == _WRONG_PASSWORD
        return {"refused": "password" if locked else "broken"}
    pages: list[str] = []
    unread = room = 0
    for page in document:
        text = page.get_textpage().get_text_range()
        room += len(text)
        if room > _MOST_CHARS:
            return {"refused": "long"}
        if not text.strip() and next(page.get_objects(max_depth=1), None) is not None:
            unread += 1
        pages.append(text)
        page.close()
    return {"title": document.get_metadata_value("Title"), "pages": pages, "unread": unread}


if __name__ == "__main__":
    limit(int(sys.argv[1]), int(sys.argv[2]))
    json.dump(read(sys.stdin.buffer.read()), sys.stdout)
