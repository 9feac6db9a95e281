"""``Services``: built closed, opened and closed as a whole."""

from pathlib import Path

import pytest

from orbit_server.errors import ConfigError, KeysUnavailable, NotStarted
from orbit_server.services import Services
from tests.support.server import lexical

pytestmark = pytest.mark.anyio


def files(folder: Path) -> set[Path]:
    """Return all that is in ``folder``."""
    return set(folder.rglob("*"))


async def test_nothing_is_open_before_or_after(tmp_path: Path) -> None:
    """Building opens no socket and no file; what is used outside of ``async with`` says so."""
    config = lexical(tmp_path)
    before = files(tmp_path)
    services = Services(config)
    assert files(tmp_path) == before
    with pytest.raises(NotStarted, match="lifespan"):
        services.require_open()
    async with services:
        services.require_open()
        assert await services.keys.list() == []
    with pytest.raises(NotStarted):
        services.require_open()
    with pytest.raises(NotStarted):
        await services.keys.list()


async def test_what_fails_to_open_closes_the_rest(tmp_path: Path) -> None:
    """A key database that cannot be opened leaves no lock on the documents."""
    (tmp_path / "letter.db").write_bytes(b"Dear Sirs, " * 1000)
    config = lexical(tmp_path, database__url=f"sqlite+aiosqlite:///{tmp_path}/letter.db")
    with pytest.raises(KeysUnavailable):
        async with Services(config):
            pass
    async with Services(lexical(tmp_path)) as services:
        assert services.opened


async def test_a_configuration_that_does_not_work_changes_nothing(tmp_path: Path) -> None:
    """Guard, pipeline and policy are replaced together, or not at all."""
    config = lexical(tmp_path)
    services = Services(config)
    before = (services.config, services.guard, services.pipeline, services.policy)
    safety = config.safety.model_copy(update={"mode": "strict", "categories": ("S99",)})
    with pytest.raises(ConfigError):
        services.configure(config.model_copy(update={"safety": safety}))
    assert (services.config, services.guard, services.pipeline, services.policy) == before
    services.configure(config)
    assert services.pipeline is not before[2]
