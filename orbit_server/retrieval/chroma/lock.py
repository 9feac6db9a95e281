"""The lock on a Chroma folder.

A second Chroma on a folder starts without complaint and destroys it, so whoever opens one holds a
lock that says who it is and where it can be asked instead. A server also leaves a token beside it:
who may read the folder could read the documents anyway, and need not be told its admin token.
"""

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Any

import orjson

from ...config import make_private_folder
from ...errors import SearchError

LOCK_ATTEMPTS = 10


class ChromaLocked(SearchError):
    """Another process works on this folder: ``pid`` at ``address``, as far as it has said so."""

    def __init__(self, path: Path, pid: int | None, address: str | None) -> None:
        self.path, self.pid, self.address = path, pid, address
        who = "another process" if pid is None else f"process {pid}"
        where = "" if address is None else f", which answers at {address}"
        super().__init__(
            f"The Chroma folder {path} is in use by {who}{where}. One process at a time"
            " can open it; several, such as workers of a host, need a Chroma server (chroma.host)."
        )


def lock(path: str | Path, address: str | None) -> int:
    """Lock the Chroma folder ``path``, made if it is missing; the descriptor that holds the lock.

    The lock is given back when the descriptor is closed, here and in every process that inherited
    it. ``address`` is written into it, with the id of this process; for a server, which has one,
    ``holder_token`` is a new one. Raise :class:`ChromaLocked`
    while another process holds it, ``SearchError`` when the folder cannot be used.
    """
    path = Path(path)
    try:
        make_private_folder(path)
        descriptor = os.open(_lock_file(path), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        # A file in its place is reported as one that exists already.
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise SearchError(
            f"The Chroma folder {path} cannot be used: {reason}."
            " Fix that, or name another folder in chroma.path."
        ) from error
    try:
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Somebody who only looks (``holder``) is gone in a moment; a holder is not.
                if attempt == LOCK_ATTEMPTS - 1:
                    raise ChromaLocked(path, **_written(descriptor)) from None
                time.sleep(0.02)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, orjson.dumps({"pid": os.getpid(), "address": address}), 0)
        if address is not None:
            _write_token(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def holder(path: str | Path) -> dict[str, Any] | None:
    """Return ``{"pid", "address"}`` of the process that holds this Chroma folder, or ``None``.

    Either value is ``None`` when the holder has not said it. Raise ``SearchError`` when the lock
    cannot be read.
    """
    try:
        descriptor = os.open(_lock_file(Path(path)), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SearchError(f"The lock of {path} cannot be read: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(descriptor)
    finally:
        os.close(descriptor)
    return None


def holder_token(path: str | Path) -> str | None:
    """Return what the server that holds this folder takes as an admin token.

    ``None`` where nobody holds it, so that a token that was left behind opens nothing, or where
    this user may not read it.
    """
    try:
        return _token_file(Path(path)).read_text() if holder(path) is not None else None
    except (OSError, SearchError):
        return None


def _write_token(path: Path) -> None:
    file = _token_file(path)
    try:
        file.unlink(missing_ok=True)  # never into a file that others have opened, or a link
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(32))
    except OSError as error:
        raise SearchError(f"{file} cannot be written: {error.strerror}.") from error


def _token_file(path: Path) -> Path:
    return path / "orbit.token"


def _lock_file(path: Path) -> Path:
    return path / "orbit.lock"


def _written(descriptor: int) -> dict[str, Any]:
    try:
        content = orjson.loads(os.pread(descriptor, 4096, 0))
        return {"pid": content["pid"], "address": content["address"]}
    except (ValueError, LookupError, TypeError):
        return {"pid": None, "address": None}
