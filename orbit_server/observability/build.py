"""The chat log and its way to Elasticsearch, made from the configuration; nothing is opened."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from .chatlog import ChatLog
from .elasticsearch import ElasticsearchClient
from .redaction import redactor
from .shipper import Shipper

if TYPE_CHECKING:
    from ..config.schema import ElasticsearchConfig, LoggingConfig


def build_chatlog(config: "LoggingConfig", *, keep: Callable[[Path], bool]) -> ChatLog:
    """Return the writer of the chat log, which leaves alone old files that ``keep`` speaks for."""
    file = config.file
    return ChatLog(
        Path(file.directory),
        max_wait=file.max_wait_ms / 1000,
        max_bytes=int(file.max_size_mb * 1024 * 1024),
        retention_days=file.retention_days,
        timezone=ZoneInfo(config.timezone),
        redact=redactor(config.redact) if config.redact else None,
        keep=keep,
    )


def build_shipper(
    config: "ElasticsearchConfig",
    directory: str,
    *,
    on_status: Callable[[bool, str], None] = lambda available, cause: None,
) -> Shipper:
    """Return what sends the chat log in ``directory`` to Elasticsearch.

    ``on_status`` is called when Elasticsearch becomes available or unavailable, with the cause.
    """
    return Shipper(
        Path(directory),
        Path(config.checkpoint),
        node=config.node,
        index=config.index,
        data_stream=config.data_stream,
        **_access(config),
        retention_days=config.retention_days,
        batch_size=config.batch_size,
        flush_seconds=config.flush_seconds,
        on_status=on_status,
    )


def build_elasticsearch(config: "ElasticsearchConfig") -> ElasticsearchClient:
    """Return the client of the configured Elasticsearch."""
    return ElasticsearchClient(config.node, **_access(config))


def _access(config: "ElasticsearchConfig") -> dict[str, Any]:
    password, api_key = config.auth.password, config.api_key
    return {
        "username": config.auth.username,
        "password": password.get_secret_value() if password else None,
        "api_key": api_key.get_secret_value() if api_key else None,
        "ca_certs": config.ca_certs,
        "verify_certs": config.verify_certs,
    }
