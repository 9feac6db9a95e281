"""``python -m orbit_server``: keys, collections and questions from the command line."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from ..support.ollama_standin import OllamaStandIn, quote_passage
from ..support.program import Result, Server, command, configure, environment, free_port, server

pytestmark = pytest.mark.anyio

KEYS_CREATE = ("keys", "create", "--collection", "town", "--name", "Ann")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a configuration that needs no Ollama."""
    configure(tmp_path)
    return tmp_path


def said(result: Result) -> str:
    """Return the one sentence that a failed command ends with."""
    [sentence] = [line for line in result.err.splitlines() if line.startswith("orbit: ")]
    return sentence


def cells(result: Result) -> list[list[str]]:
    """Return the rows of a printed table, without its head and frame."""
    rows = [line for line in result.out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


def test_it_is_a_program(folder: Path) -> None:
    """``python -m orbit_server`` shows its commands, and a sentence instead of a traceback."""
    run = [sys.executable, "-m", "orbit_server"]
    shown = subprocess.run([*run, "--help"], cwd=folder, env=environment(), capture_output=True)
    assert shown.returncode == 0
    for name in (b"ingest", b"ask", b"keys", b"collections"):
        assert name in shown.stdout
    (folder / "config.yaml").write_text("general: {prot: 3000}")
    failed = subprocess.run(
        [*run, "keys", "list"], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("orbit: the configuration cannot be used:\n")
    assert "did you mean general.port?" in failed.stderr
    assert "Traceback" not in failed.stderr


# -- keys -------------------------------------------------------------------------------------


async def test_a_key_through_its_life(folder: Path) -> None:
    """Made, listed, shown, deactivated, deleted: by its id, and never shown again."""
    made = await command(folder, *KEYS_CREATE, "--notes", "web page", "--expires", "90d")
    secret = made.out.strip()
    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", secret), "only the key is on standard output"
    assert "once" in made.err
    listed = await command(folder, "keys", "list")
    [[id, prefix, collection, client, active, expires, used]] = cells(listed)
    assert id in made.err
    assert secret.startswith(prefix.rstrip("…"))
    assert (collection, client, active, used) == ("town", "Ann", "yes", "never")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", expires)
    status = await command(folder, "keys", "status", secret)
    assert "web page" in status.out
    assert (await command(folder, "keys", "deactivate", id)).code == 0
    assert cells(await command(folder, "keys", "list"))[0][4] == "no"
    deleted = await command(folder, "keys", "delete", prefix.rstrip("…"))
    assert deleted.code == 0
    assert cells(await command(folder, "keys", "list")) == []
    for result in (listed, status, deleted):
        assert secret not in result.out + result.err


@pytest.mark.parametrize("name", ["status", "deactivate", "delete"])
async def test_an_unknown_key_is_a_sentence(folder: Path, name: str) -> None:
    """Exit 1 and where to look, without repeating what may be a key."""
    unknown = "api_" + "x" * 32
    result = await command(folder, "keys", name, unknown)
    assert result.code == 1
    assert "keys list" in said(result)
    assert unknown not in result.err


async def test_an_ambiguous_prefix_is_a_sentence(folder: Path) -> None:
    """Two keys that begin alike are told apart by their ids only."""
    for _ in range(2):
        await command(folder, *KEYS_CREATE)
    with closing(sqlite3.connect(folder / "data" / "orbit.db")) as database, database:
        database.execute("UPDATE api_keys SET prefix = 'api_same'")
    result = await command(folder, "keys", "delete", "api_same")
    assert (result.code, "id" in said(result)) == (1, True)
    assert len(cells(await command(folder, "keys", "list"))) == 2


async def test_long_names_stay_on_one_line(folder: Path) -> None:
    """In a pipe a row is a line: what ``grep`` finds can be copied, brackets included."""
    name = "the [bold]web[/] page :smile: of the town's " + "very " * 30 + "long name"
    await command(folder, "keys", "create", "--collection", "town", "--name", name)
    [row] = cells(await command(folder, "keys", "list"))
    assert row[3] == name


async def test_a_key_database_that_is_none_is_a_sentence(folder: Path) -> None:
    """Exit 1, the key to look at, and what the database says."""
    (folder / "data").mkdir()
    (folder / "data" / "orbit.db").write_text("certainly not a database " * 100)
    result = await command(folder, "keys", "list")
    assert result.code == 1
    assert "database.url" in said(result)
    assert "not a database" in said(result)


# -- collections and questions ----------------------------------------------------------------


@pytest.fixture(scope="module")
async def orbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with a few documents, whose folder is a working directory too."""
    folder = tmp_path_factory.mktemp("orbit")
    configure(folder)
    filled(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    async with server(folder) as running:
        yield running


def filled(folder: Path) -> None:
    """Write the documents that are asked about."""
    (folder / "town.md").write_text(
        "# Library [/x] [bold]\n\nThe library opens at nine.\n\n# Pool\n\nThe pool costs two euros."
    )


async def test_collections_are_listed_shown_and_deleted(folder: Path) -> None:
    """With their size, embedder and sources; to delete one takes a yes."""
    filled(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    listed = cells(await command(folder, "collections", "list"))
    assert listed == [["town", "2", "lexical", "hashed-words-1", "1024"]]
    shown = await command(folder, "collections", "show", "town")
    assert re.search(r"^chunks +2$", shown.out, re.MULTILINE)
    assert cells(shown) == [["town.md", "2"]]
    kept = await command(folder, "collections", "delete", "town")
    assert kept.code == 1, "nobody said yes"
    assert cells(await command(folder, "collections", "list")) == listed
    assert (await command(folder, "collections", "delete", "town", "--yes")).code == 0
    assert cells(await command(folder, "collections", "list")) == []


@pytest.mark.parametrize("arguments", [("show",), ("delete", "--yes")], ids=lambda args: args[0])
async def test_an_unknown_collection_is_a_sentence(
    folder: Path, orbit: Server, arguments: tuple[str, ...]
) -> None:
    """Exit 1, in this process and through a server."""
    for place in (folder, orbit.folder):
        result = await command(place, "collections", *arguments, "nowhere")
        assert (result.code, "ollection" in said(result)) == (1, True)
        result = await command(place, "collections", *arguments, "no good name")
        assert result.code == 1
        said(result)


async def test_ask_shows_passages_and_the_answer(folder: Path, orbit: Server) -> None:
    """The same in this process and through a server: scores beside, the answer on stdout."""
    filled(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    question = ("ask", "When does the library open?", "--collection", "town")
    for place in (folder, orbit.folder):
        result = await command(place, *question)
        assert result.code == 0, result.err
        quoted = "Quoted from “Library [/x] [bold]”: The library opens at nine.\n"
        assert result.out.startswith(quoted)
        assert re.search(r"│ \d\.\d\d\d │ Library", result.err)
        assert "town.md" in result.err
    assert f"going through {orbit.url}" in result.err


async def test_ask_takes_long_questions_through_a_server(orbit: Server) -> None:
    """What the chat would take, the command takes."""
    question = "When does the library open? " + "I would like to know. " * 40
    result = await command(orbit.folder, "ask", question, "--collection", "town")
    assert result.code == 0, result.err


async def test_ask_streams_what_the_model_says(tmp_path: Path) -> None:
    """With Ollama the answer is the model's, from the passages."""
    async with OllamaStandIn() as ollama:
        ollama.reply = quote_passage
        configure(
            tmp_path,
            ollama={"base_url": ollama.url},
            embedding={"provider": "ollama"},
            answer={"provider": "ollama"},
        )
        filled(tmp_path)
        assert (await command(tmp_path, "ingest", "town.md", "--collection", "town")).code == 0
        question = ("ask", "When does the library open?", "--collection", "town")
        result = await command(tmp_path, *question)
        assert "The library opens at nine." in result.out
        [body] = ollama.bodies("/api/chat")
        assert "The library opens at nine." in body["messages"][-1]["content"]
        ollama.models = {"bge-m3": ["embedding"]}
        result = await command(tmp_path, *question)
        assert (result.code, "gemma3:4b" in said(result)) == (1, True)


async def test_nothing_found_is_an_answer(folder: Path) -> None:
    """The configured sentence, exit 0."""
    filled(folder)
    await command(folder, "ingest", "town.md", "--collection", "town")
    result = await command(folder, "ask", "quantum chromodynamics", "--collection", "town")
    assert result.code == 0
    assert "could not find anything" in result.out


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


# -- wrong calls ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["ingest"],
        ["ingest", "a.txt"],
        ["ask", "--collection", "town"],
        ["keys", "create", "--collection", "town"],
        ["keys", "status"],
        ["keys", "list", "extra"],
        [*KEYS_CREATE, "--expires", "soon"],
        [*KEYS_CREATE, "--expires", "2001-01-01"],
        [*KEYS_CREATE, "--stream-format", "morse"],
        ["collections", "show"],
    ],
    ids=" ".join,
)
async def test_a_wrong_call_is_2(folder: Path, arguments: list[str]) -> None:
    """The usage and what is wrong, on standard error; nothing is opened or made."""
    result = await command(folder, *arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: " in result.err
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "list"),
        ("collections", "list"),
        ("ingest", "a.txt", "--collection", "town"),
        ("ask", "x", "--collection", "town"),
    ],
    ids=" ".join,
)
async def test_mistakes_in_the_configuration_are_2(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """All of them at once, each with its place, before anything is opened."""
    (tmp_path / "config.yaml").write_text("general:\n  port: many\nchromaa: {}\n")
    result = await command(tmp_path, *arguments)
    assert result.code == 2
    assert "config.yaml:2: general.port: " in result.err
    assert "config.yaml:3: chromaa: unknown key" in result.err
    assert not (tmp_path / "data").exists()
    result = await command(tmp_path, "--config", "missing.yaml", *arguments)
    assert (result.code, "missing.yaml" in result.err) == (2, True)


async def test_chroma_that_is_down_is_a_sentence(tmp_path: Path) -> None:
    """A Chroma server that does not answer is named with its address."""
    port = free_port()
    configure(tmp_path, chroma={"host": "127.0.0.1", "port": port})
    (tmp_path / "a.txt").write_text("text")
    for arguments in (("collections", "list"), ("ingest", "a.txt", "--collection", "town")):
        result = await command(tmp_path, *arguments)
        assert (result.code, f"127.0.0.1:{port}" in said(result)) == (1, True)


async def test_a_folder_that_is_a_file_is_a_sentence(folder: Path) -> None:
    """Where Chroma's folder should be stands a file."""
    (folder / "data").mkdir()
    (folder / "data" / "chroma").write_text("")
    result = await command(folder, "collections", "list")
    assert (result.code, "data/chroma" in said(result)) == (1, True)
