"""Checks of other programs: a running server, Ollama, Elasticsearch, their clocks."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from ... import llm
from ...auth.limits import memory_limiter, redis_limiter
from ...config.loader import Config
from ...errors import ConfigError, ModelError, SearchError
from ...llm.installed import outdated, present
from ...observability import build_elasticsearch
from ...observability.elasticsearch import Failure
from ...observability.rejected import RejectedLog
from ...retrieval.words.elasticsearch import build as build_words
from ...retrieval.words.errors import WordsUnavailable
from ...server.sockets import addresses, listen
from ..models import wanted_models
from . import storage
from .finding import Finding, fail, ok, warn
from .hosts import hosts

_ASK_SECONDS = 4.0
_RELEASED = 2026
_SECONDS_OFF = 60


async def ports(config: Config) -> AsyncIterator[Finding]:
    """Check whether the server can listen, or is the one that does already."""
    held = await storage.holder_of(config)
    address = held["address"] if held else None
    # A server that does not hold our folder works on other documents.
    ours = config.chroma.host is not None or address is not None
    if address is not None:
        yield await _running(address)
    for key, url in addresses(config).items():
        port = urlsplit(url).port or 0
        if address is not None and (urlsplit(address).port == port or key == _main(config)):
            continue
        error = await asyncio.to_thread(_cannot_listen, config.general.host, port)
        if error is None:
            yield ok("ports", f"{key}: {port} is free.")
        elif ours and await _health(url) is not None:
            yield ok("ports", f"{key}: the server answers at {url}.")
        elif error.errno == errno.EADDRINUSE:
            remedy = f"Stop it (`ss -ltnp 'sport = :{port}'` names it), or change {key}."
            yield fail("ports", f"{key}: {port} is taken by another program.", remedy)
        elif error.errno in (errno.EACCES, errno.EPERM):
            remedy = (
                "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, "
                f"or a {key} of 1024 or more."
            )
            yield fail("ports", f"{key}: only root may listen on {port}.", remedy)
        else:
            reason = error.strerror or type(error).__name__
            message = f"cannot listen on {config.general.host}, port {port}: {reason}."
            yield fail("ports", message, f"Correct general.host or {key}.")


async def ollama(config: Config) -> AsyncIterator[Finding]:
    """Check whether Ollama answers, is up to date, and has the models that are configured."""
    models = wanted_models(config)
    if not models:
        yield ok("ollama", "not used by this configuration.")
        return
    if len(config.ollama.servers) > 1:
        async for finding in hosts(config):
            yield finding
        return
    base_url = config.ollama.addresses
    try:
        async with asyncio.timeout(_ASK_SECONDS), llm.build(config.ollama) as client:
            version = await client.version()
            installed = set(await client.models())
    except (ModelError, TimeoutError) as error:
        message = (
            f"Ollama cannot be reached: {error}" if str(error) else f"{base_url} does not answer."
        )
        yield fail("ollama", message, "Start it (`ollama serve`), or correct ollama.base_url.")
        return
    if outdated(version):
        message = f"Ollama {version} has a known security hole."
        yield warn("ollama", message, "Update it: https://ollama.com/download")
    missing = {key: model for key, model in models.items() if not present(model, installed)}
    for key, model in missing.items():
        # Without its reranker the server keeps the first order.
        level = warn if key == "reranker.model" else fail
        yield level("ollama", f"{key}: {model} is not installed.", f"ollama pull {model}")
    if not missing:
        named = ", ".join(dict.fromkeys(models.values()))
        yield ok("ollama", f"Ollama {version} answers at {base_url} and has {named}.")


async def limits(config: Config) -> AsyncIterator[Finding]:
    """Check whether the Redis of the limits can be reached, written to, and run scripts."""
    try:
        shared = redis_limiter(config.limits, memory_limiter())
    except ConfigError as error:
        for each in error.mistakes:
            yield fail("limits", each, "Install it, or set limits.storage: memory.")
        return
    if shared is None:
        return
    async with shared:
        if shared.down is None:
            yield ok("limits", f"are counted in Redis at {shared.where}, which is writable.")
        else:
            message = f"Redis at {shared.where}: {shared.down}. Each server counts on its own."
            yield fail("limits", message, "Start or repair it, or correct limits.storage.")


async def elasticsearch(config: Config) -> AsyncIterator[Finding]:
    """Check whether the chat log can be copied to Elasticsearch.

    What mends itself is a warning, since the server works without; what needs somebody is not.
    """
    settings = config.elasticsearch
    if not settings.enabled:
        return
    if settings.node.startswith("https:") and not settings.verify_certs:
        message = "elasticsearch.verify_certs is false: anybody could impersonate the server."
        yield warn("elasticsearch", message, "Set elasticsearch.ca_certs, and verify_certs: true.")
    if rejected := RejectedLog(Path(config.logging.file.directory)).count():
        message = f"{rejected} lines of the chat log were rejected; rejected.log has the reasons."
        remedy = "Fix the causes, then send them again: orbit logs resend"
        yield warn("elasticsearch", message, remedy)
    target, client = (
        settings.data_stream or f"{settings.index}-*",
        build_elasticsearch(settings),
    )
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            await client.ping()
            allowed = await client.may_create(target)
    except TimeoutError:
        message = f"{settings.node} does not answer in time; the chat log waits in its files."
        yield warn("elasticsearch", message, "Start it, or correct elasticsearch.node.")
    except Failure as failure:
        message = f"{settings.node}: {failure}."
        if failure.status in (401, 403):
            remedy = "Correct elasticsearch.auth or elasticsearch.api_key."
            yield fail("elasticsearch", message, remedy)
        elif failure.lasting:
            yield fail("elasticsearch", message, "Correct the section elasticsearch.")
        else:
            yield warn("elasticsearch", message, "Start it, or correct elasticsearch.node.")
    else:
        if allowed:
            yield ok("elasticsearch", f"{settings.node} answers and accepts documents.")
        else:
            message = f"{settings.node}: the user may not create documents in {target}."
            yield fail("elasticsearch", message, f"Grant create_doc on {target} to that user.")
    finally:
        await client.close()


async def words(config: Config) -> AsyncIterator[Finding]:
    """Check whether words can be searched, where they are in Elasticsearch."""
    if config.retrieval.words != "elasticsearch":
        return
    node, indexes = config.elasticsearch.node, f"{config.elasticsearch.words_index}*"
    try:
        async with (
            asyncio.timeout(_ASK_SECONDS),
            build_words(config.elasticsearch) as shared,
        ):
            await shared.ping()
            allowed = await shared.may_write()
    except TimeoutError:
        message = f"{node} does not answer in time; questions are answered by meaning alone."
        yield warn("words", message, "Start it, or correct elasticsearch.node.")
    except SearchError as error:
        said = str(error)
        if "status 40" in said or not isinstance(error, WordsUnavailable):
            yield fail("words", said, "Correct the section elasticsearch.")
        else:
            yield warn("words", said, "Start it, or correct elasticsearch.node.")
    else:
        if allowed:
            yield ok("words", f"{node} answers and accepts word indexes.")
        else:
            message = f"{node}: the user may not manage, read and write {indexes}."
            yield fail("words", message, f"Grant manage, read and write on {indexes} to that user.")


async def clock(config: Config | None) -> AsyncIterator[Finding]:
    """Check whether the clock is right: keys and certificates expire by it.

    It is compared with the ``Date`` header of a server that is asked anyway.
    """
    now, off = datetime.now(UTC), 0.0
    if config is not None:
        off = max(
            await asyncio.gather(*map(_off, _servers_with_a_clock(config))), key=abs, default=0.0
        )
    remedy = "timedatectl set-ntp true"
    zone = f"; days of the chat log are those of {config.logging.timezone}" if config else ""
    if now.year < _RELEASED:
        yield fail("clock", f"{now:%Y-%m-%d %H:%M} UTC cannot be right.", remedy)
    elif abs(off) > _SECONDS_OFF:
        message = f"{abs(off):.0f} seconds {'ahead of' if off > 0 else 'behind'} another server."
        yield warn("clock", message, f"{remedy}, on both machines")
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC{zone}.")


def _cannot_listen(host: str, port: int) -> OSError | None:
    try:
        listen(host, port).close()
    except OSError as error:
        return error
    return None


def _main(config: Config) -> str:
    return "general.https.port" if config.general.https.enabled else "general.port"


async def _running(address: str) -> Finding:
    state = await _health(address)
    if state is None:
        remedy = "Read the server's log, and restart it."
        return fail(
            "ports", f"a server has the documents open, but {address} does not answer.", remedy
        )
    broken = [name for name, part in state.items() if part.get("status") == "error"]
    if broken:
        message = f"the server at {address} reports an error of {', '.join(broken)}."
        return warn("ports", message, f"curl {address}/health")
    return ok("ports", f"the server answers at {address}.")


async def _health(url: str) -> dict[str, Any] | None:
    """Return the components of the server at ``url``, none where it does not tell strangers."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_ASK_SECONDS)) as http,
            # Its certificate names another host than this address, and nothing secret is sent.
            http.get(f"{url}/health", ssl=False, allow_redirects=False) as response,
        ):
            if response.status == 308 and response.headers["Location"].startswith("https:"):
                return {}
            match response.status, orjson.loads(await response.read()):
                case 200, {"components": dict(components)}:
                    return components
                case 401, {"code": "invalid_api_key"}:
                    return {}
            return None
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _servers_with_a_clock(config: Config) -> Iterator[str]:
    if config.chroma.host is not None:
        scheme = "https" if config.chroma.ssl else "http"
        yield f"{scheme}://{config.chroma.host}:{config.chroma.port}/api/v2/heartbeat"
    if wanted_models(config):
        for server in config.ollama.servers:
            yield f"{server.url}/api/version"


async def _off(url: str) -> float:
    """Return by how many seconds our clock is ahead of the server's; 0 when that is unknown."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_ASK_SECONDS)) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            theirs = parsedate_to_datetime(response.headers["Date"])
            return (datetime.now(UTC) - theirs).total_seconds()
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError):
        return 0.0
