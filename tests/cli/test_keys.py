"""``orbit keys``: API keys through their life, by id, prefix or themselves."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from ..support.ports import free_port
from ..support.program import Server, command, configure
from ..support.town import write_town

pytestmark = pytest.mark.anyio

KEYS_CREATE = ("keys", "create", "--collection", "town", "--name", "Ann")


async def test_a_key_through_its_life(folder: Path) -> None:
    """Made, listed, shown, deactivated, deleted: by its id, and never shown again."""
    made = await command(folder, *KEYS_CREATE, "--notes", "web page", "--expires", "90d")
    secret = made.out.strip()
    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", secret), "only the key is on standard output"
    assert "once" in made.err
    listed = await command(folder, "keys", "list")
    [[id, prefix, collection, client, active, expires, used, *limits]] = listed.cells
    assert id in made.err
    assert secret.startswith(prefix.rstrip("…"))
    assert (collection, client, active, used) == ("town", "Ann", "yes", "never")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", expires)
    assert limits == ["0", "-", "-"]
    status = await command(folder, "keys", "status", secret)
    assert "web page" in status.out
    assert (await command(folder, "keys", "deactivate", id)).code == 0
    assert (await command(folder, "keys", "list")).cells[0][4] == "no"
    deleted = await command(folder, "keys", "delete", prefix.rstrip("…"))
    assert deleted.code == 0
    left = await command(folder, "keys", "list")
    assert (left.code, left.out) == (0, "")
    assert left.err.startswith("There is no key yet: orbit keys create")
    for result in (listed, status, deleted):
        assert secret not in result.out + result.err


async def test_a_key_for_a_collection_that_is_not_there(folder: Path) -> None:
    """It is made, since documents may follow; a slip of the pen is pointed out."""
    early = await command(folder, *KEYS_CREATE)
    assert (early.code, early.out[:4]) == (0, "api_")
    assert "There is no collection 'town' yet. To create it: orbit ingest" in early.err
    assert not (folder / "data" / "chroma").exists()
    write_town(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    right = await command(folder, *KEYS_CREATE)
    assert "no collection" not in right.err
    wrong = await command(folder, "keys", "create", "--collection", "twon", "--name", "Ann")
    assert (wrong.code, wrong.out[:4]) == (0, "api_")
    assert "Did you mean town?" in wrong.err


async def test_where_no_collection_can_be_seen_none_is_missed(folder: Path) -> None:
    """A Chroma server that is away says nothing about its collections."""
    configure(folder, chroma={"host": "127.0.0.1", "port": free_port()})
    made = await command(folder, *KEYS_CREATE)
    assert (made.code, made.out[:4]) == (0, "api_")
    assert "no collection" not in made.err


@pytest.mark.parametrize("name", ["status", "limit", "rotate", "deactivate", "delete"])
async def test_an_unknown_key_is_a_sentence(folder: Path, name: str) -> None:
    """Exit 1 and where to look, without repeating what may be a key."""
    unknown = "api_" + "x" * 32
    result = await command(folder, "keys", name, unknown)
    assert result.code == 1
    assert "keys list" in result.sentence
    assert unknown not in result.err


async def test_a_key_for_a_website(folder: Path) -> None:
    """It gets limits that suit a public key, those that are given among them; all is shown."""
    site = ("--website", "https://Town.example/", "--website", "http://localhost:8000")
    made = await command(folder, *KEYS_CREATE, *site, "--per-minute", "20", "--streams=0")
    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", made.out.strip())
    assert "Everybody who opens the page can see it" in made.err
    limits = "20/min, 2000/day, any at once, 10/min a visitor"
    assert limits in " ".join(made.err.split())
    [row] = (await command(folder, "keys", "list")).cells
    assert row[7:] == ["0", "https://town.example http://localhost:8000", limits]
    changed = await command(
        folder, "keys", "limit", row[0], "--per-minute=default", "--per-day=5", "--anywhere"
    )
    status = await command(folder, "keys", "status", row[0])
    for shown in (changed, status):
        assert "5/day, any at once, 10/min a visitor" in shown.out
        assert "any, and programs" in shown.out
        assert "20/min" not in shown.out


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--website=town.example", "https://town.example"),
        ("--website=https://town.example/contact", "without a path"),
        ("--per-minute=-5", "0 means no limit"),
        ("--per-day=many", "0 means no limit"),
        ("--streams=99999999999999999999", "0 means no limit"),
    ],
)
async def test_a_limit_that_is_none(folder: Path, option: str, reason: str) -> None:
    """Exit 2, what is possible, and no key."""
    made = await command(folder, *KEYS_CREATE, option)
    assert made.code == 2
    assert reason in " ".join(made.err.replace("│", " ").split())
    assert (await command(folder, "keys", "list")).cells == []


async def test_a_new_secret(folder: Path) -> None:
    """Shown once, on standard output; the old one is said to end."""
    old = (await command(folder, *KEYS_CREATE)).out.strip()
    rotated = await command(folder, "keys", "rotate", old, "--overlap", "7d")
    new = rotated.out.strip()
    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", new)
    assert "expires 20" in rotated.err
    statuses = [(await command(folder, "keys", "status", each)).out for each in (old, new)]
    assert statuses[0] == statuses[1]
    assert "old key" in statuses[0]
    again = await command(folder, "keys", "rotate", new)
    assert "expires now" in again.err
    assert (await command(folder, "keys", "status", old)).code == 1


async def test_an_ambiguous_prefix_is_a_sentence(folder: Path) -> None:
    """Two keys that begin alike are told apart by their ids only."""
    for _ in range(2):
        await command(folder, *KEYS_CREATE)
    with closing(sqlite3.connect(folder / "data" / "orbit.db")) as database, database:
        database.execute("UPDATE api_keys SET prefix = 'api_same'")
    result = await command(folder, "keys", "delete", "api_same")
    assert (result.code, "id" in result.sentence) == (1, True)
    assert len((await command(folder, "keys", "list")).cells) == 2


async def test_long_names_stay_on_one_line(folder: Path) -> None:
    """In a pipe a row is a line: what ``grep`` finds can be copied, brackets included."""
    name = "the [bold]web[/] page :smile: of the town's " + "very " * 30 + "long name"
    await command(folder, "keys", "create", "--collection", "town", "--name", name)
    [row] = (await command(folder, "keys", "list")).cells
    assert row[3] == name


async def test_a_key_database_that_is_none_is_a_sentence(folder: Path) -> None:
    """Exit 1, the key to look at, and what the database says."""
    (folder / "data").mkdir()
    (folder / "data" / "orbit.db").write_text("certainly not a database " * 100)
    result = await command(folder, "keys", "list")
    assert result.code == 1
    assert "database.url" in result.sentence
    assert "not a database" in result.sentence


async def test_a_running_server_follows_the_keys(orbit: Server) -> None:
    """A key made on the command line opens the server; one that was ended there does not."""
    key = (await command(orbit.folder, *KEYS_CREATE)).out.strip()
    body = {"message": "When does the library open?", "stream": False}
    other = (await command(orbit.folder, *KEYS_CREATE)).out.strip()
    assert (await command(orbit.folder, "keys", "deactivate", other)).code == 0
    async with aiohttp.ClientSession() as http:
        for secret, status in ((key, 200), (other, 401)):
            headers = {"X-API-Key": secret}
            async with http.post(f"{orbit.url}/chat", json=body, headers=headers) as response:
                assert response.status == status
