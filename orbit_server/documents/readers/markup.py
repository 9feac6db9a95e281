"""Markup languages that a library makes into HTML or text: reStructuredText and RTF."""

from ...errors import UnreadableDocument
from ..model import Document
from . import html, text


def read_rst(content: str) -> Document:
    """Read reStructuredText; what it would include from other files is left out."""
    from docutils.core import publish_parts  # type: ignore[import-untyped]
    from docutils.utils import SystemMessage  # type: ignore[import-untyped]

    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": 5,
        "halt_level": 5,
        "_disable_config": True,
        "doctitle_xform": True,
        "syntax_highlight": "none",
        "math_output": "LaTeX",
    }
    try:
        parts = publish_parts(content, writer="html5", settings_overrides=settings)
    except SystemMessage as error:
        raise UnreadableDocument("The file is not reStructuredText.") from error
    return html.parse(parts["html_body"])


def read_rtf(data: bytes) -> Document:
    """Read the text of an RTF document. Raises ``UnreadableDocument``."""
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("The file is not RTF.")
    # RTF is ASCII; what is not stands in escapes, whose encoding it names itself.
    found: str = rtf_to_text(data.decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
    return text.read(found.replace("\n", "\n\n"))
