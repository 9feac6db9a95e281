"""The database that keeps the keys: SQLite in a file of ours, or a PostgreSQL server.

Whatever goes wrong with it is ``KeysUnavailable``. An outage is logged when it begins and when it
ends, not once a request.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..config import make_private_folder
from ..errors import KeysUnavailable, NotStarted, OrbitError

logger = logging.getLogger(__name__)

# Of the parameters that PostgreSQL's own tools take in a URL, and providers write into theirs:
# asyncpg has no channel binding and a timeout of ours; what the server is to know is sent to it;
# and it knows these. https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_LEFT_OUT = {"channel_binding", "connect_timeout", "gssencmode"}
_FOR_THE_SERVER = {"application_name", "options"}
_FOR_ASYNCPG = {"host", "port", "ssl", "direct_tls", "passfile", "target_session_attrs"}


class Database:
    """The engine of one database; open between ``open`` and ``close``.

    ``timeout`` in seconds is for a lock, for a connection, for a command and for a free place in
    the pool.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._engine: AsyncEngine | None = None
        self._failing = False

    def open(self, *, create: bool) -> None:
        """Make the engine, and the file if ``create``; connect to nothing. Blocks for the file."""
        url = _parse_url(self._url)
        with keys_unavailable():
            options = _engine_options(url, self._timeout)
            url = url.difference_update_query(_LEFT_OUT | _FOR_THE_SERVER)
            if create:
                _create_file(url)
            try:
                self._engine = create_async_engine(url, **options)
            except ModuleNotFoundError as error:
                raise KeysUnavailable(
                    f"database.url needs the package {error.name}, which is not installed. For"
                    " PostgreSQL: pip install 'orbit-server[postgres]'"
                ) from error

    async def disconnect(self) -> None:
        """Close the connections that are open now; the next transaction opens others."""
        if self._engine is not None:
            await self._engine.dispose()

    async def close(self) -> None:
        """Close all connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with keys_unavailable():
                await engine.dispose()

    @asynccontextmanager
    async def transaction(
        self, *, watched: bool = False, in_time: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction; raise ``NotStarted`` while it is not open.

        Of ``watched`` ones the log says when they begin to fail, and when they work again. What a
        request waits for is to be done ``in_time``: all of it takes ``timeout`` at most.
        """
        if self._engine is None:
            raise NotStarted("Keys is used outside of its async with block")
        try:
            with keys_unavailable():
                limit = self._timeout if in_time else None
                async with asyncio.timeout(limit), self._engine.begin() as connection:
                    yield connection
        except KeysUnavailable as error:
            if watched and not self._failing:
                logger.error("the key database does not work: %s", error)
                self._failing = True
            raise
        if watched and self._failing:
            logger.warning("the key database works again")
            self._failing = False


def database_file(url: str) -> Path | None:
    """Return the SQLite file that ``url`` names; ``None`` for a server and for what is no URL."""
    with suppress(KeysUnavailable):
        return _file(_parse_url(url))
    return None


@contextmanager
def keys_unavailable() -> Iterator[None]:
    """Turn whatever the database calls inside raise into ``KeysUnavailable``.

    Drivers raise trees of their own, a host that is gone an OSError, a damaged row a ValueError: a
    list of classes would let one of them pass for something else than an outage.
    """
    try:
        yield
    except OrbitError:
        raise
    except Exception as error:
        reason = getattr(error, "orig", None) or error
        text = str(reason) or "no answer in time"
        raise KeysUnavailable(f"{type(reason).__name__}: {text}") from error


def _parse_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except Exception:
        # The parser's own message may quote a piece of the password.
        raise KeysUnavailable("database.url is not a database URL") from None
    if url.get_backend_name() == "sqlite" and (url.database or ":memory:") == ":memory:":
        raise KeysUnavailable("database.url names no file, and keys must outlive the process")
    return url


def _engine_options(url: sa.URL, timeout: float) -> dict[str, Any]:
    options: dict[str, Any] = {"hide_parameters": True, "pool_timeout": timeout}
    if url.get_backend_name() == "sqlite":
        # Each connection is a thread; a read takes well under a millisecond.
        return options | {"pool_size": 4, "max_overflow": 0, "connect_args": {"timeout": timeout}}
    options |= {"pool_size": 5, "max_overflow": 5, "pool_pre_ping": True}
    if url.get_driver_name() == "asyncpg":
        options["connect_args"] = {
            "timeout": timeout,
            "command_timeout": timeout,
            # Behind PgBouncer in transaction mode the next transaction has another connection,
            # which does not know this one's prepared statements, or has others of the same name.
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"orbit_{uuid4().hex}",
            "server_settings": {name: url.query[name] for name in _FOR_THE_SERVER & {*url.query}},
        }
        for name in sorted(set(url.query) - _LEFT_OUT - _FOR_THE_SERVER - _FOR_ASYNCPG):
            raise KeysUnavailable(f"{name} is not supported: remove it from database.url")
    return options


def _create_file(url: sa.URL) -> None:
    """Make SQLite's file before SQLite does, readable by its owner only (-wal and -shm inherit)."""
    if path := _file(url):
        make_private_folder(path.parent)
        with suppress(FileExistsError):
            path.touch(mode=0o600, exist_ok=False)


def _file(url: sa.URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        return None
    return Path(str(url.database))
