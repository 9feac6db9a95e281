"""A key that another process ends: the answers that are under way with it end too."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orbit_server.auth.keys import Keys
from orbit_server.errors import KeyEnded
from tests.support.chat_server import QUESTION, Reply
from tests.support.chat_server import town as open_town
from tests.support.ollama_standin import Hang

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("end", ["deactivate", "delete", "rotate"])
async def test_answers_under_way_end(tmp_path: Path, end: str) -> None:
    """Streams say why, what has not begun is 401; those of other keys go on, and none begins."""
    async with open_town(tmp_path, ollama__concurrency=0, chat__head_timeout=60) as town:
        other = await town.server.key("town")
        town.ollama.reply = ["The library", " opens", " at nine."]
        silent, hanging = Hang(), Hang(after=2)
        town.ollama.fault = [hanging, hanging, silent, hanging, hanging]
        shapes: list[dict[str, Any]] = [
            {},
            {"stream_format": "cumulative"},
            {},
            {"stream": False},
            {"headers": other},
        ]
        asked: list[asyncio.Task[Reply]] = []
        for number, shape in enumerate(shapes, start=1):
            asked.append(asyncio.create_task(town.ask(**shape)))
            await town.ollama.until(lambda: town.ollama.active == number)  # noqa: B023
        async with Keys(town.server.services.config.database.url) as elsewhere:
            assert await getattr(elsewhere, end)(town.headers["X-API-Key"])
        async with asyncio.timeout(30):
            delta, cumulative, *before_text = await asyncio.gather(*asked[:4])
        for reply in (delta, cumulative):
            assert [event.get("error") for event in reply.events[-2:]] == ["key_ended"] * 2
        assert delta.text == f"The library opens\n\n{KeyEnded.sentence}"
        assert cumulative.events[-2]["text"] == delta.text
        for reply in before_text:
            assert (reply.status, reply.json()["code"]) == (401, "key_ended")
        assert (await town.ask(QUESTION)).status == 401
        assert not asked[4].done()
        asked[4].cancel()
        await asyncio.gather(asked[4], return_exceptions=True)
        await town.settled()
        codes = sorted(str(record["error"]) for record in await town.exchanged(5))
        assert codes == ["None", *["key_ended"] * 4]
