"""Uploads into a server with several workers: their loads take turns too."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ..support.program import configure, server
from ..support.server import ADMIN_TOKEN

pytestmark = [pytest.mark.anyio, pytest.mark.process]


async def test_workers_replace_a_source_one_after_the_other(tmp_path: Path) -> None:
    """Of versions that come at once one is there, whole, and a removal leaves nothing."""
    configure(tmp_path)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    place = "/admin/collections/town/files"

    def version(name: str) -> aiohttp.FormData:
        pairs = [{"question": f"Question {n}?", "answer": f"{name} {n}"} for n in range(60)]
        form = aiohttp.FormData()
        form.add_field("files", json.dumps(pairs).encode(), filename="a.json")
        return form

    async with (
        server(tmp_path, "--workers=2") as orbit,
        aiohttp.ClientSession(
            orbit.url, headers=headers, connector=aiohttp.TCPConnector(force_close=True)
        ) as http,
    ):

        async def upload(name: str) -> int:
            async with http.post(place, data=version(name)) as response:
                reply: dict[str, Any] = await response.json()
                assert response.status == 200, reply
                return int(reply["loaded"])

        async def passages() -> list[Any]:
            async with http.get("/admin/collections/town/sample?n=1000") as response:
                found: list[Any] = (await response.json())["passages"]
                return found

        assert await asyncio.gather(*map(upload, ("Alpha", "Beta", "Gamma", "Delta"))) == [1] * 4
        answers = [each["answer"].split()[0] for each in await passages()]
        assert (len(answers), len(set(answers))) == (60, 1)
        async with http.delete(f"{place}/a.json") as response:
            assert await response.json() == {"removed": 60}
        assert await passages() == []
