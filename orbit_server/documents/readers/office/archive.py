"""An archive that holds a document: opened within limits, its XML without entities."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from ....errors import UnreadableDocument

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_ENTRIES = 10_000
_MOST_BYTES = 300_000_000
_MOST_RATIO = 100  # text is packed to a tenth, what expands more is made to
_ANY_RATIO_BELOW = 10_000_000
_XML = (".xml", ".rels", ".opf", ".ncx")


class Archive:
    """The entries of an archive that is not too large, too dense or encrypted."""

    def __init__(self, file: ZipFile) -> None:
        self._file = file

    def names(self) -> list[str]:
        """Return the names of the entries."""
        return self._file.namelist()

    def bytes(self, name: str) -> bytes:
        """Return an entry; ``UnreadableDocument`` where there is none."""
        try:
            return self._file.read(name)
        except KeyError:
            raise UnreadableDocument(f"The file is broken: it has no {name}.") from None

    def xml(self, name: str) -> "Element":
        """Return the root of an entry in XML; ``UnreadableDocument`` where there is none."""
        from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

        root: Element = fromstring(self.bytes(name), forbid_dtd=False)
        return root


@contextmanager
def opened(data: bytes) -> Iterator[Archive]:
    """Open an archive. Raises ``UnreadableDocument`` for what is none, or costs too much to read.

    Parsers that are not ours read the XML in it, so entities are refused before where XML begins
    with their declarations, as it usually does; what gets past that, expat itself limits.
    """
    try:
        with ZipFile(io.BytesIO(data)) as file:
            _check(file)
            yield Archive(file)
    except BadZipFile as error:
        old = data.startswith(b"\xd0\xcf\x11\xe0")  # of Office before 2007, or with a password
        reason = (
            "is protected by a password, or of an Office before 2007; save it anew"
            if old
            else "is broken: it is not an archive"
        )
        raise UnreadableDocument(f"The file {reason}.") from error


def _check(file: ZipFile) -> None:
    entries = file.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise UnreadableDocument(f"The file holds more than {_MOST_ENTRIES} entries.")
    if sum(entry.file_size for entry in entries) > _MOST_BYTES:
        raise UnreadableDocument(
            f"Unpacked, the file is larger than {_MOST_BYTES // 1_000_000} MB; divide it."
        )
    for entry in entries:
        if entry.flag_bits & 1:
            raise UnreadableDocument("The file is protected by a password.")
        too_dense = entry.file_size > max(_ANY_RATIO_BELOW, _MOST_RATIO * entry.compress_size)
        if too_dense:
            raise UnreadableDocument("The file is compressed more densely than documents are.")
        if entry.filename.lower().endswith(_XML):
            with file.open(entry) as opened:
                _refuse_entities(opened.read(4096))


def _refuse_entities(beginning: bytes) -> None:
    if b"<!ENTITY" in beginning.replace(b"\0", b""):  # also in UTF-16
        raise UnreadableDocument("The file declares XML entities, which is not allowed.")


def local(element: "Element") -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: "Element", name: str) -> str:
    """Return an attribute by its name without namespace; empty where there is none."""
    return next(
        (value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), ""
    )


def inside(element: "Element", names: Iterable[str]) -> "Iterator[Element]":
    """Yield the descendants with one of these names, in reading order."""
    wanted = frozenset(names)
    return (each for each in element.iter() if local(each) in wanted)
