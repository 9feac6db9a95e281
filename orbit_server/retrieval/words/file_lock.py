"""A lock for one task of one process at a time, which is free again when its owner dies."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from ...config import make_private_folder

_PAUSE = 0.02


async def locked(path: Path, *, patience: float) -> int | None:
    """Lock the file ``path``, made if it is missing; the descriptor that holds the lock.

    ``None`` when another holds it for longer than ``patience`` seconds, with 0 at once. Close the
    descriptor to give the lock back. Raises ``OSError`` for a file that cannot be opened.
    """
    until = time.monotonic() + patience
    while (descriptor := _attempt(path)) is None:
        if time.monotonic() >= until:
            return None
        await asyncio.sleep(_PAUSE)
    return descriptor


def _attempt(path: Path) -> int | None:
    make_private_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have deleted it meanwhile: then this is the lock of nothing.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
