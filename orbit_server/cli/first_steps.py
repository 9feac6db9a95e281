"""What a server prints once it answers, with what is still missing before it can be asked."""

import shutil
import sys
from pathlib import Path

from ..config.loader import Config
from ..errors import KeysUnavailable, SearchError
from ..services import Services
from .models import missing_models, wanted_models

_WITHOUT_OLLAMA = """To work without it, write into config.yaml and start again:
      embedding: {provider: lexical}
      answer: {provider: extractive}"""


async def banner(services: Services, address: str) -> str:
    """Return where the server answers and, for a new one, the commands that come next."""
    steps = [
        *await _models(services.config),
        *await _documents(services),
        *await _keys(services),
    ]
    first = f"ORBIT server answers at {address}"
    if not steps:
        return first
    listed = "\n".join(f"  - {step}" for step in steps)
    demo = f"To see it answer from sample documents: {program()} serve --demo"
    return f"{first}\n\nBefore it can answer your questions:\n\n{listed}\n\n{demo}\n"


def program() -> str:
    """Return what to type for this program here: ``orbit`` where the shell finds it."""
    called = Path(sys.argv[0])
    if called.name != "orbit":
        return "python -m orbit_server"
    found = shutil.which("orbit")
    if found is not None and Path(found).samefile(called):
        return "orbit"
    here = Path.cwd()
    return str(called.relative_to(here) if called.is_relative_to(here) else called)


async def _models(config: Config) -> list[str]:
    missing = await missing_models(config)
    if missing == {}:
        return []
    models = wanted_models(config) if missing is None else missing
    pull = " && ".join(f"ollama pull {model}" for model in dict.fromkeys(models.values()))
    url = config.ollama.addresses
    if missing is None:
        start = f"Ollama does not answer at {url}. Start it (`ollama serve`), then\n      {pull}"
    else:
        start = f"Models are missing in Ollama at {url}:\n      {pull}"
    needs_both = {"ollama.model", "ollama.embed_model"} <= models.keys()
    return [f"{start}\n    {_WITHOUT_OLLAMA}" if needs_both else start]


async def _documents(services: Services) -> list[str]:
    try:
        loaded = await services.chroma.collections()
    except SearchError:
        return []  # /health and the doctor say what is wrong
    if loaded:
        return []
    ingest = f"{program()} ingest FOLDER --collection NAME"
    return [f"No documents are loaded. In another terminal:\n      {ingest}"]


async def _keys(services: Services) -> list[str]:
    try:
        keys = await services.keys.list()
    except KeysUnavailable:
        return []
    if keys or services.config.api_keys.allow_default:
        return []
    create = f"{program()} keys create --collection NAME --name WHO"
    return [f"There is no API key:\n      {create}"]
