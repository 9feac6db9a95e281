"""What a supervisor and a worker send each other, and how a worker gets what it works with."""

import asyncio
import multiprocessing
import socket
from functools import partial
from multiprocessing.connection import Connection

import pytest

from orbit_server.server.worker_link import BEAT, DRAIN, RELOAD, STOP, Parent, PickledFile

pytestmark = pytest.mark.anyio


async def test_orders_are_followed_in_turn() -> None:
    """Each byte is an order; the end of the stream is the last one, to stop."""
    supervisor, channel = socket.socketpair()
    followed: asyncio.Queue[str] = asyncio.Queue()
    orders = {DRAIN: "drain", RELOAD: "reload", STOP: "stop"}
    with supervisor, channel:
        Parent(channel).follow(
            {order: partial(followed.put_nowait, name) for order, name in orders.items()}
        )
        supervisor.send(RELOAD + RELOAD + DRAIN)
        supervisor.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(30):
            received = [await followed.get() for _ in range(4)]
    assert received == ["reload", "reload", "drain", "stop"]


def test_a_heartbeat_never_waits() -> None:
    """Neither for a supervisor that reads nothing, nor for one that is gone."""
    supervisor, channel = socket.socketpair()
    with channel:
        parent = Parent(channel)
        for _ in range(100_000):
            parent.send(BEAT)
        assert supervisor.recv(1) == BEAT
        supervisor.close()
        parent.send(BEAT)


def length(content: bytes, answer: Connection) -> None:
    """Send back how long ``content`` is."""
    answer.send(len(content))


@pytest.mark.process
@pytest.mark.slow
def test_a_large_object_reaches_a_new_process() -> None:
    """There it is the object itself, and more than a pipe would hold."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    handed_over = PickledFile(b"x" * 2**20)
    process = spawn.Process(target=length, args=(handed_over, theirs))
    process.start()
    handed_over.close()
    theirs.close()
    with ours:
        assert ours.poll(60)
        assert ours.recv() == 2**20
    process.join(60)
    assert process.exitcode == 0
