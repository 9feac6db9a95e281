"""``llm.installed``: what a host of models has, and whether its version has a known hole."""

import asyncio

import pytest

from orbit_server.errors import ModelUnreachable
from orbit_server.llm.installed import (
    InstalledModels,
    model_check,
    outdated,
    present,
    version_check,
)


class Host:
    """A host with one model, or one that does not answer (``number`` is ``None``)."""

    def __init__(self, number: str | None = "0.32.15") -> None:
        self.number = number

    async def models(self) -> list[str]:
        return ["bge-m3:latest"]

    async def version(self) -> str:
        if self.number is None:
            raise ModelUnreachable("nobody is there")
        return self.number


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("0.17.1", False),
        ("0.17.0", True),
        ("0.9.12", True),
        ("0.32.15", False),
        ("1.0.0", False),
        ("0.17.0-rc2", True),
        ("0.0.0", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_versions_are_compared_by_number(version: str, old: bool) -> None:
    """Nine is less than seventeen, and what is no number is not warned about."""
    assert outdated(version) is old


class SlowHost(Host):
    """A host that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.asked, self.answers = 0, asyncio.Event(), asyncio.Event()

    async def models(self) -> list[str]:
        self.count += 1
        self.asked.set()
        await self.answers.wait()
        return await super().models()


def test_a_name_without_a_tag_means_the_latest() -> None:
    """Ollama lists every model with its tag."""
    assert present("bge-m3", {"bge-m3:latest"})
    assert not present("bge-m3", {"bge-m3:567m"})
    assert not present(None, {"bge-m3:latest"})


@pytest.mark.anyio
async def test_the_check_of_a_model() -> None:
    """Nothing to say of one that is installed, an error for one that is not."""
    assert await model_check(InstalledModels(Host()), "bge-m3")() == {}
    missing = await model_check(InstalledModels(Host()), "gemma3:4b")()
    assert missing == {"status": "error", "error": "model not installed"}


@pytest.mark.anyio
async def test_a_host_is_asked_once_for_all_who_wait() -> None:
    """One of them giving up does not take the reply from the others."""
    host = SlowHost()
    installed = InstalledModels(host)
    first, second = (asyncio.create_task(installed()) for _ in range(2))
    await host.asked.wait()
    first.cancel()
    host.answers.set()
    assert await second == {"bge-m3:latest"}
    assert host.count == 1
    await installed()
    assert host.count == 2
    with pytest.raises(TimeoutError):
        host.answers.clear()
        await InstalledModels(host, timeout=0.01)()


@pytest.mark.anyio
async def test_the_check_of_the_version() -> None:
    """A warning for an old one; a host that is away is what the checks of models report."""
    assert await version_check(Host())() == {}
    assert await version_check(Host(None))() == {}
    assert "0.16.3" in (await version_check(Host("0.16.3"))())["warning"]
