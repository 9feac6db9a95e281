"""``start.sh --demo``: the server with the sample documents and a key, no Ollama needed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import llm
from ..config.loader import Config, load
from ..documents.ingest import ingest
from ..errors import CollectionNotFound, EmbedderMismatch, ModelError
from ..llm.installed import present
from ..retrieval.embedders import check_embedder
from ..services import Services

COLLECTION = "demo"
_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_CLIENT = "demo"
_OLLAMA_SECONDS = 2.0


def configure(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Return the demo's configuration: Chroma in process, and Ollama only where it is ready."""
    here = {"chroma.host": None, "chroma.collection": COLLECTION, **overrides}
    config = load(path, overrides=here)
    if asyncio.run(_ollama_is_ready(config)):
        return config
    return load(
        path, overrides={**here, "embedding.provider": "lexical", "answer.provider": "extractive"}
    )


async def prepare(services: Services, address: str) -> str:
    """Load the sample documents, make a key, and return what to tell whoever started it."""
    config = services.config
    await _drop_if_embedded_otherwise(services)
    report = await ingest(
        [_EXAMPLES],
        COLLECTION,
        services.store,
        chunk_chars=config.embedding.chunk_chars,
        chunk_overlap=config.embedding.chunk_overlap,
    )
    for key in await services.keys.list():
        if key.client_name == _CLIENT and key.collection == COLLECTION:
            await services.keys.delete(key.id)
    _, secret = await services.keys.create(COLLECTION, _CLIENT, notes="made by start.sh --demo")
    stored = sum(result.stored for result in report.files)
    provider, model = services.pipeline.backend
    if provider == "ollama":
        words = f"{model} words the answers, through Ollama at {config.ollama.base_url}."
    else:
        words = (
            f"No Ollama with {config.ollama.model} and {config.ollama.embed_model} at "
            f"{config.ollama.base_url}:\n"
            "answers are quotations from the documents, found by their words."
        )
    loaded = f"loaded {stored} passages" if stored else "already loaded"
    return f"""
ORBIT server answers at {address} from the sample documents of the town of Quillbrook
({loaded}, {sum(result.chunks for result in report.files)} in collection "{COLLECTION}").
{words}

Ask it something:

curl -N {address}/chat -H 'X-API-Key: {secret}' -H 'Content-Type: application/json' \
-d '{{"message": "{_QUESTION}"}}'

Stop it with Ctrl-C.
"""


async def _ollama_is_ready(config: Config) -> bool:
    ollama = config.ollama
    try:
        async with asyncio.timeout(_OLLAMA_SECONDS), llm.build(ollama) as client:
            installed = set(await client.models())
    except (ModelError, TimeoutError):
        return False
    return present(ollama.model, installed) and present(ollama.embed_model, installed)


async def _drop_if_embedded_otherwise(services: Services) -> None:
    try:
        stored = await services.chroma.collection(COLLECTION)
        check_embedder(stored.metadata, services.embedder, COLLECTION)
    except CollectionNotFound:
        return
    except EmbedderMismatch:
        await services.store.drop(COLLECTION)


_QUESTION = "When is the library open on Saturdays?"
