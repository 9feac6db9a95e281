"""Small documents of office programs, written by hand as the programs write them."""

import io
import zipfile
from collections.abc import Mapping, Sequence

OFFICE = "http://schemas.openxmlformats.org"
_RELATIONS = f"{OFFICE}/package/2006/relationships"
_KINDS = f"{OFFICE}/officeDocument/2006/relationships"
_W = f"{OFFICE}/wordprocessingml/2006/main"


def archive(entries: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def relations(*targets: tuple[str, str]) -> str:
    """Return the relations rId1, rId2, … of these kinds to these targets."""
    entries = "".join(
        f'<Relationship Id="rId{n}" Type="{_KINDS}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_RELATIONS}">{entries}</Relationships>'


def docx(body: str, *, title: str = "", prefix: str = "") -> bytes:
    """Return a Word document; in ``body`` elements are those of the namespace w."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{id}"><w:name w:val="{name}"/></w:style>'
        for id, name in (("Heading1", "heading 1"), ("Heading2", "heading 2"), ("Title", "Title"))
    )
    return archive(
        {
            "[Content_Types].xml": (
                f'<Types xmlns="{OFFICE}/package/2006/content-types">'
                '<Default Extension="rels" ContentType='
                '"application/vnd.openxmlformats-package.relationships+xml"/>'
                '<Default Extension="xml" ContentType="application/vnd.openxmlformats-'
                'officedocument.wordprocessingml.document.main+xml"/></Types>'
            ),
            "_rels/.rels": relations(("officeDocument", "word/document.xml")),
            "word/_rels/document.xml.rels": relations(("styles", "styles.xml")),
            "word/styles.xml": f'<w:styles xmlns:w="{_W}">{styles}</w:styles>',
            "word/document.xml": (
                f'{prefix}<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>'
            ),
            "docProps/core.xml": (
                f'<cp:coreProperties xmlns:cp="{OFFICE}/package/2006/metadata/core-properties"'
                f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title>'
                "</cp:coreProperties>"
            ),
        }
    )


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of a Word document."""
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{styled}<w:r><w:t>{text}</w:t></w:r></w:p>"


Cell = str | float


def xlsx(sheets: Mapping[str, Sequence[Sequence[Cell]]], hidden: Sequence[str] = ()) -> bytes:
    """Return a workbook of these sheets."""
    main = f"{OFFICE}/spreadsheetml/2006/main"

    def cell(value: Cell) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    entries = {
        "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
        "xl/_rels/workbook.xml.rels": relations(
            *(("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1))
        ),
        "xl/workbook.xml": (
            f'<workbook xmlns="{main}" xmlns:r="{_KINDS}"><sheets>'
            + "".join(
                f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"'
                + (' state="hidden"/>' if name in hidden else "/>")
                for n, name in enumerate(sheets, start=1)
            )
            + "</sheets></workbook>"
        ),
    }
    for n, rows in enumerate(sheets.values(), start=1):
        written = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        entries[f"xl/worksheets/sheet{n}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{written}</sheetData></worksheet>'
        )
    return archive(entries)


def pptx(slides: Sequence[str], notes: Mapping[int, str] | None = None) -> bytes:
    """Return a presentation; a slide is its shapes, ``shape`` and ``slide_table`` make them."""
    namespaces = (
        f'xmlns:p="{OFFICE}/presentationml/2006/main" xmlns:r="{_KINDS}"'
        f' xmlns:a="{OFFICE}/drawingml/2006/main"'
    )
    # The order of the slides is that of their list, not of their names.
    numbers = range(len(slides), 0, -1)
    entries = {
        "ppt/presentation.xml": (
            f"<p:presentation {namespaces}><p:sldIdLst>"
            + "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(1, len(slides) + 1))
            + "</p:sldIdLst></p:presentation>"
        ),
        "ppt/_rels/presentation.xml.rels": relations(
            *(("slide", f"slides/slide{n}.xml") for n in numbers)
        ),
    }
    for n, content in zip(numbers, slides, strict=True):
        show = ' show="0"' if content.startswith("HIDDEN") else ""
        entries[f"ppt/slides/slide{n}.xml"] = f"<p:sld {namespaces}{show}>{content}</p:sld>"
        if note := (notes or {}).get(len(slides) - n + 1):
            entries[f"ppt/slides/_rels/slide{n}.xml.rels"] = relations(
                ("notesSlide", f"../notesSlides/notesSlide{n}.xml")
            )
            entries[f"ppt/notesSlides/notesSlide{n}.xml"] = (
                f"<p:notes {namespaces}>{shape(note, 'body')}</p:notes>"
            )
    return archive(entries)


def shape(text: str, kind: str = "") -> str:
    """Return a shape of a slide, a paragraph a line."""
    place = f'<p:nvPr><p:ph type="{kind}"/></p:nvPr>' if kind else ""
    return f"<p:sp>{place}<p:txBody>{_paragraphs(text)}</p:txBody></p:sp>"


def slide_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table on a slide."""
    cells = (
        "".join(f"<a:tc><a:txBody>{_paragraphs(cell)}</a:txBody></a:tc>" for cell in row)
        for row in rows
    )
    body = "".join(f"<a:tr>{row}</a:tr>" for row in cells)
    return f"<p:graphicFrame><a:tbl>{body}</a:tbl></p:graphicFrame>"


def _paragraphs(text: str) -> str:
    return "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))


def odt(body: str, *, title: str = "") -> bytes:
    """Return an OpenDocument text."""
    namespaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table")
    )
    return archive(
        {
            "content.xml": (
                f"<office:document-content {namespaces}><office:body><office:text>{body}"
                "</office:text></office:body></office:document-content>"
            ),
            "meta.xml": (
                f'<office:document-meta {namespaces} xmlns:dc="http://purl.org/dc/elements/1.1/">'
                f"<dc:title>{title}</dc:title></office:document-meta>"
            ),
        }
    )


def odp(slides: Sequence[str]) -> bytes:
    """Return an OpenDocument presentation of one text a slide."""
    pages = "".join(
        f"<draw:page><draw:frame><draw:text-box><text:p>{slide}</text:p></draw:text-box>"
        "</draw:frame></draw:page>"
        for slide in slides
    )
    return archive({"content.xml": _opendocument("presentation", pages)})


def ods(name: str, rows: Sequence[Sequence[str]]) -> bytes:
    """Return an OpenDocument spreadsheet of one sheet."""

    def cell(value: str) -> str:
        return (
            '<table:table-cell office:value-type="string">'
            f"<text:p>{value}</text:p></table:table-cell>"
        )

    written = "".join(
        f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    return archive(
        {
            "mimetype": kind,
            "META-INF/manifest.xml": (
                f'<manifest:manifest xmlns:manifest="{manifest}"><manifest:file-entry'
                f' manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
            ),
            "content.xml": _opendocument(
                "spreadsheet", f'<table:table table:name="{name}">{written}</table:table>'
            ),
        }
    )


def _opendocument(kind: str, body: str) -> str:
    namespaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"'
        for name, space in (
            ("office", "office"),
            ("text", "text"),
            ("table", "table"),
            ("draw", "drawing"),
        )
    )
    return (
        f"<office:document-content {namespaces}><office:body><office:{kind}>{body}"
        f"</office:{kind}></office:body></office:document-content>"
    )


def epub(chapters: Sequence[str], *, title: str = "", folder: str = "text") -> bytes:
    """Return a book of these pages, after its navigation; ``folder`` is how it refers to theirs."""
    opf = "http://www.idpf.org/2007/opf"
    numbers = range(1, len(chapters) + 1)
    items = "".join(
        f'<item id="c{n}" href="{folder}/chapter%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in numbers
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    entries = {
        "META-INF/container.xml": (
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
        ),
        "OEBPS/book.opf": (
            f'<package xmlns="{opf}" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            f"<dc:title>{title}</dc:title></metadata><manifest>{items}"
            '<item id="nav" href="nav.xhtml" properties="nav"'
            ' media-type="application/xhtml+xml"/></manifest>'
            f'<spine><itemref idref="nav"/>{spine}</spine></package>'
        ),
        "OEBPS/nav.xhtml": "<html><body><p>Table of contents</p></body></html>",
    }
    for n, chapter in zip(numbers, chapters, strict=True):
        entries[f"OEBPS/text/chapter {n}.xhtml"] = chapter
    return archive(entries)
