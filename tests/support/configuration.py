"""Configurations written for a test: what is read from a text, and what its mistakes are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orbit_server.config import Config, load
from orbit_server.errors import ConfigError

# The configuration of the system that this one replaces, every key of its example and of its code.
ORIGINAL = """
general:
  port: 3001
  host: 0.0.0.0
  verbose: true
  https: {enabled: false, port: 3443, cert_file: "./cert.pem", key_file: "./key.pem"}
logging:
  level: "INFO"
  file:
    enabled: true
    directory: "logs"
    filename: "server.log"
    max_size_mb: 10
    backup_count: 30
    rotation: "midnight"
    format: "json"
  console: {enabled: true, format: "text"}
  capture_warnings: true
  propagate: false
elasticsearch:
  enabled: false
  node: "https://localhost:9200"
  index: "chatbot"
  auth: {username: "${ELASTICSEARCH_USERNAME}", password: "${ELASTICSEARCH_PASSWORD}"}
chroma: {host: localhost, port: 8000, collection: qa-chatbot, confidence_threshold: 0.85,
         relevance_threshold: 0.7}
ollama:
  base_url: http://localhost:11434
  temperature: 0.1
  top_p: 0.8
  top_k: 20
  repeat_penalty: 1.1
  num_predict: 1024
  num_ctx: 8192
  num_threads: 8
  model: gemma3:4b
  embed_model: bge-m3
  stream: true
  timeout: 10
  connector_limit: 20
  summarization: {enabled: false, model: gemma3:1b, max_length: 100, min_text_length: 500}
safety:
  enabled: true
  mode: fuzzy
  model: gemma3:12b
  max_retries: 3
  retry_delay: 1.0
  request_timeout: 15
  allow_on_timeout: false
  temperature: 0.0
  top_p: 1.0
  top_k: 1
  num_predict: 20
  stream: false
  repeat_penalty: 1.1
reranker: {enabled: false, model: gemma3:4b, batch_size: 5, temperature: 0.0, top_n: 3}
api_keys: {header_name: X-API-Key, require_for_health: true, prefix: api_, allow_default: false}
mongodb: {host: "${MONGO_HOST}", port: 27017, database: orbit, apikey_collection: api_keys,
          username: "${MONGO_USER}", password: "${MONGO_PASSWORD}"}
"""


def read(
    text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Return the configuration of ``config.yaml`` with ``text``, written in the working folder."""
    Path("config.yaml").write_text(text, encoding="utf-8")
    return load(environ=environ or {}, overrides=overrides)


def mistakes(
    text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """Return every mistake in ``text``, each of them one line."""
    with pytest.raises(ConfigError) as caught:
        read(text, environ, overrides)
    assert all(line.isprintable() for line in caught.value.mistakes)
    return caught.value.mistakes


def mistake(
    text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> str:
    """Return the only mistake in ``text``."""
    (only,) = mistakes(text, environ, overrides)
    return only
