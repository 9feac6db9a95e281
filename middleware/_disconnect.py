"""Stopping work that has lost its purpose: the client has left, or something else has ended it."""

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class Ended(Exception):
    """What the work was raced against came first; the work was cancelled."""


class ClientLeft(Ended):
    """The client closed the connection before the work was done; the work was cancelled."""


class Interruptible:
    """A ``with`` block that ``interrupt()`` ends: its task is cancelled, and ``Ended`` raised.

    Work in the block needs no task of its own then. A cancellation that comes from elsewhere stays
    one, as with ``asyncio.timeout``. Work that finishes in spite of being interrupted has finished.
    """

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be interrupted")
        self._task = task
        self._cancelling = task.cancelling()
        self._interrupted = self._left = False
        return self

    def interrupt(self) -> None:
        """Cancel what the block waits for, unless that is over."""
        if not self._interrupted and not self._left:
            self._interrupted = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left = True
        if not self._interrupted:
            return
        alone = self._task.uncancel() <= self._cancelling
        if alone and isinstance(error, asyncio.CancelledError):
            raise Ended from error


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
    watcher = asyncio.ensure_future(end)
    try:
        with Interruptible() as block:
            watcher.add_done_callback(lambda _: block.interrupt())
            return await work
    except Ended:
        if watcher.done():  # else the work was raced against something of its own
            watcher.result()
        raise
    finally:
        # It must have ended before the caller goes on: a watcher left behind would steal the next
        # reader's message.
        if not watcher.done():
            watcher.cancel()
            await asyncio.wait({watcher})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
