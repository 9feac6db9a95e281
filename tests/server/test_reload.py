"""``reload``: what a running server takes from a changed configuration, wholly or not at all."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from orbit_server.config.schema import Config
from orbit_server.errors import ConfigError, TooManyRequests
from orbit_server.server.reload import reload
from orbit_server.services import Services
from tests.support.server import lexical

pytestmark = pytest.mark.anyio


def changed(config: Config, **sections: object) -> Config:
    return config.model_copy(update=sections)


async def test_all_that_follows_from_the_configuration_is_replaced(tmp_path: Path) -> None:
    """The pipeline is another object, and an answer that has begun keeps the one it began with."""
    config = lexical(tmp_path)
    services = Services(config)
    before = services.pipeline
    answer = config.answer.model_copy(update={"no_results_message": "Nothing at all."})
    wanted = changed(config, answer=answer, admin_token=SecretStr("new"))
    await reload(services, lambda: wanted)
    assert services.pipeline is not before
    assert services.config.answer.no_results_message == "Nothing at all."
    assert await services.policy.verify_admin("new") == "admin"


async def test_limits_are_replaced_and_counts_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was asked before the reload counts against the new limit."""
    config = lexical(tmp_path, chroma__collection="town", api_keys__allow_default=True)
    async with Services(config) as services:
        caller = await services.guesses.verify(None, "192.0.2.1")
        assert caller is not None
        await services.admission.admit(caller, "192.0.2.1", {})
        limits = config.limits.model_copy(update={"streams": 1})
        await reload(services, lambda: changed(config, limits=limits))
        with pytest.raises(TooManyRequests):
            await services.admission.admit(caller, "192.0.2.1", {})
    assert "need a restart" not in caplog.text


async def test_a_mistake_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even what could have been taken."""
    services = Services(lexical(tmp_path))
    before = (services.config, services.pipeline, services.policy, services.guard)

    def broken() -> Config:
        raise ConfigError(["general.port: 0: must be from 1 to 65535"])

    await reload(services, broken)
    assert (services.config, services.pipeline, services.policy, services.guard) == before
    assert "general.port: 0" in caplog.text


async def test_a_blocklist_that_cannot_be_read_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The files that the configuration names belong to it."""
    words = tmp_path / "words.txt"
    words.write_text("bomb\n")
    config = lexical(tmp_path, safety__mode="strict", safety__blocklist=str(words))
    services = Services(config)
    guard = services.guard
    words.unlink()
    answer = config.answer.model_copy(update={"no_results_message": "Nothing at all."})
    await reload(services, lambda: changed(config, answer=answer))
    assert services.guard is guard
    assert services.config is config
    assert "words.txt" in caplog.text
