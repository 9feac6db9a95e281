"""What a command works with: the files of this machine, or the running server that holds them."""

from pathlib import Path

import aiohttp
import pytest

from orbit_server.retrieval.chroma.lock import holder_token

from ..support.program import command, server
from ..support.server import ADMIN_TOKEN
from ..support.town import write_town

pytestmark = [pytest.mark.anyio, pytest.mark.process]


LIST = ("collections", "list")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_who_may_read_the_folder_needs_no_admin_token(folder: Path, workers: str) -> None:
    """A server leaves a token beside the lock, for its own user; it ends with the server."""
    write_town(folder)
    async with server(folder, f"--workers={workers}", token=None) as running:
        file = folder / "data" / "chroma" / "orbit.token"
        assert file.stat().st_mode & 0o777 == 0o600
        ingest = ("ingest", "town.md", "--collection", "town")
        assert (await command(folder, *ingest, token=None)).code == 0
        listed = await command(folder, *LIST, token=None)
        assert listed.cells == [["town", "2", "lexical", "hashed-words-1", "1024", "en"]]
        assert f"going through {running.url}" in listed.err
        named = await command(folder, *LIST, "--server", running.url, token=None)
        assert named.cells == listed.cells
        by_name = running.url.replace("127.0.0.1", "localhost") + "/"
        assert (await command(folder, *LIST, "--server", by_name, token=None)).cells == named.cells
        token = file.read_text()
        for given, status in ((token, 200), (token + "x", 403), ("", 403), (ADMIN_TOKEN, 403)):
            assert await admin_status(running.url, given) == status
        assert token not in running.log
        assert await running.ended() == 0
    assert holder_token(folder / "data" / "chroma") is None, "it opens nothing any more"
    async with server(folder, token=None) as running:
        assert await admin_status(running.url, token) == 403, "the next server has another one"


async def test_who_may_not_needs_the_admin_token(folder: Path) -> None:
    """Where the token cannot be read, the command says which one it needs."""
    async with server(folder) as running:
        assert (await command(folder, *LIST)).code == 0
        (folder / "data" / "chroma" / "orbit.token").unlink()
        assert (await command(folder, *LIST)).code == 0, "with the configured one"
        refused = await command(folder, *LIST, token=None)
        assert (refused.code, "ADMIN_TOKEN" in refused.sentence) == (1, True)
        assert running.url in refused.sentence


async def admin_status(url: str, token: str) -> int:
    """Return the status with which the server answers an administrator with this token."""
    async with aiohttp.ClientSession(url) as http:
        headers = {"Authorization": f"Bearer {token}"}
        async with http.get("/admin/collections", headers=headers) as response:
            return response.status
