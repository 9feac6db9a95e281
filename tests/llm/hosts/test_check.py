"""The health check of several hosts: numbers, warnings, and no names."""

import pytest

from orbit_server.llm.hosts import hosts_check
from tests.llm.hosts.test_hosts import EMBED, standins, together

pytestmark = pytest.mark.anyio


async def test_numbers_and_one_warning() -> None:
    """What is out, else who embeds nothing; strangers may read it, so no host is named."""
    async with standins(3) as made:
        made[2].digests = {EMBED: "f" * 64}
        async with together(made) as hosts:
            await hosts.models()
            check = hosts_check(hosts)
            assert await check() == {
                "hosts": {"ok": 3, "out": 0},
                "warning": "1 of 3 hosts embed with other files",
            }
            hosts.hosts[0].circuit.failed(silent=True)
            assert await check() == {
                "hosts": {"ok": 2, "out": 1},
                "warning": "1 of 3 hosts of the models do not work",
            }
            hosts.hosts[1].version = "0.9.0"
            assert "0.9.0" in (await check())["warning"]


async def test_what_the_operator_sees() -> None:
    """Each host with its models and the beginning of their digests."""
    async with standins(1) as made, together(made) as hosts:
        await hosts.models()
        (state,) = hosts.states()
        assert state["status"] == "ok"
        assert state["host"] == hosts.hosts[0].name
        assert set(state["models"]) == {"gemma3:4b", "bge-m3:latest"}
        assert all(len(digest) == 12 for digest in state["models"].values())
        assert (state["answers"], state["failures"], state["running"]) == (0, 0, 0)
