"""Chroma in both its kinds, as fixtures: ``pytest_plugins = ["tests.support.chroma_fixtures"]``."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import chromadb
import pytest
from anyio.from_thread import start_blocking_portal
from chromadb.config import Settings

from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.chroma.protocol import Chroma
from orbit_server.retrieval.chroma.rest import ChromaServer

from .chroma_run import RunningChroma, chroma_run


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningChroma]:
    """A Chroma server that the tests share; collections need names of their own."""
    chroma = chroma_run(tmp_path_factory.mktemp("chroma"))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(chroma) as running:
        yield running


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Chroma in process, shared likewise."""
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(params=["server", "embedded"])
async def chroma(
    request: pytest.FixtureRequest, server: RunningChroma, folder: Path
) -> AsyncIterator[Chroma]:
    """An open client of either kind."""
    client: Chroma
    if request.param == "server":
        client = ChromaServer(server.host, server.port, timeout=60)
    else:
        client = ChromaEmbedded(folder)
    async with client:
        yield client


@pytest.fixture
def elsewhere(chroma: Chroma, server: RunningChroma, folder: Path) -> Iterator[Any]:
    """The same Chroma as another program sees it, through chromadb's own client."""
    client: Any
    if isinstance(chroma, ChromaServer):
        client = chromadb.HttpClient(server.host, server.port)
        yield client
        for each in (client, client._admin_client):
            each._server._session.close()  # which chromadb forgets
    else:
        settings = Settings.model_construct(anonymized_telemetry=False)
        client = chromadb.PersistentClient(folder, settings=settings)
        assert isinstance(chroma, ChromaEmbedded) and chroma._open_folder is not None
        # One folder cannot be open twice.
        client._server.bindings = chroma._open_folder._rust
        yield client
    client.close()
