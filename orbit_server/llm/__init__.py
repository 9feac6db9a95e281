"""The language model: its client, and what the rest of the program needs of any."""

from ..config.schema import OllamaConfig
from .ollama import Ollama
from .protocols import Chat, Complete, TextStream
from .queue import FairQueue

__all__ = ["Chat", "Complete", "FairQueue", "Ollama", "TextStream", "build", "build_queue"]


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


def build_queue(config: OllamaConfig, *, workers: int = 1) -> FairQueue:
    """Return the queue towards Ollama of one of ``workers`` processes: its share of the whole.

    Shares are rounded up, so that none of Ollama's places stays empty.
    """
    return FairQueue(
        share(config.concurrency, workers),
        length=share(config.queue, workers),
        timeout=config.queue_timeout,
    )


def share(whole: int, workers: int) -> int:
    """Return what each of ``workers`` gets of ``whole``."""
    return -(-whole // workers)
