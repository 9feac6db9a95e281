"""The index of one collection in Elasticsearch while its lock is held, for whoever writes to it.

What is written is found at once. An index that does not fit is written anew beside the live one,
which is searched until the other takes its place.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ....errors import SearchError
from ..analyzer import Analyzer
from ..record import digest
from . import layout
from .client import ElasticsearchClient
from .layout import Index

if TYPE_CHECKING:
    from .indexes import ElasticsearchWords

_BULK_BYTES = 5 * 1024 * 1024  # where hosted offers and proxies draw the line
_IDS_A_QUERY = 1000
_TRIES = 5
_PAUSE = 0.2


class ElasticsearchWriting:
    """What may be done to the index of a collection; every call raises what the client does."""

    def __init__(self, words: "ElasticsearchWords", collection_id: str) -> None:
        self._words = words
        self._client = words.client
        self._id = collection_id

    async def add(self, rows: Sequence[tuple[str, str]], analyzer: Analyzer) -> None:
        """Store ``rows`` of (id, text); known ids get the new text.

        An index of another analyzer is replaced by one that holds nothing else.
        """
        known = await self._words.indexes(self._id)
        fitting = [each for each in known if _fits(each, analyzer)]
        texts = dict(rows)
        new = {id: digest(text) for id, text in texts.items()}
        if not fitting and new:
            name = await self._made(analyzer)
            try:
                await self._store(name, texts, new, analyzer)
                await self._switch(name, known)
            except SearchError:
                # It would be taken for one that somebody writes anew, and never be searched. What
                # is left when this fails too, or we are killed, goes when the index is mended.
                with suppress(SearchError):
                    await self._client.call("DELETE", f"/{name}", expected=(404,))
                raise
        for index in fitting:
            there = await digests(self._client, index.name, list(new))
            changed = {id: each for id, each in new.items() if there.get(id) != each}
            await self._store(index.name, texts, changed, analyzer)

    async def remove(self, ids: Collection[str]) -> None:
        """Forget these passages; unknown ids, and collections without an index, are no error."""
        for index in await self._words.indexes(self._id):
            await self._bulk(index.name, (layout.removing(index.name, id) for id in ids))

    async def begin(self, analyzer: Analyzer) -> None:
        """Prepare to write all passages: to the index that is there, or to another beside it."""
        known = await self._words.indexes(self._id)
        for index in known:
            if not index.live:  # somebody gave up
                await self._delete(index)
        if not any(index.live and _fits(index, analyzer) for index in known):
            await self._made(analyzer)

    async def finish(self) -> None:
        """Put what was written anew in the place of what was there."""
        known = await self._words.indexes(self._id)
        if new := next((each for each in known if not each.live), None):
            await self._switch(new.name, [each for each in known if each != new])

    async def note(self, seen: Mapping[str, int]) -> None:
        """Write down which writes of whom the index has taken in, instead of what it says now."""
        live = [each.name for each in await self._words.indexes(self._id) if each.live]
        if live:
            await self._words.note(self._id, live[0], seen)

    async def drop(self) -> int:
        """Delete the index, also a broken one; nothing is freed on this machine."""
        for index in await self._words.indexes(self._id):
            await self._delete(index)
        await self._words.forget(self._id)
        return 0

    async def _made(self, analyzer: Analyzer) -> str:
        name = self._words.names.new(self._id)
        await self._client.call("PUT", f"/{name}", layout.of_passages(analyzer.name))
        return name

    async def _switch(self, name: str, others: Sequence[Index]) -> None:
        """Search ``name`` from now on, and delete the ``others``: all in one step."""
        alias = self._words.names.alias(self._id)
        actions: list[dict[str, Any]] = [{"remove_index": {"index": each.name}} for each in others]
        actions.append({"add": {"index": name, "alias": alias}})
        await self._client.call("POST", "/_aliases", {"actions": actions})

    async def _delete(self, index: Index) -> None:
        await self._client.call("DELETE", f"/{index.name}", expected=(404,))

    async def _store(
        self, index: str, texts: Mapping[str, str], new: Mapping[str, int], analyzer: Analyzer
    ) -> None:
        lines = (
            layout.storing(index, id, " ".join(analyzer.terms(texts[id])), each)
            for id, each in new.items()
        )
        await self._bulk(index, lines)

    async def _bulk(self, index: str, lines: Iterable[bytes]) -> None:
        """Send the actions, each one entry of ``lines``, and make them seen."""
        sent = False
        for batch in _batches(lines):
            sent = True
            await self._send(index, batch)
        if sent:
            await self._client.call("POST", f"/{index}/_refresh")

    async def _send(self, index: str, batch: list[bytes]) -> None:
        """Send actions until each is done; those for which there was no room, some times."""
        for attempt in range(_TRIES):
            reply = await self._client.call("POST", "/_bulk", lines=b"".join(batch))
            left, worst = [], None
            for action, result in zip(batch, self._results(reply.body, len(batch)), strict=True):
                status = int(result.get("status", 500))
                if status >= 300 and status != 404:
                    left.append(action)
                    worst = worst or (status, {"error": result.get("error")})
                    if status != 429:
                        raise self._client.refused(*worst)
            if worst is None:
                return
            batch = left
            if attempt < _TRIES - 1:
                await asyncio.sleep(_PAUSE * 2**attempt)
        raise self._client.refused(429, {"error": f"{index} has no room for more requests"})

    def _results(self, body: Any, n: int) -> list[dict[str, Any]]:
        try:
            found = [result for item in body["items"] for result in item.values()]
        except (LookupError, TypeError, AttributeError):
            raise self._client.damaged() from None
        if len(found) != n:
            raise self._client.damaged()
        return found


async def digests(client: ElasticsearchClient, index: str, ids: Sequence[str]) -> dict[str, int]:
    """Return the digests of the texts of these passages, as far as they are in ``index``."""
    found: dict[str, int] = {}
    for first in range(0, len(ids), _IDS_A_QUERY):
        names = {layout.key(id): id for id in ids[first : first + _IDS_A_QUERY]}
        body = {
            "size": len(names),
            "query": {"ids": {"values": list(names)}},
            "docvalue_fields": ["digest"],
        }
        reply = await client.call("POST", f"/{index}/_search", body, expected=(404,))
        if reply.status == 404:
            return {}
        try:
            for hit in reply.body["hits"]["hits"]:
                found[names[hit["_id"]]] = int(hit["fields"]["digest"][0])
        except (LookupError, TypeError, ValueError):
            raise client.damaged() from None
    return found


def _fits(index: Index, analyzer: Analyzer) -> bool:
    return index.version == layout.VERSION and index.analyzer == analyzer.name


def _batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for each in lines:
        if batch and size + len(each) > _BULK_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each)
    if batch:
        yield batch
