"""Observability: the chat log and its copy in Elasticsearch, metrics, health, the server's log."""

from .build import build_chatlog, build_elasticsearch, build_shipper
from .chatlog import ChatLog
from .health import Check, Health
from .shipper import Shipper

__all__ = [
    "ChatLog",
    "Check",
    "Health",
    "Shipper",
    "build_chatlog",
    "build_elasticsearch",
    "build_shipper",
]
