"""A lock over all hosts: a document that its holder renews.

Clocks of hosts differ, so nobody reads another's. Whoever waits takes the lock over when its
document has not changed for a while by the own clock.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from cachetools import TTLCache

from ....errors import SearchError
from .client import ElasticsearchClient

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_REMEMBERED = 10_000


class Locks:
    """Locks in the index ``index``, by name; one that is not renewed is free after ``seconds``.

    Raises what the client does.
    """

    def __init__(
        self,
        client: ElasticsearchClient,
        index: str,
        *,
        seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._index = client, index
        self._seconds = seconds
        self._clock = clock
        # When the state of a lock of another was seen first.
        self._seen: TTLCache[tuple[str, int, int], float] = TTLCache(_REMEMBERED, 86_400, clock)
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Return when what was locked is free."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    @asynccontextmanager
    async def held(self, name: str, *, patience: float) -> AsyncIterator[bool]:
        """Hold the lock, and tell whether that is so: not if another does for ``patience`` s."""
        hold = _Hold(self._path(name), secrets.token_hex(8))
        until, pause = self._clock() + patience, _FIRST_PAUSE
        try:
            while not (taken := await self._taking(hold)):
                if self._clock() + pause > until:
                    break
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException:  # it may have been taken all the same
            self._freeing(hold)
            raise
        if not taken:
            yield False
            return
        renewing = asyncio.create_task(self._renew(hold))
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            await asyncio.shield(self._freeing(hold))

    async def _taking(self, hold: "_Hold") -> bool:
        # Not cancelled with the caller: what was sent may arrive after we have looked for it.
        hold.attempt = asyncio.create_task(self._take(hold))
        return await asyncio.shield(hold.attempt)

    async def _take(self, hold: "_Hold") -> bool:
        if await self._write(hold, "?op_type=create"):
            return True
        found = await self._client.call("GET", hold.path, expected=(404,))
        if found.status == 404:
            return False  # free by now: the next attempt
        state = self._state(found.body)
        if state.holder == hold.holder:
            hold.version = state.version
            return True  # the request was sent twice
        since = self._seen.setdefault((hold.path, *state.version), self._clock())
        if self._clock() - since < self._seconds:
            return False
        return await self._write(hold, _unchanged(state.version))

    async def _renew(self, hold: "_Hold") -> None:
        """Change the document now and then, as long as it is ours."""
        while hold.version is not None:
            await asyncio.sleep(self._seconds / 3)
            try:
                if not await self._write(hold, _unchanged(hold.version)):
                    logger.warning("the lock %s was taken over by another host", hold.path)
                    return
            except SearchError as error:
                logger.info("the lock %s was not renewed: %s", hold.path, error)

    async def _free(self, hold: "_Hold") -> None:
        if hold.attempt is not None:
            await asyncio.gather(hold.attempt, return_exceptions=True)
        try:
            found = await self._client.call("GET", hold.path, expected=(404,))
            if found.status == 404 or (state := self._state(found.body)).holder != hold.holder:
                return
            condition = _unchanged(state.version)
            await self._client.call("DELETE", f"{hold.path}{condition}", expected=(404, 409))
        except SearchError as error:
            logger.info(
                "the lock %s could not be released and expires by itself: %s", hold.path, error
            )

    async def _write(self, hold: "_Hold", condition: str) -> bool:
        body = {"holder": hold.holder}
        reply = await self._client.call("PUT", f"{hold.path}{condition}", body, expected=(404, 409))
        if reply.status >= 300:
            return False
        hold.version = self._version(reply.body)
        return True

    def _freeing(self, hold: "_Hold") -> asyncio.Task[None]:
        # Beside the caller, who may have been cancelled.
        task = asyncio.create_task(self._free(hold))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def _state(self, body: Any) -> "_State":
        try:
            return _State(body["_source"]["holder"], self._version(body))
        except (LookupError, TypeError):
            raise self._client.damaged() from None

    def _version(self, body: Any) -> tuple[int, int]:
        try:
            return body["_seq_no"], body["_primary_term"]
        except (LookupError, TypeError):
            raise self._client.damaged() from None

    def _path(self, name: str) -> str:
        return f"/{self._index}/_doc/lock.{quote(name, safe='')}"


@dataclass
class _Hold:
    """Who wants to hold a lock; ``version`` is that of its document as we wrote it last."""

    path: str
    holder: str
    version: tuple[int, int] | None = None
    attempt: asyncio.Task[bool] | None = None


class _State(NamedTuple):
    holder: str
    version: tuple[int, int]


def _unchanged(version: tuple[int, int]) -> str:
    return f"?if_seq_no={version[0]}&if_primary_term={version[1]}"
