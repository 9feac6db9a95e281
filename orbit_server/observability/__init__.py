"""Observability: the chat log and its copy in Elasticsearch, metrics, health, the server's log."""

from .build import build_chatlog, build_elasticsearch, build_shipper
from .chatlog import ChatLog
from .collections_check import CollectionsCheck
from .health import Check, Health, can_answer
from .shipper import Shipper

__all__ = [
    "ChatLog",
    "Check",
    "CollectionsCheck",
    "Health",
    "Shipper",
    "build_chatlog",
    "build_elasticsearch",
    "build_shipper",
    "can_answer",
]
