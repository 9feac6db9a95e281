"""Stopping work that has lost its purpose: the client has left, or something else has ended it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

T = TypeVar("T")


class Ended(Exception):
    """What the work was raced against came first; the work was cancelled."""


class ClientLeft(Ended):
    """The client closed the connection before the work was done; the work was cancelled."""


async def unless_client_leaves(work: Awaitable[T], receive: Receive) -> T:
    """Run ``work``; cancel it and raise ``ClientLeft`` when ``receive`` says the client is gone.

    Call it only after the whole body was read: any other reader of ``receive`` would lose
    messages to this watcher.
    """
    try:
        return await unless(work, _disconnected(receive))
    except Ended as ended:
        raise ClientLeft from ended


async def unless(work: Awaitable[T], end: Awaitable[None]) -> T:
    """Run ``work``; cancel it and raise ``Ended`` when ``end`` returns before it is done.

    What ``end`` raises is raised. Both have come to their end when this returns or raises.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(end)
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        await watcher
        raise Ended
    finally:
        # Both must have ended before the caller goes on: the work's own clean-up closes upstream
        # sockets and may use the request, and a watcher left behind would steal the next reader's
        # message.
        for leftover in (task, watcher):
            leftover.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
