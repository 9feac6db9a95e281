"""``orbit collections`` and ``orbit ingest``: what an operator sees of the documents."""

import re
from pathlib import Path

import pytest

from ..support.ports import free_port
from ..support.program import Server, command, configure
from ..support.town import write_town

pytestmark = pytest.mark.anyio


async def test_collections_are_listed_shown_and_deleted(folder: Path) -> None:
    """With their size, embedder and sources; to delete one takes a yes."""
    write_town(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    listed = (await command(folder, "collections", "list")).cells
    assert listed == [["town", "2", "lexical", "hashed-words-1", "1024", "en"]]
    shown = await command(folder, "collections", "show", "town")
    assert re.search(r"^chunks +2$", shown.out, re.MULTILINE)
    assert shown.cells == [["town.md", "2"]]
    for answer in ("", "\n", "n\n", "town\n"):
        kept = await command(folder, "collections", "delete", "town", typed=answer)
        assert kept.code == 1, "nobody said yes"
        assert (await command(folder, "collections", "list")).cells == listed
    assert (await command(folder, "collections", "delete", "town", typed="Y\n")).code == 0
    left = await command(folder, "collections", "list")
    assert (left.code, left.out) == (0, "")
    assert left.err.startswith("There is no collection yet: orbit ingest")


async def test_files_are_listed_and_removed(folder: Path, orbit: Server) -> None:
    """With what is known of them, in this process and through a server."""
    for place in (folder, orbit.folder):
        (place / "deep").mkdir()
        (place / "deep" / "pool.md").write_text("# The pool\n\nThe pool is open on Mondays.\n")
        (place / "faq.csv").write_text("question,answer\nWhen is the pool open?,At nine.\nWho?,\n")
        for path in ("deep", "faq.csv"):
            await command(place, "ingest", path, "--collection", "files")
        deep, faq = (await command(place, "collections", "files", "files")).cells[:2]
        assert deep[:3] + deep[4:] == ["deep/pool.md", "1", "-", "en", ""]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+Z", deep[3])
        assert (faq[0], faq[1], "line" in faq[5]) == ("faq.csv", "1", True)
        remove = ("collections", "remove", "files", "deep/pool.md")
        removed = await command(place, *remove)
        assert (removed.code, "1 passage is removed" in removed.err) == (0, True)
        again = await command(place, *remove)
        assert (again.code, "deep/pool.md" in again.sentence) == (1, True)
        assert (await command(place, "collections", "files", "nowhere")).code == 1
        assert (await command(place, "collections", "delete", "files", "--yes")).code == 0


async def test_the_language_of_documents(folder: Path) -> None:
    """It is detected; what is given wins, and stays; a wrong one is told the right ones."""
    (folder / "stadt.md").write_text(
        "# Bad\n\nDas Bad ist am Montag geschlossen und sonst offen.\n"
    )
    arguments = ("ingest", "stadt.md", "--collection", "stadt")
    for given, expected in [
        ((), "de"),
        (("--language", "EN", "--language", "de"), "de, en"),
        ((), "de, en"),
    ]:
        assert (await command(folder, *arguments, *given)).code == 0
        shown = await command(folder, "collections", "show", "stadt")
        assert re.search(rf"^languages +{expected}$", shown.out, re.MULTILINE)
    wrong = await command(folder, *arguments, "--language", "german")
    assert (wrong.code, "german" in wrong.err, "de, " in wrong.err) == (2, True, True)


@pytest.mark.parametrize("arguments", [("show",), ("delete", "--yes")], ids=lambda args: args[0])
async def test_an_unknown_collection_is_a_sentence(
    folder: Path, orbit: Server, arguments: tuple[str, ...]
) -> None:
    """Exit 1, in this process and through a server."""
    for place in (folder, orbit.folder):
        result = await command(place, "collections", *arguments, "nowhere")
        assert (result.code, "ollection" in result.sentence) == (1, True)
        result = await command(place, "collections", *arguments, "no good name")
        assert result.code == 1
        assert result.sentence


async def test_chroma_that_is_down_is_a_sentence(tmp_path: Path) -> None:
    """A Chroma server that does not answer is named with its address."""
    port = free_port()
    configure(tmp_path, chroma={"host": "127.0.0.1", "port": port})
    (tmp_path / "a.txt").write_text("text")
    for arguments in (("collections", "list"), ("ingest", "a.txt", "--collection", "town")):
        result = await command(tmp_path, *arguments)
        assert (result.code, f"127.0.0.1:{port}" in result.sentence) == (1, True)


async def test_a_folder_that_is_a_file_is_a_sentence(folder: Path) -> None:
    """Where Chroma's folder should be stands a file."""
    (folder / "data").mkdir()
    (folder / "data" / "chroma").write_text("")
    result = await command(folder, "collections", "list")
    assert (result.code, "data/chroma" in result.sentence) == (1, True)


async def test_a_wrong_name_is_told_the_right_ones(folder: Path, orbit: Server) -> None:
    """Every command that takes a collection names those that there are, without foreign errors."""
    write_town(folder)
    assert (await command(folder, "ingest", "town.md", "--collection", "town")).code == 0
    for place in (folder, orbit.folder):
        for arguments in (
            ("collections", "show", "nowhere"),
            ("collections", "reindex", "nowhere"),
            ("collections", "delete", "nowhere", "--yes"),
            ("ask", "Where is it?", "--collection", "nowhere"),
            ("calibrate", "--collection", "nowhere"),
        ):
            result = await command(place, *arguments)
            expected = "orbit: There is no collection 'nowhere'. There are: town."
            assert (result.code, result.sentence) == (1, expected)
