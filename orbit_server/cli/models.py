"""The models that a configuration asks Ollama for, and which of them are missing."""

import asyncio

from .. import llm
from ..config.loader import Config
from ..errors import ModelError, ModelNotFound, ModelUnreachable
from ..llm.installed import present

_SECONDS = 2.0


def wanted_models(config: Config) -> dict[str, str]:
    """Return the models that the server will ask Ollama for, by the key that names each."""
    settings = config.ollama
    wanted = {
        "ollama.model": (config.answer.provider == "ollama", settings.model),
        "ollama.embed_model": (config.embedding.provider == "ollama", settings.embed_model),
        "safety.model": (config.safety.active, config.safety.model),
        "reranker.model": (config.reranker.enabled, config.reranker.model),
    }
    return {key: model for key, (used, model) in wanted.items() if used}


async def missing_models(config: Config) -> dict[str, str] | None:
    """Return those of ``wanted_models`` that are not installed; ``None`` without an answer.

    Takes two seconds at most.
    """
    wanted = wanted_models(config)
    if not wanted:
        return {}
    try:
        async with asyncio.timeout(_SECONDS), llm.build(config.ollama) as client:
            installed = set(await client.models())
    except (ModelError, TimeoutError):
        return None
    return {key: model for key, model in wanted.items() if not present(model, installed)}


async def require_models(config: Config, *keys: str) -> None:
    """Raise the ``ModelError`` family unless the models that ``keys`` name are there to be used.

    Before work that needs them: without an answer, each call would be tried again and again.
    """
    needed = {key: model for key, model in wanted_models(config).items() if key in keys}
    if not needed:
        return
    missing = await missing_models(config)
    if missing is None:
        raise ModelUnreachable(f"no answer from {config.ollama.addresses}")
    for key in needed.keys() & missing.keys():
        model = missing[key]
        raise ModelNotFound(f"{key}: {model} is not installed. Install it: ollama pull {model}")
