"""Checks of what is stored: Chroma, the collections, the keys, and how they fit.

What one check finds and another needs is kept in ``CheckContext``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ... import llm, retrieval
from ...auth import Key
from ...auth.database import database_file
from ...auth.keys import Keys
from ...auth.limits import is_limited
from ...auth.migrations import describe
from ...config.loader import Config
from ...errors import EmbedderMismatch, Forbidden, KeysUnavailable, OrbitError, SearchError
from ...retrieval import chroma
from ...retrieval.chroma import tables
from ...retrieval.chroma.lock import holder
from ...retrieval.chroma.protocol import Chroma
from ...retrieval.chroma.replies import DamagedCollection
from ...retrieval.embedders import check_embedder
from ...retrieval.words.errors import WordsUnavailable
from ..store import remote_store
from . import machine
from .finding import Finding, fail, ok, warn

_ASK_SECONDS = 4.0
_MUCH_DELETED = 10_000_000
_PROGRAM = "orbit"


class Stored(NamedTuple):
    """A collection: name, id, number of chunks (``None`` if damaged), and who embedded it."""

    name: str
    id: str
    chunks: int | None
    metadata: dict[str, Any]


@dataclass(slots=True)
class CheckContext:
    """What one check has found and another needs; ``None`` is unknown."""

    collections: list[Stored] | None = None
    keys: list[Key] | None = None


async def holder_of(config: Config) -> dict[str, Any] | None:
    """Return pid and address of who holds the folder of the documents, if anybody does."""
    if config.chroma.host is not None:
        return None
    try:
        return await asyncio.to_thread(holder, config.chroma.path)
    except SearchError:
        return None  # what is wrong with the folder is another check's


async def documents(config: Config, context: CheckContext) -> AsyncIterator[Finding]:
    """Check whether there are documents that can be searched as configured."""
    held = await holder_of(config)
    if config.chroma.host is not None:
        chroma = _server(config, context)
    elif held is not None:
        # Only through the holder: a second Chroma would destroy the folder.
        chroma = _holder(config, context, held)
    else:
        chroma = _folder(config, context)
    async for finding in chroma:
        yield finding
    async for finding in _collections_as_configured(config, context):
        yield finding


async def keys(config: Config, context: CheckContext) -> AsyncIterator[Finding]:
    """Check whether the key table can be read, and whether somebody has a key."""
    file = database_file(config.database.url)
    found: list[Key] = []
    page_key: Key | None = None
    try:
        if file is None or file.exists():
            async with (
                asyncio.timeout(_ASK_SECONDS),
                Keys(config.database.url, create=False) as table,
            ):
                if file is None:
                    async with table.database.transaction() as connection:
                        name, missing = await describe(connection)
                    if missing:
                        message = f"the user of {name} lacks: {', '.join(missing)}."
                        yield fail("keys", message, "GRANT them to the user of database.url.")
                        return
                    yield ok("keys", f"are kept in {name}.")
                if await table.outdated():
                    message = "the key table is from an older version; `orbit serve` updates it."
                    yield ok("keys", message)
                    return
                found = await table.list() if await table.exists() else []
                if found and config.web.page_key is not None:
                    secret = config.web.page_key.get_secret_value()
                    if await table.known.include(secret):
                        page_key = await table.find(secret)
    except (KeysUnavailable, OSError) as error:
        message = f"the key table cannot be read: {str(error) or 'no answer in time'}"
        yield fail("keys", message, "Correct database.url, or what it names.")
        return
    context.keys = found
    now = datetime.now(UTC)
    usable = sum(key.usable(now) for key in found)
    if not usable and not config.api_keys.allow_default:
        remedy = f"{_PROGRAM} keys create --collection NAME --name WHO"
        message = "there is no key yet." if not found else f"none of {len(found)} keys is usable."
        yield warn("keys", f"{message} Nobody can ask.", remedy)
    else:
        ended = f", {len(found) - usable} expired or inactive" if len(found) > usable else ""
        yield ok("keys", f"{usable} can be used{ended}.")
    if config.web.page_key is not None and not (page_key and page_key.usable(now)):
        remedy = "Put a key into it, or null."
        yield warn(
            "keys", "web.page_key is not a usable key: the page refuses its visitors.", remedy
        )
    public = [key for key in found if key.origins or key == page_key]
    for key in public:
        if key.usable(now) and not is_limited(key, config.limits):
            message = f"{key.id} ({key.client_name}) is public, and has no limits."
            yield warn("keys", message, f"{_PROGRAM} keys limit {key.id} --visitor-per-minute 10")


def bindings(context: CheckContext) -> Iterator[Finding]:
    """Check whether every key's collection is there, as far as both are known."""
    if context.keys is None or context.collections is None:
        return
    there = {each.name for each in context.collections}
    now = datetime.now(UTC)
    for key in context.keys:
        if key.usable(now) and key.collection not in there:
            message = f"{key.id} opens collection {key.collection!r}, which does not exist."
            remedy = f"{_PROGRAM} ingest FOLDER --collection {key.collection}"
            yield warn("keys", message, f"{remedy}, or {_PROGRAM} keys delete {key.id}")


async def _server(config: Config, context: CheckContext) -> AsyncIterator[Finding]:
    where = f"{config.chroma.host}:{config.chroma.port}"
    try:
        async with asyncio.timeout(_ASK_SECONDS), chroma.build(config.chroma) as client:
            await client.heartbeat()
            context.collections = await _collections(client)
    except (SearchError, TimeoutError) as error:
        message = str(error) or f"Chroma at {where} does not answer in time."
        remedy = "Start it (`chroma run`), or correct chroma.host and chroma.port."
        yield fail("chroma", message, remedy)
    else:
        yield ok("chroma", f"Chroma answers at {where}.")


async def _holder(
    config: Config, context: CheckContext, held: dict[str, Any]
) -> AsyncIterator[Finding]:
    address, remedy = held["address"], "Read the server's log."
    try:
        context.collections = await _from_holder(config, address)
    except (OrbitError, TimeoutError) as error:
        reason = str(error) or "it does not answer in time."
        if address is None:
            remedy = "Check again when it is done."
        if isinstance(error, Forbidden):
            remedy = "Set the server's ADMIN_TOKEN in .env, or check as its user."
        message = f"{config.chroma.path} is in use by process {held['pid']}: {reason}"
        yield warn("chroma", message, remedy)
    else:
        yield ok("chroma", f"{config.chroma.path} is in use by the server at {address}.")


async def _folder(config: Config, context: CheckContext) -> AsyncIterator[Finding]:
    folder = Path(config.chroma.path)
    try:
        if not (folder / "chroma.sqlite3").exists():
            context.collections = []
            yield ok("chroma", f"runs inside the server; {folder} is created when it starts.")
        elif machine.foreign_root(folder):
            yield ok("chroma", f"{folder} is free; root does not open it.")
        else:
            async with chroma.build(config.chroma) as client:
                context.collections = await _collections(client)
            yield ok("chroma", f"{folder} can be opened.")
            if (deleted := tables.free_bytes(folder)) > _MUCH_DELETED:
                message = f"{deleted / 1e6:.0f} MB of deleted data are still in {folder}."
                yield warn("chroma", message, f"{_PROGRAM} collections clean")
    except (SearchError, OSError) as error:
        yield fail("chroma", str(error), f"Restore {folder}, or give it to the server's user.")


async def _collections_as_configured(
    config: Config, context: CheckContext
) -> AsyncIterator[Finding]:
    stored = context.collections
    if stored is None:
        return
    if not stored:
        remedy = f"{_PROGRAM} ingest FOLDER --collection NAME"
        yield warn("collections", "no documents are loaded.", remedy)
        return
    embedder = retrieval.build_embedder(
        config.embedding,
        embed=llm.build(config.ollama).embed,
        model=config.ollama.embed_model,
    )
    problems: list[Finding] = []
    async with retrieval.build_words(config.retrieval, config.elasticsearch) as index:
        for each in stored:
            try:
                if each.chunks is None:
                    message = f"{each.name} is damaged and cannot be searched."
                    repair = f"{_PROGRAM} collections repair {each.name}"
                    problems.append(fail("collections", message, repair))
                    continue
                check_embedder(each.metadata, embedder, each.name)
                indexed = (await index.state(each.id)).passages
            except EmbedderMismatch as error:
                message, _, remedy = str(error).partition(". ")
                problems.append(fail("collections", f"{message}.", remedy))
            except WordsUnavailable:
                break  # which is said by the check of Elasticsearch
            except SearchError as error:
                problems.append(fail("collections", str(error), _reindex(each.name)))
            else:
                if indexed < each.chunks:
                    message = (
                        f"{each.name}: {indexed} of {each.chunks} chunks are in the word index."
                    )
                    problems.append(warn("collections", message, _reindex(each.name)))
        with suppress(WordsUnavailable):
            if others := await index.leftovers([each.id for each in stored]):
                message = f"{len(others)} word indexes belong to deleted collections."
                problems.append(warn("collections", message, f"{_PROGRAM} collections clean"))
    for problem in problems:
        yield problem
    if not problems:
        chunks = sum(each.chunks or 0 for each in stored)
        by = f"{embedder.provider}/{embedder.model}"
        yield ok("collections", f"{len(stored)} with {chunks} chunks, embedded by {by}.")


async def _collections(client: Chroma) -> list[Stored]:
    stored = []
    for each in await client.collections():
        try:
            chunks = await client.count(each.name)
        except DamagedCollection:
            chunks = None
        stored.append(Stored(each.name, each.id, chunks, each.metadata))
    return stored


async def _from_holder(config: Config, address: str | None) -> list[Stored]:
    if address is None:
        raise SearchError("a command is using it, or an application that mounts the server.")
    async with asyncio.timeout(_ASK_SECONDS), remote_store(config, address, ours=True) as store:
        listed = await store.collections()
    return [
        Stored(
            each["name"],
            each["id"],
            each["chunks"],
            {
                f"orbit_{name}": each[name]
                for name in ("embedder", "model")
                if each[name] is not None
            },
        )
        for each in listed
    ]


def _reindex(name: str) -> str:
    return f"{_PROGRAM} collections reindex {name}"
