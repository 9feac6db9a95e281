"""What ``orbit doctor`` says of several hosts of the models."""

from collections.abc import Sequence
from typing import Any

import pytest

from orbit_server.cli.doctor.network import ollama
from orbit_server.config import Config, load
from tests.support.ollama_standin import OllamaStandIn

pytestmark = pytest.mark.anyio


def config(*standins: OllamaStandIn, headers: Sequence[dict[str, str]] = ()) -> Config:
    hosts: list[dict[str, Any]] = [{"url": each.url} for each in standins]
    for host, secret in zip(hosts, headers, strict=False):
        host["headers"] = secret
    return load({"ollama": {"hosts": hosts}}, environ={})


async def found(configured: Config) -> list[tuple[str, str]]:
    return [(each.status, each.message) async for each in ollama(configured)]


async def test_each_host_has_a_line() -> None:
    """Which needed models it has, with the digests that `ollama list` shows."""
    async with OllamaStandIn() as a, OllamaStandIn() as b, OllamaStandIn() as c:
        a.models = {"gemma3:4b": ["completion"]}
        b.models = {"bge-m3:latest": ["embedding"]}
        c.models = {"qwen3:4b": ["completion"]}
        a.digests, b.digests = {"gemma3:4b": "a" * 64}, {"bge-m3": "b" * 64}
        first, second, third = await found(config(a, b, c))
    assert first == ("ok", f"{a.url}: Ollama 0.33.0 answers and has gemma3:4b ({'a' * 12}).")
    assert second == ("ok", f"{b.url}: Ollama 0.33.0 answers and has bge-m3 ({'b' * 12}).")
    assert third == (
        "warn",
        f"{c.url}: Ollama 0.33.0 answers and has none of gemma3:4b and bge-m3.",
    )


async def test_what_is_wrong_with_them() -> None:
    """One is gone, one has other files, one refuses us; together they lack nothing."""
    async with (
        OllamaStandIn() as a,
        OllamaStandIn() as b,
        OllamaStandIn() as c,
        OllamaStandIn() as d,
    ):
        b.digests = {"bge-m3": "f" * 64}
        d.token = "right"
        await c.kill()
        secrets = [{}, {}, {}, {"Authorization": "Bearer wrong-secret"}]
        told = await found(config(a, b, c, d, headers=secrets))
    text = "\n".join(message for _, message in told)
    assert [status for status, _ in told] == ["ok", "ok", "warn", "warn", "warn"]
    assert f"{c.url}: cannot be reached" in text
    assert "401" in text
    assert f"bge-m3: {b.url} has different files ({'f' * 12}) from {a.url}" in told[-1][1]
    assert "wrong-secret" not in text


async def test_a_model_that_no_host_has() -> None:
    """Nothing can be answered then, however many hosts there are."""
    async with OllamaStandIn() as a, OllamaStandIn() as b:
        a.models = b.models = {"bge-m3:latest": ["embedding"]}
        told = await found(config(a, b))
    assert ("fail", "ollama.model: gemma3:4b is on none of the hosts.") in told
