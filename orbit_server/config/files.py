"""Files: those that somebody else has named, those that came with the program, those of ours."""

import errno
import os
import stat
from pathlib import Path
from typing import overload

from ..errors import ConfigError
from .sentences import printable

TEXT_LIMIT = 1 << 20
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Return the folder or file ``name`` that came with the program.

    In a checkout it lies beside the package, in an installed one inside it.
    """
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


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


@overload
def read_text(path: Path, *, limit: int = TEXT_LIMIT) -> str: ...
@overload
def read_text(
    path: Path, *, absent: tuple[type[OSError], ...], limit: int = TEXT_LIMIT
) -> str | None: ...
def read_text(
    path: Path, *, absent: tuple[type[OSError], ...] = (), limit: int = TEXT_LIMIT
) -> str | None:
    """Return the UTF-8 text of ``path``, ``None`` for one of the errors in ``absent``.

    Raises ``ConfigError`` with one sentence that names the file, and the line that is no text.
    """
    name = printable(str(path))
    try:
        data = read_file(path, limit=limit)
    except absent:
        return None
    except TooLarge:
        message = f"{name}: cannot be read: larger than {limit >> 20} MiB"
        raise ConfigError([message]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{name}:{line}: cannot be read: not UTF-8 text"]) from None


def obstacle(path: Path, *, folder: bool) -> str | None:
    """Return what stands at ``path`` where a file (a ``folder``) belongs, ``None`` for neither.

    A pipe or a device would keep its reader waiting for ever. What is absent may still be created;
    what may not be looked at, or is a file instead of a folder, fails at once where it is opened.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(mode):
        return None if folder else "it is a folder, not a file"
    if stat.S_ISREG(mode):
        return None
    return "it is not a folder" if folder else "it is not a file"


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe opens without its other end, too


def make_private_folder(path: Path) -> None:
    """Create a folder, and those above it, for this user alone; an existing one stays as it is.

    It does not rely on the umask, which belongs to the program that ours may be mounted in.
    """
    if not path.parent.exists():
        make_private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
