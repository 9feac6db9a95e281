"""Stopping work whose client has left."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed the connection before the work was done; the work was cancelled."""


async def unless_client_leaves(work: Awaitable[T], receive: Receive) -> T:
    """Run ``work``; cancel it and raise ``ClientLeft`` when ``receive`` says the client is gone.

    Call it only after the whole body was read: whoever else reads ``receive`` meanwhile would lose
    messages to this watcher.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        await watcher  # raises what ``receive`` raised
        raise ClientLeft
    finally:
        # Both must have ended before the caller goes on: the work's own clean-up closes upstream
        # sockets, and a watcher left behind would steal the next reader's message.
        for leftover in (task, watcher):
            leftover.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
