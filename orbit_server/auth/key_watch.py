"""Requests under way with a key that has ended: they end too, and nothing is asked for each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Self

from ..errors import KeysUnavailable
from .key import Key

logger = logging.getLogger(__name__)

_AT_ONCE = 1000  # hashes in one statement


class KeyWatch:
    """Looks every ``seconds`` whether the keys of all requests under way still are any.

    ``usable`` returns those of the hashes of verified keys that are; it is asked about all of them
    together, once for each key, and only while there are any. While it fails nothing is ended:
    nobody can end a key in a database that is down. Runs in ``async with``.
    """

    def __init__(
        self,
        usable: Callable[[Collection[str]], Awaitable[Collection[str]]],
        *,
        seconds: float = 0.7,
    ) -> None:
        self._usable = usable
        self._seconds = seconds
        self._used: dict[str, _Used] = {}
        self._some = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc: object) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})

    @contextmanager
    def using(self, key: Key, ended: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Call ``ended`` once when ``key`` ends in the block, or has ended in one around it."""
        if not key.digest:  # the default caller has none that could end
            yield
            return
        used = self._used.setdefault(key.digest, _Used())
        call = object()
        used.calls[call] = ended
        self._some.set()
        if used.ended:
            ended()
        try:
            yield
        finally:
            del used.calls[call]
            if not used.calls:
                del self._used[key.digest]

    async def _watch(self) -> None:
        while True:
            if not self._used:
                self._some.clear()
                await self._some.wait()
            await asyncio.sleep(self._seconds)
            used = [digest for digest, each in self._used.items() if not each.ended]
            for begin in range(0, len(used), _AT_ONCE):
                digests = used[begin : begin + _AT_ONCE]
                try:
                    self._end(set(digests) - set(await self._usable(digests)))
                except KeysUnavailable as error:
                    logger.debug("keys in use cannot be checked: %s", error)
                except Exception:
                    logger.exception("keys in use cannot be checked")

    def _end(self, digests: set[str]) -> None:
        for digest in digests:
            used = self._used.get(digest)
            if used is not None and not used.ended:
                used.ended = True
                for ended in list(used.calls.values()):
                    ended()


class _Used:
    """A key in use: whether it has ended, and whom to tell."""

    def __init__(self) -> None:
        self.ended = False
        self.calls: dict[object, Callable[[], object]] = {}
