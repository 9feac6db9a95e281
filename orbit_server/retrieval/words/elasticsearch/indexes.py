"""The word indexes of all collections in Elasticsearch, shared by all replicas.

Each is behind an alias, so that one that is written anew takes the place of another in one step.
What an index has taken in, and who writes to it, are documents of an index of their own, which
are read at once, without a refresh.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

from ....errors import SearchError, SearchUnavailable
from ..analyzer import Analyzer
from ..protocol import FoundWords, IndexState
from ..record import Record, digest
from . import layout
from .client import ElasticsearchClient
from .layout import Index, Names
from .lock import Locks
from .search import QuestionSearch
from .writing import ElasticsearchWriting, digests

_PAGE = 5000
_KEEP = "2m"


class ElasticsearchWords:
    """The word indexes whose names begin with ``prefix``; ``async with`` opens the client.

    An index that cannot be used raises ``SearchError``, one that another holds locked for longer
    than ``patience`` seconds ``SearchUnavailable``, and an Elasticsearch that does not answer
    ``WordsUnavailable``. The lock of a host that died is free after ``lock_seconds``.
    """

    remote = True

    def __init__(
        self,
        client: ElasticsearchClient,
        *,
        prefix: str,
        patience: float = 30.0,
        lock_seconds: float = 15.0,
    ) -> None:
        self.client = client
        self.names = Names(prefix)
        self._patience = patience
        self._locks = Locks(client, self.names.state, seconds=lock_seconds)
        self._search = QuestionSearch(client, self.names)
        self._ready = False
        self._writer = ""

    async def __aenter__(self) -> Self:
        await self.client.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._locks.close()
        self.client.close()

    def limited(self) -> AbstractAsyncContextManager[None]:
        """Bound what a question waits for; ``WordsUnavailable`` when that takes too long."""
        return self.client.limited()

    async def ping(self) -> None:
        """Return when Elasticsearch answers; raise ``WordsUnavailable``."""
        await self.client.call("GET", f"/{self.names.state}/_doc/writer", expected=(404,))

    async def may_write(self) -> bool:
        """Tell whether we may do with the indexes what is needed; with security off, all is.

        Any user may query its own privileges.
        """
        wanted = {"names": [f"{self.names.prefix}*"], "privileges": ["manage", "read", "write"]}
        path = "/_security/user/_has_privileges"
        off = (400, 404, 405, 500)
        found = await self.client.call("POST", path, {"index": [wanted]}, expected=off)
        return found.status in off or bool(found.body.get("has_all_requested"))

    async def find(
        self, collection_id: str, text: str, analyzer: Analyzer, *, n: int
    ) -> FoundWords:
        """Return what the question ``text`` looks for, and its ``n`` best passages."""
        return await self._search(collection_id, text, analyzer, n)

    def terms_of(self, collection_id: str, ids: Sequence[str]) -> Mapping[str, list[str]]:
        """Return nothing: the texts that were read tell the same, without another request."""
        return {}

    async def state(self, collection_id: str) -> IndexState:
        """Return what is in the index of a collection."""
        known, seen, passages = await asyncio.gather(
            self.indexes(collection_id), self._seen(collection_id), self._count(collection_id)
        )
        live = next((each for each in known if each.live), None)
        if live is None:
            return IndexState(0, None)
        if live.version != layout.VERSION:
            raise SearchError(f"{live.name} was written as version {live.version}")
        name, writes = seen
        return IndexState(passages, Record(live.analyzer, writes if name == live.name else {}))

    async def writer(self) -> str:
        """Return the name under which all replicas write, made up by the first."""
        if not self._writer:
            await self._prepare()
            path = f"/{self.names.state}/_doc/writer"
            new = {"writer": secrets.token_hex(4)}
            await self.client.call("PUT", f"{path}?op_type=create", new, expected=(409,))
            found = await self.client.call("GET", path)
            try:
                self._writer = str(found.body["_source"]["writer"])
            except (LookupError, TypeError):
                raise self.client.damaged() from None
        return self._writer

    async def changed(self, collection_id: str, texts: Mapping[str, str]) -> list[str]:
        """Return the ids in ``texts`` that are indexed with another text, or not at all."""
        alias = self.names.alias(collection_id)
        known = await digests(self.client, alias, list(texts))
        return [id for id, text in texts.items() if known.get(id) != digest(text)]

    async def ids(self, collection_id: str) -> AsyncIterator[list[str]]:
        """Iterate over the ids of all indexed passages, some thousands at a time."""
        alias = self.names.alias(collection_id)
        body = {"size": _PAGE, "sort": ["_doc"], "docvalue_fields": ["id"]}
        path = f"/{alias}/_search?scroll={_KEEP}"
        reply = await self.client.call("POST", path, body, expected=(404,))
        if reply.status == 404:
            return
        while hits := self._hits(reply.body):
            yield [layout.id_of(hit) for hit in hits]
            scroll = {"scroll": _KEEP, "scroll_id": reply.body["_scroll_id"]}
            reply = await self.client.call("POST", "/_search/scroll", scroll)
        done = {"scroll_id": reply.body["_scroll_id"]}
        await self.client.call("DELETE", "/_search/scroll", done, expected=(404,))

    @asynccontextmanager
    async def writing(self, collection_id: str) -> AsyncIterator[ElasticsearchWriting]:
        """Hold the lock of the collection's index, over all hosts.

        Raises ``SearchUnavailable`` when another holds it for too long.
        """
        async with self._held(collection_id, "writing", self._patience) as held:
            if not held:
                raise SearchUnavailable(
                    f"The word index {self.names.alias(collection_id)} is locked: another has been"
                    f" writing for more than {self._patience:g} s. Try again."
                )
            try:
                yield ElasticsearchWriting(self, collection_id)
            finally:
                self._search.forget(collection_id)

    def idle(self, collection_id: str) -> AbstractAsyncContextManager[bool]:
        """Hold the lock if nobody else has it, and tell whether that is so."""
        return self._held(collection_id, "writing", 0)

    def alone(self, collection_id: str, purpose: str) -> AbstractAsyncContextManager[bool]:
        """Be the only one of all replicas that does something for a collection, if nobody is."""
        return self._held(collection_id, purpose, 0)

    async def drop(self, collection_id: str) -> int:
        """Delete the collection's index, if there is any; nothing is freed on this machine."""
        if await self.indexes(collection_id):
            async with self.writing(collection_id) as words:
                await words.drop()
        return 0

    async def drop_others(self, collection_ids: Collection[str]) -> int:
        """Delete the indexes of all but these collections; nothing is freed on this machine."""
        for id in await self.leftovers(collection_ids):
            await self.drop(id)
        return 0

    async def compact(self, collection_id: str, *, quiet_seconds: float) -> None:
        """Do nothing: Elasticsearch does so by itself, and all replicas have the same scores."""

    async def merge(self, collection_id: str) -> None:
        """Do nothing: Elasticsearch does so by itself."""

    async def leftovers(self, collection_ids: Collection[str]) -> list[str]:
        """Return the ids of collections that have an index and are none of these."""
        known = {self.names.collection_id(each.name) for each in await self._all()}
        return sorted(known - frozenset(collection_ids))

    def outdated(self) -> list[str]:
        """Return nothing: there was no kind before this one."""
        return []

    async def indexes(self, collection_id: str) -> list[Index]:
        """Return the indexes of a collection: the live one, and what is being written anew."""
        return await self._described(f"{self.names.alias(collection_id)}.*")

    async def note(self, collection_id: str, index: str, seen: Mapping[str, int]) -> None:
        """Write down which writes of whom ``index`` has taken in."""
        path = self.names.record(collection_id)
        await self.client.call("PUT", path, {"index": index, "seen": dict(seen)})

    async def forget(self, collection_id: str) -> None:
        """Delete what was written down of the index of a collection."""
        path = self.names.record(collection_id)
        await self.client.call("DELETE", path, expected=(404,))

    @asynccontextmanager
    async def _held(self, collection_id: str, purpose: str, patience: float) -> AsyncIterator[bool]:
        self.names.alias(collection_id)
        await self._prepare()
        async with self._locks.held(f"{collection_id}.{purpose}", patience=patience) as held:
            yield held

    async def _prepare(self) -> None:
        """Make the index of locks and records, if nobody has."""
        if self._ready:
            return
        made = await self.client.call(
            "PUT", f"/{self.names.state}", layout.of_state(), expected=(400,)
        )
        if made.status == 400 and "already_exists" not in str(made.body):
            raise self.client.refused(made.status, made.body)
        self._ready = True

    async def _seen(self, collection_id: str) -> tuple[str, dict[str, int]]:
        path = self.names.record(collection_id)
        found = await self.client.call("GET", path, expected=(404,))
        if found.status == 404:
            return "", {}
        try:
            source = found.body["_source"]
            writes = {str(writer): int(write) for writer, write in source["seen"].items()}
            return str(source["index"]), writes
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self.client.damaged() from None

    async def _count(self, collection_id: str) -> int:
        alias = self.names.alias(collection_id)
        found = await self.client.call("GET", f"/{alias}/_count", expected=(404,))
        if found.status == 404:
            return 0
        try:
            return int(found.body["count"])
        except (LookupError, TypeError, ValueError):
            raise self.client.damaged() from None

    async def _all(self) -> list[Index]:
        return await self._described(self.names.all)

    async def _described(self, pattern: str) -> list[Index]:
        path = f"/{pattern}?expand_wildcards=all"  # closed ones, too
        found = await self.client.call("GET", path, expected=(404,))
        if found.status == 404:
            return []
        try:
            return [layout.described(name, body) for name, body in found.body.items()]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self.client.damaged() from None

    def _hits(self, body: Any) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = body["hits"]["hits"]
            return found
        except (LookupError, TypeError):
            raise self.client.damaged() from None
