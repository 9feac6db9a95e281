"""``AnswerIds``: one's own ids are known, invented, foreign and old ones are not."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orbit_server.auth.answer_ids import AnswerIds
from orbit_server.auth.keys import Keys
from orbit_server.errors import KeysUnavailable

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0


@asynccontextmanager
async def opened(folder: Path, *, now: float = NOW) -> AsyncIterator[AnswerIds]:
    """Ids of the installation whose keys are in ``folder``."""
    async with (
        Keys(f"sqlite+aiosqlite:///{folder}/orbit.db") as keys,
        AnswerIds(keys.database, now=lambda: now) as ids,
    ):
        yield ids


async def test_an_id_is_known_to_every_process(tmp_path: Path) -> None:
    """Whoever shares the database, now or after a restart, knows it; another one does not."""
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        made = one.new("key_1")
        assert one.knows(made, "key_1") and other.knows(made, "key_1")
    async with opened(tmp_path) as later:
        assert later.knows(made, "key_1")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    async with opened(elsewhere) as stranger:
        assert not stranger.knows(made, "key_1")
    assert not later.knows(made, "key_1")  # closed


async def test_many_processes_start_at_once(tmp_path: Path) -> None:
    """The secret is made once, by whoever comes first."""

    async def start() -> str:
        async with opened(tmp_path) as ids:
            return ids.new("key_1")

    made = await asyncio.gather(*(start() for _ in range(8)))
    async with opened(tmp_path) as ids:
        assert all(ids.knows(each, "key_1") for each in made)


async def test_what_an_id_looks_like(tmp_path: Path) -> None:
    """Short, fit for addresses, never the same twice; it tells nothing of its owner."""
    async with opened(tmp_path) as ids:
        made = [ids.new("key_1") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{28}", each) for each in made)
    assert len({each[:5] for each in made}) == 1  # the time


async def test_what_is_not_an_id_of_the_owner(tmp_path: Path) -> None:
    """Another's, one that was changed anywhere, and whatever else somebody may send."""
    async with opened(tmp_path) as ids:
        made = ids.new("key_1")
        assert not ids.knows(made, "key_2")
        for place, letter in enumerate(made):
            changed = made[:place] + ("A" if letter != "A" else "B") + made[place + 1 :]
            assert not ids.knows(changed, "key_1")
        odd = [
            "",
            made[:-1],
            made + "A",
            made + "=",
            "é" * 28,
            "=" * 28,
            "A" * 28,
            made[:-1] + "\n",
        ]
        for text in [*odd, made.replace(made[3], "+", 1), "\0" * 28]:
            assert not ids.knows(text, "key_1"), text


@pytest.mark.parametrize(("days", "known"), [(0, True), (29.9, True), (30, False), (400, False)])
async def test_old_ids_are_forgotten(tmp_path: Path, days: float, known: bool) -> None:
    """After thirty days nobody may rate an answer any more."""
    async with opened(tmp_path) as ids:
        made = ids.new("key_1")
    async with opened(tmp_path, now=NOW + days * 86_400) as ids:
        assert ids.knows(made, "key_1") == known


async def test_a_damaged_database(tmp_path: Path) -> None:
    """It says that the keys cannot be read, as everything about that database does."""
    keys = Keys(f"sqlite+aiosqlite:///{tmp_path}/orbit.db")
    async with keys:
        pass
    (tmp_path / "orbit.db").write_bytes(b"no database" * 500)
    await asyncio.to_thread(keys.database.open, create=False)
    try:
        with pytest.raises(KeysUnavailable):
            async with AnswerIds(keys.database):
                pass
    finally:
        await keys.database.close()
