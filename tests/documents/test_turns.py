"""Loads take turns, and what must not stop half way does not."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from orbit_server.documents.finishing import finished
from orbit_server.documents.turns import Turns, locked_collection
from orbit_server.errors import CollectionNotFound, Conflict, SearchUnavailable
from orbit_server.retrieval.chroma.protocol import Chroma, Collection

pytestmark = pytest.mark.anyio


class Named:
    """What turns ask of Chroma: the id of the collection, while there is one."""

    id: str | None = None

    async def collection(self, name: str, *, fresh: bool = False) -> Collection:
        assert fresh, "what is remembered may be gone"
        if self.id is None:
            raise CollectionNotFound("none")
        return Collection(self.id, name, "cosine", {}, None)


async def test_one_at_a_time(tmp_path: Path) -> None:
    """Of several loads of a collection none is in the middle of another."""
    inside, most = 0, 0

    async def load(name: str) -> None:
        nonlocal inside, most
        turn = Turns(cast(Chroma, Named()), name, tmp_path)
        for _ in range(3):
            async with turn():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.005)
                inside -= 1

    await asyncio.gather(*(load("town") for _ in range(4)))
    assert most == 1


async def test_patience_has_an_end(tmp_path: Path) -> None:
    """Who only wants to delete something is told that it is being loaded; another name is free."""
    async with locked_collection(tmp_path, "town"):
        with pytest.raises(Conflict, match="'town' is being loaded"):
            async with locked_collection(tmp_path, "town", patience=0.05):
                pass
        async with locked_collection(tmp_path, "pool", patience=0):
            pass
    async with locked_collection(tmp_path, "town", patience=0):
        pass


async def test_what_was_deleted_between_turns_stays_so(tmp_path: Path) -> None:
    """Also when another one has its name now; what is made in a turn is no other."""
    for later in (None, "other"):
        chroma = Named()
        turn = Turns(cast(Chroma, chroma), "town", tmp_path)
        async with turn():
            chroma.id = "one"
        async with turn():
            pass
        chroma.id = later
        with pytest.raises(Conflict, match="was deleted"):
            async with turn():
                pass


async def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """It names the lock."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchUnavailable, match=r"The lock .*file"):
        async with locked_collection(tmp_path / "file" / "below", "town"):
            pass


async def test_what_is_begun_is_finished() -> None:
    """However often it is cancelled; then the cancellation is raised."""
    done = False

    async def work() -> int:
        nonlocal done
        await asyncio.sleep(0.05)
        done = True
        return 5

    assert await finished(work()) == 5
    done = False
    task = asyncio.create_task(finished(work()))
    for _ in range(2):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done
