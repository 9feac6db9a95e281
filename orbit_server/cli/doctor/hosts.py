"""Checks of several Ollama servers: each on its own, and what they have together."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from ... import llm
from ...config.loader import Config
from ...config.schema import OllamaHost
from ...errors import ModelError
from ...llm.installed import outdated, present, short, tagged
from ...llm.ollama import Model
from ..models import wanted_models
from .finding import Finding, fail, ok, warn

_ASK_SECONDS = 4.0


class _Host(NamedTuple):
    url: str
    problem: str = ""
    version: str = ""
    models: tuple[Model, ...] = ()

    @property
    def names(self) -> set[str]:
        return {model.name for model in self.models}

    def digest(self, model: str) -> str:
        return next((each.digest for each in self.models if each.name == tagged(model)), "")


async def hosts(config: Config) -> AsyncIterator[Finding]:
    """Check each of ``ollama.hosts``: whether it answers, and which of the needed models it has.

    A host that does not answer is a warning as long as others have all models.
    """
    wanted = wanted_models(config)
    looked = await asyncio.gather(*(_look(config, each) for each in config.ollama.servers))
    for host in looked:
        if host.problem:
            remedy = "Start it (`ollama serve`), or correct ollama.hosts."
            yield warn("ollama", f"{host.url}: {host.problem}", remedy)
            continue
        if outdated(host.version):
            message = f"{host.url}: Ollama {host.version} has a known security hole."
            yield warn("ollama", message, "Update it: https://ollama.com/download")
        has = dict.fromkeys(m for m in wanted.values() if present(m, host.names))
        there = ", ".join(f"{model} ({short(host.digest(model))})" for model in has)
        said = f"{host.url}: Ollama {host.version} answers and has"
        if there:
            yield ok("ollama", f"{said} {there}.")
        else:
            models = " and ".join(dict.fromkeys(wanted.values()))
            yield warn("ollama", f"{said} none of {models}.", "ollama pull, on that host")
    installed = set[str]().union(*(host.names for host in looked))
    for key, model in wanted.items():
        if not present(model, installed):
            # Without its reranker the server keeps the first order.
            level = warn if key == "reranker.model" else fail
            yield level(
                "ollama", f"{key}: {model} is on none of the hosts.", f"ollama pull {model}"
            )
    if embed := wanted.get("ollama.embed_model"):
        for finding in _other_files(embed, looked):
            yield finding


def _other_files(model: str, looked: list[_Host]) -> list[Finding]:
    having = [host for host in looked if host.digest(model)]
    return [
        warn(
            "ollama",
            f"{model}: {host.url} has different files ({short(host.digest(model))}) from"
            f" {having[0].url} ({short(having[0].digest(model))}), and embeds nothing.",
            f"ollama pull {model}, on both",
        )
        for host in having[1:]
        if host.digest(model) != having[0].digest(model)
    ]


async def _look(config: Config, server: OllamaHost) -> _Host:
    try:
        async with (
            asyncio.timeout(_ASK_SECONDS),
            llm.build_one(config.ollama, server) as client,
        ):
            version = await client.version()
            return _Host(server.url, version=version, models=tuple(await client.installed()))
    except (ModelError, TimeoutError) as error:
        return _Host(
            server.url, f"cannot be reached: {error}" if str(error) else "does not answer."
        )
