"""Word documents: headings, paragraphs, lists and tables, by way of HTML."""

import io

from ....errors import UnreadableDocument
from ...cleaning import one_line
from ...model import Document
from ..html import parse
from .archive import opened


def read(data: bytes) -> Document:
    """Read a ``.docx``. What was deleted under tracked changes is no text, and images are none.

    Raises ``UnreadableDocument``.
    """
    import mammoth  # type: ignore[import-untyped]

    with opened(data) as archive:
        title = ""
        if "docProps/core.xml" in archive.names():
            properties = archive.xml("docProps/core.xml")
            title = one_line(properties.findtext("{http://purl.org/dc/elements/1.1/}title") or "")
    no_image = mammoth.images.img_element(lambda image: {})
    try:
        made = mammoth.convert_to_html(
            io.BytesIO(data),
            convert_image=no_image,
            include_embedded_style_map=False,
            style_map="p[style-name='Title'] => title:fresh",
        )
    except OSError as error:  # of the parser, which has no other for this
        raise UnreadableDocument("The file is broken: it holds no document.") from error
    document = parse(made.value)
    document.title = document.title or title
    return document
