"""A process of its own that reads files: requests on standard input, chunks on standard output.

Parsers are other people's code, partly C++, and the files are anybody's. What reading costs is
limited here, and what it breaks is this process: ``documents/reading.py`` starts another one.

Both directions are frames: a number of chunks and a length, then JSON. A request is ``[path,
source, options]``, of no chunks; the answer is lists of ``[id, embed, text, metadata]``,
compressed, then an object of no chunks: ``notes``, ``left_out`` and ``facts``, or the ``error``.
"""

import contextlib
import os
import signal
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from ...errors import UnreadableDocument
from ..model import Chunk
from ..site import page, sitemap
from .read import ReadFile, read

HEAD = struct.Struct(">IQ")
_CHUNKS_A_FRAME = 256
_READERS: dict[str, Callable[..., ReadFile]] = {
    "file": read,
    "page": page.read,
    "sitemap": sitemap.read,
}


def main(megabytes: int, seconds: int) -> None:
    """Answer requests until the input ends; each may take so much memory and processor time."""
    # An interrupt is meant for the one who asked; that the input ends tells the rest.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a parser prints must not get between the frames
    _limit_size(megabytes)
    while head := requests.read(HEAD.size):
        _, length = HEAD.unpack(head)
        path, source, options = orjson.loads(requests.read(length))
        _limit_time(seconds)
        for count, data in _answer(Path(path), source, options):
            answers.write(frame(data, count))
        answers.flush()


def frame(data: bytes, count: int = 0) -> bytes:
    """Return ``data`` with its head."""
    return HEAD.pack(count, len(data)) + data


def unpacked(data: bytes) -> list[Chunk]:
    """Return the chunks of a frame."""
    return [Chunk(*fields) for fields in orjson.loads(zlib.decompress(data))]


def _packed(chunks: Sequence[Chunk]) -> bytes:
    # Many wait in memory, and each holds its text twice.
    fields = [[chunk.id, chunk.embed, chunk.text, chunk.metadata] for chunk in chunks]
    return zlib.compress(orjson.dumps(fields), level=1)


def _answer(path: Path, source: str, options: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    try:
        found = _READERS[options.pop("reader", "file")](path, source, **options)
    except UnreadableDocument as error:
        yield 0, orjson.dumps({"error": str(error)})
        return
    except MemoryError:
        # What was taken may stay taken, and every file after this one would fail too.
        raise SystemExit(1) from None
    except Exception as error:  # the parsers are other people's code
        yield 0, orjson.dumps({"error": f"The file is damaged ({type(error).__name__})."})
        return
    for first in range(0, len(found.chunks), _CHUNKS_A_FRAME):
        chunks = found.chunks[first : first + _CHUNKS_A_FRAME]
        yield len(chunks), _packed(chunks)
    said = {"notes": found.notes, "left_out": found.left_out, "facts": found.facts}
    yield 0, orjson.dumps(said)


def _limit_size(megabytes: int) -> None:
    """Limit this process where the system can: Windows cannot, and others not everything."""
    with contextlib.suppress(ImportError):
        import resource

        for kind, value in (
            (resource.RLIMIT_AS, megabytes << 20),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, 0),
        ):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(kind, (value, value))


def _limit_time(seconds: int) -> None:
    """Let this process end by itself where nobody is left to end it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        most = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
