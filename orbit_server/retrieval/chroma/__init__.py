"""Chroma: collections of passages with vectors, on a server of its own or in this process."""

from pathlib import Path

from ...config.schema import ChromaConfig
from .embedded import ChromaEmbedded
from .protocol import Chroma, Collection, Record
from .rest import ChromaServer

__all__ = ["Chroma", "Collection", "Record", "build"]


def build(config: ChromaConfig, *, address: str | None = None) -> Chroma:
    """Return Chroma on its server, or in process on its folder; nothing is opened.

    ``address`` is where this server can be reached; it goes into the lock of the folder.
    """
    if config.host is None:
        return ChromaEmbedded(Path(config.path), address=address)
    return ChromaServer(
        config.host,
        config.port,
        ssl=config.ssl,
        headers={name: value.get_secret_value() for name, value in config.headers.items()},
        tenant=config.tenant,
        database=config.database,
        timeout=config.timeout,
    )
