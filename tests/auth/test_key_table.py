"""The table of keys, beside a program before it that knows fewer columns."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orbit_server.auth.key import Limits
from orbit_server.auth.keys import Keys

from .test_migrations import ROW, SECRET

pytestmark = pytest.mark.anyio


async def test_a_program_before_it_can_share_the_table(tmp_path: Path) -> None:
    """What it writes has none of the new columns."""
    url = f"sqlite+aiosqlite:///{tmp_path}/orbit.db"
    async with Keys(url) as keys:
        with closing(sqlite3.connect(tmp_path / "orbit.db")) as file:
            file.executescript(ROW)
        key = await keys.verify(SECRET)
        assert key is not None
        assert (key.origins, key.limits, key.used) == ((), Limits(), 0)
