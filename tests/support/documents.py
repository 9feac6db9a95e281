"""What tests of readers share: a file is written and read."""

from pathlib import Path

import pytest

from orbit_server.documents.model import Chunk
from orbit_server.documents.readers.read import read
from orbit_server.errors import UnreadableDocument


def load(
    folder: Path, name: str, content: str | bytes, *, size: int = 1000, overlap: int = 100
) -> list[Chunk]:
    """Write ``content`` into a file of this name and read it."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, name, chunk_chars=size, chunk_overlap=overlap).chunks


def texts(chunks: list[Chunk]) -> list[str]:
    """Return what is stored of each chunk."""
    return [chunk.text for chunk in chunks]


def complaint(folder: Path, name: str, content: str | bytes) -> str:
    """Return the sentence that a file which cannot be read is refused with."""
    with pytest.raises(UnreadableDocument) as caught:
        load(folder, name, content)
    return str(caught.value)
