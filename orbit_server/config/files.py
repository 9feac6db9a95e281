"""Reading files that somebody else has named."""

import errno
import os
import stat
from pathlib import Path


class NotAFile(OSError):
    """A pipe, a device, a socket: something that is there, and no regular file."""


class TooLarge(OSError):
    """A file that is larger than it may be."""


def read_file(path: Path, *, limit: int) -> bytes:
    """Return the content of ``path``, at most ``limit`` bytes; never wait for another program.

    Raises ``NotAFile``, ``TooLarge``, or what the system says.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotAFile(errno.EINVAL, "it is not a file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(errno.EFBIG, "it is too large")
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe opens without its other end, too
