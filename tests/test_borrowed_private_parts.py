"""Every private part of a library that is used or replaced here; fails when one of them moves.

Where it fails after an update: read what has become of the part, and correct the module that is
named in the docstring.
"""

import asyncio
import inspect
import multiprocessing
import sqlite3
from collections.abc import Callable
from multiprocessing import reduction, resource_tracker
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import chromadb.api.rust
import chromadb.config
import chromadb_rust_bindings  # type: ignore[import-untyped]
import httptools
import pytest
import uvicorn
from aiohttp.client_proto import ResponseHandler
from sse_starlette.sse import EventSourceResponse
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.server.http_protocol import LimitedProtocol
from orbit_server.server.uvicorn_server import Server

pytestmark = pytest.mark.anyio

CHROMA_TABLES = {
    "collections": {"name"},
    "segments": {"id", "scope", "collection"},
    "embeddings": {"id", "segment_id", "embedding_id"},
    "embedding_metadata": {
        "id",
        "key",
        "string_value",
        "int_value",
        "float_value",
        "bool_value",
    },
    "embeddings_queue": {"seq_id", "topic", "id", "metadata"},
    "max_seq_id": {"segment_id", "seq_id"},
    "embedding_fulltext_search": {"string_value"},
}


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of what ``function`` takes, without ``self``."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def names_in(function: Callable[..., Any]) -> set[str]:
    """Return all names that the code of ``function`` uses, that of functions inside it too."""
    codes = [inspect.unwrap(function).__code__]
    for code in codes:
        codes += [each for each in code.co_consts if inspect.iscode(each)]
    return {name for code in codes for name in code.co_names}


# -- sse-starlette: api/event_stream.py --------------------------------------------------------


def test_the_signal_that_a_server_ends() -> None:
    """It can be waited for without a response, and is set where uvicorn handles a signal."""
    assert parameters(EventSourceResponse._listen_for_exit_signal) == []
    assert inspect.iscoroutinefunction(EventSourceResponse._listen_for_exit_signal)
    assert uvicorn.Server.handle_exit.__module__.startswith("sse_starlette")


# -- uvicorn: server/uvicorn_server.py, server/http_protocol.py --------------------------------

SERVER = ["startup", "shutdown", "handle_exit", "capture_signals"]


@pytest.mark.parametrize("name", SERVER)
def test_what_the_server_replaces(name: str) -> None:
    """Four methods of uvicorn's server, which calls three of them itself."""
    assert name in vars(Server)
    if name != "handle_exit":  # sse-starlette's is in front of it
        assert parameters(getattr(uvicorn.Server, name)) == parameters(getattr(Server, name))
        assert name in names_in(uvicorn.Server.serve) | names_in(uvicorn.Server._serve)


def test_the_state_of_the_server() -> None:
    """What ``Server`` reads and sets besides."""
    server = uvicorn.Server(uvicorn.Config("", log_config=None))
    assert (server.started, server.should_exit, server.force_exit) == (False, False, False)
    assert server.server_state.connections == set()
    assert server.server_state.tasks == set()
    assert server.server_state.default_headers == []
    assert "ssl_context_factory" in parameters(uvicorn.Config)
    assert {"servers", "force_exit"} <= names_in(uvicorn.Server.shutdown)
    assert "should_exit" in names_in(uvicorn.Server.on_tick)


PROTOCOL = sorted(
    name
    for name in vars(LimitedProtocol)
    if name in dir(httptools_impl.HttpToolsProtocol) and not name.startswith("__")
)


def test_which_methods_of_a_connection_are_replaced() -> None:
    """The list is complete: each name stands in uvicorn's class too."""
    assert [
        *("_start_asgi_task", "_unsupported_upgrade_warning"),
        *("connection_lost", "connection_made", "data_received"),
        *("on_body", "on_header", "on_headers_complete", "on_message_complete"),
        *("on_response_complete", "resume_writing", "send_400_response", "shutdown"),
        "timeout_keep_alive_handler",
    ] == PROTOCOL


@pytest.mark.parametrize("name", PROTOCOL)
def test_the_methods_of_a_connection(name: str) -> None:
    """They take what uvicorn's take."""
    theirs = getattr(httptools_impl.HttpToolsProtocol, name)
    assert parameters(theirs) == parameters(getattr(LimitedProtocol, name))


async def test_the_state_of_a_connection() -> None:
    """What ``LimitedProtocol`` reads and sets of uvicorn's protocol and its request."""
    config = uvicorn.Config("orbit_server:__name__", log_config=None)
    protocol: Any = httptools_impl.HttpToolsProtocol(config, ServerState(), {})
    assert protocol.cycle is None and protocol.transport is None
    assert protocol.loop is asyncio.get_running_loop()
    assert not protocol.pipeline
    protocol.pipeline.clear()
    protocol.on_message_begin()
    assert protocol.headers == []
    flow: Any = FlowControl(SimpleNamespace())  # type: ignore[arg-type]
    assert flow.write_paused is False
    assert callable(flow.pause_reading) and callable(flow.resume_reading)
    begin: Any = httptools_impl.RequestResponseCycle
    cycle = vars(begin(*[None] * 6, [], asyncio.Event(), False, True, print))
    expected = {"response_started": False, "response_complete": False, "disconnected": False}
    assert expected.items() <= cycle.items()
    assert cycle["keep_alive"] is True
    assert isinstance(cycle["message_event"], asyncio.Event)
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
    # An error in a callback of the parser is one of those that uvicorn answers 400.
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)


# -- chromadb: retrieval/chroma/bindings.py, tables.py; server/chroma_main.py ------------------

CHROMA_CALLS = {
    "heartbeat": "",
    "list_collections": "limit offset tenant database",
    "get_collection": "name tenant database",
    "create_collection": (
        "name configuration_json_str schema_str metadata get_or_create tenant database"
    ),
    "update_collection": "collection_id new_name new_metadata new_configuration_json_str",
    "delete_collection": "name tenant database",
    "count": "collection_id tenant database",
    "query": (
        "collection_id ids query_embeddings n_results where where_document include tenant database"
    ),
    "get": "collection_id ids where limit offset where_document include tenant database",
    "upsert": "collection_id ids embeddings metadatas documents uris tenant database",
    "delete": "collection_id ids where where_document limit tenant database",
}


@pytest.mark.parametrize("name", CHROMA_CALLS)
def test_the_calls_of_the_bindings(name: str) -> None:
    """They take these, in this order."""
    method = getattr(chromadb_rust_bindings.Bindings, name)
    assert parameters(method) == CHROMA_CALLS[name].split()


def test_how_a_folder_is_opened() -> None:
    """chromadb opens one with the same arguments, and the same kind of hashes."""
    theirs = names_in(chromadb.api.rust.RustBindingsAPI.start)
    assert {
        "SqliteDBConfig",
        "Bindings",
        "MigrationHash",
        "MD5",
        "MigrationMode",
        "Apply",
    } <= theirs
    assert chromadb.config.Settings.model_fields["migrations_hash_algorithm"].default == "md5"
    names = [*("url", "hash_type", "migration_mode"), "allow_reset", "sqlite_db_config"]
    texts = inspect.getsource(chromadb.api.rust.RustBindingsAPI.start)
    assert all(f"{name}=" in texts for name in [*names, "persist_path", "hnsw_cache_size"])


async def test_the_tables_of_chroma(tmp_path: Path) -> None:
    """Chroma still has the tables and columns that this server relies on."""
    async with ChromaEmbedded(tmp_path) as chroma:
        await chroma.heartbeat()
    database = sqlite3.connect(tmp_path / "chroma.sqlite3")
    for table, columns in CHROMA_TABLES.items():
        found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        assert columns <= found, table
    database.close()


def test_the_program_of_chroma() -> None:
    """Chroma's server is started without importing the rest of the package."""
    assert callable(chromadb_rust_bindings.cli)


# -- aiohttp: llm/ollama/stream.py, documents/remote_store.py ----------------------------------


def test_the_silence_that_aiohttp_allows() -> None:
    """A stream switches it off on its connection, since it measures by itself."""
    timeout: Any = inspect.getattr_static(ResponseHandler, "read_timeout")
    assert timeout.fset is not None
    assert "connection" in dir(aiohttp.ClientResponse)
    assert "protocol" in dir(aiohttp.connector.Connection)


def test_the_check_of_a_fingerprint() -> None:
    """It gets the transport, and may break it off."""
    assert parameters(aiohttp.Fingerprint.check) == ["transport"]


# -- multiprocessing: server/worker_link.py, server/worker_slot.py -----------------------------


def test_what_hands_a_descriptor_to_a_new_process() -> None:
    """Descriptors are duplicated while a process is spawned, and one process tracks resources."""
    assert parameters(reduction.DupFd) == ["fd"]
    assert parameters(resource_tracker.ensure_running) == []
    assert multiprocessing.get_context("spawn").Process is not None
