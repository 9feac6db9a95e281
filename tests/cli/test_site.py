"""``orbit ingest https://…``: what an operator sees, in this process and through a server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support.program import Server, command
from ..support.town_site import TownSite

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture
async def site() -> AsyncIterator[TownSite]:
    async with TownSite(services=3)() as site:
        yield site


async def test_a_site_is_loaded_and_loaded_again(
    folder: Path, orbit: Server, site: TownSite
) -> None:
    """The report counts pages and names what failed; a second run fetches what changed.

    With ``--prune`` what is gone is removed, and named.
    """
    for place in (folder, orbit.folder):
        site.broken, site.vanished, site.asked = {"/services/2.html"}, set(), []
        arguments = ("ingest", site.url, "--collection", "site", "--delay=0", "--allow-private")
        first = await command(place, *arguments)
        assert first.code == 0, first.err
        said = first.out + first.err
        assert f"{site.url}/services/2.html (its server answers with status 500)" in said
        assert f"Not allowed by robots.txt: {site.url}/private/secret.html" in said
        assert [row[0] for row in first.cells if row[0] == f"{site.url}/hours"]
        site.broken, site.asked = set(), []
        second = await command(place, *arguments)
        assert second.code == 0, second.err
        assert site.fetched() == {"/services/2.html", "/noindex", "/print/hours"}
        assert [row[0] for row in second.cells] == [f"{site.url}/services/2.html"]
        site.vanished = {"/services/1.html"}
        third = await command(place, *arguments, "--prune")
        assert third.code == 0, third.err
        assert [row[0] for row in third.cells] == [f"{site.url}/services/1.html"]
        listed = await command(place, "collections", "files", "site")
        sources = {row[0] for row in listed.cells}
        assert f"{site.url}/services/2.html" in sources
        assert f"{site.url}/services/1.html" not in sources


async def test_nothing_understood_is_exit_one(folder: Path, site: TownSite) -> None:
    """Because it is private, or down; the failed address is named, and its password is not."""
    address = site.url.replace("//", "//mayor:s3cret@")
    for more, reason in (([], "--allow-private"), (["--allow-private"], "status 500")):
        site.down = True
        result = await command(folder, "ingest", address, "--collection", "site", *more)
        said = " ".join((result.out + result.err).split())
        assert result.code == 1
        assert f"{site.url}/" in said
        assert reason in said
        assert "s3cret" not in said
    assert len(site.asked) > 0


@pytest.mark.parametrize("wrong", ["https://", "http://u:s3cret@/", "https://town.example town.md"])
async def test_what_is_no_address_is_refused(folder: Path, wrong: str) -> None:
    """As a wrong use of the command, without the password."""
    result = await command(folder, "ingest", *wrong.split(), "--collection", "site")
    assert result.code == 2
    assert "s3cret" not in result.out + result.err
