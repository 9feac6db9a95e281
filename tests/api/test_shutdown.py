"""``Shutdown``: the time that running work has left, counted from when the server stops."""

import asyncio

import pytest
from sse_starlette.sse import AppStatus

from orbit_server.api.event_stream import server_stopping
from orbit_server.api.shutdown import Shutdown
from orbit_server.errors import ShuttingDown

pytestmark = pytest.mark.anyio


async def no_more_time(shutdown: Shutdown) -> None:
    over = asyncio.Event()
    with shutdown.calling(over.set):
        await over.wait()


async def test_what_begins_during_a_shutdown_has_what_is_left() -> None:
    """The drain is one for all, and work that it cuts has cleaned up before its caller goes on."""
    stops = asyncio.Event()
    cleaned = False

    async def stopping() -> None:
        await stops.wait()

    async def work(number: int) -> int:
        nonlocal cleaned
        try:
            await asyncio.sleep(number)
        finally:
            await asyncio.sleep(0)
            cleaned = True
        return number

    assert await Shutdown(0, stopping=stopping).cancel_on_shutdown(work)(0) == 0
    cleaned = False
    stops.set()
    shutdown = Shutdown(1, stopping=stopping)
    async with asyncio.timeout(30):
        await no_more_time(shutdown)
        with pytest.raises(ShuttingDown):
            await shutdown.cancel_on_shutdown(work)(3600)
    assert cleaned


async def test_a_shutdown_can_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has waited for the end of a long drain waits no more, and nothing ends before it.

    The server is one that sse-starlette knows of.
    """
    shutdown = Shutdown(3600, stopping=server_stopping)
    shutdown.expire()
    waiting = asyncio.create_task(no_more_time(shutdown))
    await asyncio.sleep(0.05)
    assert not waiting.done(), "the server does not stop"
    patient = Shutdown(3600, stopping=server_stopping)
    monkeypatch.setattr(AppStatus, "should_exit", True)
    later = asyncio.create_task(no_more_time(patient))
    async with asyncio.timeout(30):
        await waiting
        assert not later.done()
        patient.expire()
        await later
