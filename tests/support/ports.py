"""Loopback ports for servers that are started by a test, and perhaps started again."""

import asyncio
import os
import random
import socket
from itertools import cycle

HOST = "127.0.0.1"

# Below those that the system gives to clients, and to servers that leave the choice to it: one of
# them would take such a port before the process that it was chosen for, or while that restarts.
_LOWEST, _HIGHEST, _WORKERS = 20_000, 32_000, 16


def _shuffled_ports() -> list[int]:
    """Return the ports of this worker of pytest-xdist, in the order in which they are given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(_LOWEST + worker % _WORKERS, _HIGHEST, _WORKERS))
    random.SystemRandom().shuffle(ports)
    return ports


_ports = cycle(_shuffled_ports())


def free_port() -> int:
    """Return a port that nobody listens on, and that no other test is given for a long time."""
    return next(filter(_is_free, _ports))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def listens(port: int) -> bool:
    """Tell whether somebody listens on the loopback ``port``."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
