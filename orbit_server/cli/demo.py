"""``orbit serve --demo``: the server with the sample documents and a key, no Ollama needed.

All of it lies in ``orbit-demo`` in the working folder, so that nothing of it is left elsewhere.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.files import shipped
from ..config.loader import Config, load
from ..documents.ingest import ingest
from ..errors import CollectionNotFound, EmbedderMismatch
from ..retrieval.embedders import check_embedder
from ..services import Services
from .models import missing_models

COLLECTION = "demo"
FOLDER = Path("orbit-demo")
_CLIENT = "demo"
_QUESTION = "When is the library open on Saturdays?"
_OWN_FOLDER = {
    "chroma.host": None,
    "chroma.path": str(FOLDER / "chroma"),
    "chroma.collection": COLLECTION,
    "retrieval.path": str(FOLDER / "lexical"),
    "database.url": f"sqlite+aiosqlite:///{FOLDER / 'orbit.db'}",
    "logging.file.directory": str(FOLDER / "logs"),
    "retrieval.words": "local",
    "elasticsearch.enabled": False,
    "web.title": "Quillbrook",
    "web.examples": [
        "When is the library open on Saturdays?",
        "Can I bring children to the swimming pool?",
        "Where do I leave old paint?",
    ],
}
_WITHOUT_OLLAMA = {"embedding.provider": "lexical", "answer.provider": "extractive"}


def configure(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Return the demo's configuration: its own folder, and Ollama only where it is ready.

    Everything else is as ``path`` says, else the usual file.
    """
    here = {**_OWN_FOLDER, **overrides}
    config = load(path, overrides=here)
    if asyncio.run(missing_models(config)) == {}:
        return config
    return load(path, overrides={**here, **_WITHOUT_OLLAMA})


async def prepare(services: Services, address: str) -> str:
    """Load the sample documents, create a key unless there is one, and return what to print."""
    config = services.config
    await _drop_if_embedded_otherwise(services)
    report = await ingest(
        [shipped("examples")],
        COLLECTION,
        services.store,
        chunk_chars=config.embedding.chunk_chars,
        chunk_overlap=config.embedding.chunk_overlap,
    )
    secret = await _key(services, FOLDER / "key")
    stored = sum(result.stored for result in report.files)
    provider, model = services.pipeline.backend
    if provider == "ollama":
        writer = f"{model} writes the answers, through Ollama at {config.ollama.addresses}."
    else:
        writer = (
            f"No Ollama with {config.ollama.model} and {config.ollama.embed_model} at "
            f"{config.ollama.addresses}:\n"
            "answers are quotations from the documents, found by their words.\n"
            "They are in English, so ask in English."
        )
    in_browser = f"in a browser:\n\n{address}/#key={secret}\n\nor " if config.web.page else ""
    loaded = f"loaded {stored} passages" if stored else "already loaded"
    return f"""
ORBIT server answers at {address} from the sample documents of the town of Quillbrook
({loaded}, {sum(result.chunks for result in report.files)} in collection "{COLLECTION}").
{writer}

Ask it something, {in_browser}in a terminal:

curl -N {address}/chat -H 'X-API-Key: {secret}' -H 'Content-Type: application/json' \
-d '{{"message": "{_QUESTION}"}}'

Stop it with Ctrl-C. All files of the demo are in {FOLDER}/; delete that folder when you are done.
"""


async def _key(services: Services, file: Path) -> str:
    """Return the demo's key, which is kept in ``file`` so that it stays the same."""
    kept = _kept(file)
    if kept is not None and await services.keys.verify(kept):
        return kept
    _, secret = await services.keys.create(COLLECTION, _CLIENT, notes="made by orbit serve --demo")
    _keep(file, secret)
    return secret


def _kept(file: Path) -> str | None:
    return file.read_text().strip() if file.exists() else None


def _keep(file: Path, secret: str) -> None:
    file.touch(mode=0o600)
    file.write_text(f"{secret}\n")


async def _drop_if_embedded_otherwise(services: Services) -> None:
    try:
        stored = await services.chroma.collection(COLLECTION)
        check_embedder(stored.metadata, services.embedder, COLLECTION)
    except CollectionNotFound:
        return
    except EmbedderMismatch:
        await services.store.drop(COLLECTION)
