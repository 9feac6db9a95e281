"""The language model: its client, and what the rest of the program needs of any."""

from ..config.schema import OllamaConfig
from .ollama import Ollama
from .protocols import Chat, Complete, TextStream

__all__ = ["Chat", "Complete", "Ollama", "TextStream", "build"]


def build(config: OllamaConfig) -> Ollama:
    """Return the client of the configured Ollama; nothing is opened."""
    return Ollama(
        config.base_url,
        options=config.options,
        keep_alive=config.keep_alive,
        think=config.think,
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
    )
