"""It shows: a folder of twenty formats, loaded with one command, answers with its sources."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ..support.formats import samples
from ..support.program import Server, command, configure, server
from ..support.server import ADMIN_TOKEN, events

pytestmark = [pytest.mark.anyio, pytest.mark.process]

SITE = "https://town.example/files/"


def write(folder: Path) -> None:
    """Write the documents below ``folder``."""
    for path, sample in samples().items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(sample.content)


async def answers(orbit: Server, collection: str) -> dict[str, tuple[str, str]]:
    """Ask each question; the answer, and the first of its sources, by the path of its document."""
    made = await command(orbit.folder, "keys", "create", "--collection", collection, "--name", "x")
    found = {}
    async with aiohttp.ClientSession(orbit.url, headers={"X-API-Key": made.out.strip()}) as http:
        for path, sample in samples().items():
            body: dict[str, Any] = {"message": sample.question, "stream": False}
            async with http.post("/chat", json=body) as response:
                reply = await response.json()
                assert response.status == 200, reply
            sources = [each["source"] for each in reply["sources"]] or [""]
            found[path] = (reply["response"], sources[0])
    return found


def check(found: dict[str, tuple[str, str]], before: str) -> None:
    """Every question is answered, from its own document, under the name that it was given."""
    assert {path: source for path, (_, source) in found.items()} == {
        path: before + path for path in samples()
    }
    assert not {
        path: text
        for path, (text, _) in found.items()
        if samples()[path].answer not in " ".join(text.split())
    }


async def test_a_folder_of_twenty_formats_answers(tmp_path: Path) -> None:
    """Loaded by the command alone, then through the running server, then uploaded as links."""
    assert len({Path(path).suffix for path in samples()}) == len(samples()) == 20
    configure(tmp_path)
    write(tmp_path / "town")
    loaded = await command(tmp_path, "ingest", "town", "--collection", "here")
    assert (loaded.code, "20 of 20 files" in loaded.err) == (0, True), loaded.err
    async with server(tmp_path) as orbit:
        check(await answers(orbit, "here"), "town/")
        sent = await command(tmp_path, "ingest", "town", "--collection", "sent")
        assert (sent.code, "20 of 20 files" in sent.err) == (0, True), sent.err
        check(await answers(orbit, "sent"), "town/")
        assert (await upload(orbit, "linked"))["loaded"] == 20
        check(await answers(orbit, "linked"), SITE)
        again = await command(tmp_path, "ingest", "town", "--collection", "here")
        assert (again.code, "0 new chunks" in again.err) == (0, True), again.err


async def upload(orbit: Server, collection: str) -> dict[str, Any]:
    """Upload all of it as a form, and return the last event."""
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("prefix", SITE)
    for path, sample in samples().items():
        form.add_field("files", sample.content, filename=path)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Accept": "text/event-stream"}
    async with (
        aiohttp.ClientSession(orbit.url, headers=headers) as http,
        http.post(f"/admin/collections/{collection}/files", data=form) as response,
    ):
        return list(events(await response.read()))[-1]
