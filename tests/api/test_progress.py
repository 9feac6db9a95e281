"""Progress is told as it is made, and no end is taken for another."""

import asyncio
from typing import Any

import pytest

from orbit_server.api.progress import ProgressStream, Tell
from orbit_server.errors import ShuttingDown

from ..support.asgi import Client, scope
from ..support.server import events

pytestmark = pytest.mark.anyio


async def test_silence_is_filled_with_comments() -> None:
    """So that nobody between takes the connection for dead; the head goes out with the first."""

    async def work(tell: Tell) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        tell({"step": 1})
        return {"steps": 1}

    client = Client(scope("POST"))
    result = await client.run(ProgressStream(work, ping=0.01))
    assert result.body.startswith(b": ping\n\n")
    assert list(events(result.body)) == [{"step": 1, "done": False}, {"steps": 1, "done": True}]
    assert result.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in result.headers


async def test_before_the_head_an_error_is_raised() -> None:
    """It becomes a status."""

    async def work(tell: Tell) -> dict[str, Any]:
        raise ShuttingDown

    client = Client(scope("POST"))
    with pytest.raises(ShuttingDown):
        await client.run(ProgressStream(work))
    assert client.result.status is None


@pytest.mark.parametrize("way", ["leaves", "stalls"])
async def test_who_is_gone_ends_the_work(way: str) -> None:
    """And the work has come to its end before the response has."""
    ended = False

    async def work(tell: Tell) -> dict[str, Any]:
        nonlocal ended
        try:
            while True:
                tell({"step": 1})
                await asyncio.sleep(0.005)
        finally:
            await asyncio.sleep(0.02)
            ended = True

    client = Client(
        scope("POST"),
        disconnect_after=3 if way == "leaves" else None,
        slow_after=3 if way == "stalls" else None,
    )
    async with asyncio.timeout(30):
        await client.run(ProgressStream(work, stalled=0.05))
    assert ended
    assert not client.result.complete
