"""Each part of the services, made from its section of the configuration. Nothing is opened."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .config.loader import Config
from .errors import ConfigError
from .llm.ollama import Ollama
from .observability.chatlog import ChatLog
from .observability.elasticsearch import ElasticsearchClient
from .observability.redaction import redactor
from .observability.shipper import Shipper
from .retrieval.chroma.embedded import ChromaEmbedded
from .retrieval.chroma.protocol import Chroma
from .retrieval.chroma.rest import ChromaServer
from .retrieval.embedders import Embedder, LexicalEmbedder, OllamaEmbedder
from .retrieval.rerank import Reranker, refuse_embedders
from .safety.blocklist import Blocklist
from .safety.guard import Guard


def make_ollama(config: Config) -> Ollama:
    """Return the client of the configured Ollama."""
    ollama = config.ollama
    return Ollama(
        ollama.base_url,
        options=ollama.options,
        keep_alive=ollama.keep_alive,
        think=ollama.think,
        connect_timeout=ollama.connect_timeout,
        read_timeout=ollama.read_timeout,
    )


def make_chroma(config: Config, address: str | None) -> Chroma:
    """Return Chroma on its server, or in process on its folder; ``address`` goes into the lock."""
    chroma = config.chroma
    if chroma.host is None:
        return ChromaEmbedded(Path(chroma.path), address=address)
    return ChromaServer(
        chroma.host,
        chroma.port,
        ssl=chroma.ssl,
        headers={name: value.get_secret_value() for name, value in chroma.headers.items()},
        tenant=chroma.tenant,
        database=chroma.database,
        timeout=chroma.timeout,
    )


def make_embedder(config: Config, ollama: Ollama) -> Embedder:
    """Return what turns texts into vectors."""
    if config.embedding.provider == "lexical":
        return LexicalEmbedder()
    return OllamaEmbedder(
        partial(ollama.embed, model=config.ollama.embed_model),
        model=config.ollama.embed_model,
        batch_size=config.embedding.batch_size,
        concurrency=config.embedding.concurrency,
    )


def make_chatlog(config: Config, keep: Callable[[Path], bool]) -> ChatLog:
    """Return the writer of the chat log, which leaves alone old files that ``keep`` speaks for."""
    log, file = config.logging, config.logging.file
    return ChatLog(
        Path(file.directory),
        max_wait=file.max_wait_ms / 1000,
        max_bytes=int(file.max_size_mb * 1024 * 1024),
        retention_days=file.retention_days,
        timezone=ZoneInfo(log.timezone),
        redact=redactor(log.redact) if log.redact else None,
        keep=keep,
    )


def make_shipper(
    config: Config, on_status: Callable[[bool, str], None] = lambda available, cause: None
) -> Shipper:
    """Return what sends the chat log to Elasticsearch; ``on_status`` hears when that changes."""
    elasticsearch = config.elasticsearch
    return Shipper(
        Path(config.logging.file.directory),
        Path(elasticsearch.checkpoint),
        node=elasticsearch.node,
        index=elasticsearch.index,
        data_stream=elasticsearch.data_stream,
        **_access(config),
        retention_days=elasticsearch.retention_days,
        batch_size=elasticsearch.batch_size,
        flush_seconds=elasticsearch.flush_seconds,
        on_status=on_status,
    )


def make_elastic(config: Config) -> ElasticsearchClient:
    """Return the client of the configured Elasticsearch."""
    return ElasticsearchClient(config.elasticsearch.node, **_access(config))


class SafetyRules(NamedTuple):
    """What the files of the safety check say: how the model is asked, what needs no model."""

    prompt: str | None = None
    blocklist: Blocklist | None = None


def read_safety_rules(config: Config) -> SafetyRules:
    """Read the files that the safety check names, if it is on; may raise ``ConfigError``."""
    safety = config.safety
    if not safety.active:
        return SafetyRules()
    return SafetyRules(
        prompt=_prompt(safety.prompt_file) if safety.prompt_file else None,
        blocklist=Blocklist.load(safety.blocklist) if safety.blocklist else None,
    )


def make_guard(config: Config, ollama: Ollama, rules: SafetyRules | None = None) -> Guard | None:
    """Return the safety check, or ``None`` when it is switched off; may raise ``ConfigError``.

    Without ``rules`` they are read from their files.
    """
    safety = config.safety
    if not safety.active:
        return None
    rules = rules or read_safety_rules(config)
    options = {
        "temperature": safety.temperature,
        "top_p": safety.top_p,
        "top_k": safety.top_k,
        "repeat_penalty": safety.repeat_penalty,
        "num_predict": safety.num_predict,
    }
    return Guard(
        ollama.complete,
        mode="strict" if safety.mode == "strict" else "fuzzy",
        model=safety.model,
        prompt=rules.prompt,
        options={**config.ollama.options, **options},
        max_retries=safety.max_retries,
        retry_delay=safety.retry_delay,
        request_timeout=safety.request_timeout,
        allow_on_timeout=safety.allow_on_timeout,
        blocklist=rules.blocklist,
        categories=safety.categories,
    )


def make_reranker(config: Config, ollama: Ollama) -> Reranker | None:
    """Return the reranker, or ``None`` when it is off; may raise ``ConfigError``."""
    reranker = config.reranker
    if not reranker.enabled:
        return None
    refuse_embedders(reranker.model)
    return Reranker(
        ollama.complete,
        model=reranker.model,
        top_n=reranker.top_n,
        batch_size=reranker.batch_size,
        temperature=reranker.temperature,
        timeout=reranker.timeout,
        options=config.ollama.options,
    )


def _access(config: Config) -> dict[str, Any]:
    elasticsearch = config.elasticsearch
    password, api_key = elasticsearch.auth.password, elasticsearch.api_key
    return {
        "username": elasticsearch.auth.username,
        "password": password.get_secret_value() if password else None,
        "api_key": api_key.get_secret_value() if api_key else None,
        "ca_certs": elasticsearch.ca_certs,
        "verify_certs": elasticsearch.verify_certs,
    }


def _prompt(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"safety.prompt_file: {path}: cannot be read: {error}"]) from error
