"""Files go to a running server, and what it says of them comes back."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from orbit_server.documents.discovery import File, discover
from orbit_server.documents.loading import LoadOptions
from orbit_server.documents.remote_store import RemoteStore
from orbit_server.documents.sending import send
from orbit_server.errors import OrbitError

from ..support.server import ADMIN_TOKEN, lexical, running

pytestmark = [pytest.mark.anyio, pytest.mark.process]

OPTIONS = LoadOptions(chunk_chars=400, chunk_overlap=0, languages=["en"])


def names(folder: Path, *called: str) -> Sequence[File]:
    """Write files of these names, and return them as they are found."""
    for name in called:
        (folder / name).write_text(f"This is the text of {name}.")
    return sorted(discover([folder]), key=lambda file: file.source)


async def test_each_file_has_its_result(tmp_path: Path) -> None:
    """Whatever it is called, and also where it never left; progress covers every byte."""
    folder = tmp_path / "docs"
    folder.mkdir()
    strange = ['quo"te.md', "semi;colon.md", "back\\slash.md", "grüße 100%.md", "a b.md"]
    files = list(names(folder, *strange))
    (folder / "gone.md").write_text("Gone.")
    files += [File(folder / "gone.md", "docs/gone.md"), File(folder / "x", "x", "error", "Bad.")]
    size = sum((folder / name).stat().st_size for name in strange)
    (folder / "gone.md").unlink()
    steps: list[tuple[int, int]] = []
    async with (
        running(lexical(tmp_path)) as server,
        RemoteStore(server.url, ADMIN_TOKEN) as store,
    ):
        results = await send(
            files, "town", store, OPTIONS, advanced=lambda *step: steps.append(step)
        )
        assert [each.source for each in results] == [each.source for each in files]
        assert [each.stored for each in results] == [1] * 5 + [0, 0]
        assert [bool(each.error) for each in results] == [False] * 5 + [True, True]
        assert "no such file" in results[5].error
        assert (sum(done for done, _ in steps), sum(new for _, new in steps)) == (size, 5)
        listed = await store.files("town")
        assert {each.source for each in listed.files} == {f"docs/{name}" for name in strange}
        assert (await store.show("town"))["languages"] == ["en"]


@asynccontextmanager
async def saying(*events: dict[str, object]) -> AsyncIterator[str]:
    """Run a server that takes anything, and answers with these events."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
        return web.Response(body=body, content_type="text/event-stream")

    server = web.ServerRunner(web.Server(answer))
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{server.addresses[0][1]}"
    finally:
        await server.cleanup()


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([{"event": "read", "source": "docs/a.md", "done": False}], "ended before all"),
        ([], "ended before all"),
        ([{"error": "conflict", "cause": "It was deleted.", "done": True}], "It was deleted"),
    ],
    ids=["cut", "empty", "failed"],
)
async def test_an_end_that_is_none_is_an_error(
    tmp_path: Path, events: list[dict[str, object]], says: str
) -> None:
    """A stream that was cut looks like no success, and an error in it is raised."""
    folder = tmp_path / "docs"
    folder.mkdir()
    files = names(folder, "a.md")
    async with saying(*events) as url, RemoteStore(url, ADMIN_TOKEN) as store:
        with pytest.raises(OrbitError, match=says):
            await send(files, "town", store, OPTIONS, advanced=lambda size, new: None)


async def test_a_file_that_is_not_spoken_of_is_no_success(tmp_path: Path) -> None:
    """It is named."""
    folder = tmp_path / "docs"
    folder.mkdir()
    files = names(folder, "a.md")
    async with saying({"loaded": 0, "done": True}) as url, RemoteStore(url, ADMIN_TOKEN) as store:
        [result] = await send(files, "town", store, OPTIONS, advanced=lambda size, new: None)
    assert "did not say" in result.error
