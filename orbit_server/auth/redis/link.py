"""One connection to Redis: what waits is sent together, and a Redis that is gone costs nobody time.

https://redis.readthedocs.io/en/stable/connections.html
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import sha1
from itertools import zip_longest
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ...config.addresses import masked

T = TypeVar("T")
Command = tuple[str | int, ...]

_AT_ONCE = 100  # commands that are sent together
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, "it refuses the user or the password"),
    (exceptions.AuthorizationError, "it refuses the user or the password"),
    (exceptions.NoPermissionError, "its user may not run scripts, or not write these keys"),
    (exceptions.OutOfMemoryError, "it is full"),
    (exceptions.ReadOnlyError, "it accepts no writes (a replica, not the primary)"),
    (exceptions.BusyLoadingError, "it is loading its data"),
    (exceptions.NoScriptError, "it has lost the scripts"),
    (exceptions.InvalidResponse, "it does not answer like Redis"),
    (exceptions.TimeoutError, "no answer in time"),
    (TimeoutError, "no answer in time"),
    (exceptions.ConnectionError, "it cannot be reached"),
    (OSError, "it cannot be reached"),
)


class RedisGone(Exception):
    """Redis does not answer, or not as it should."""


class RedisLink:
    """Sends commands, those that wait at the same time in one go.

    What takes over ``seconds`` has failed, with everything that waits; then ``down`` says why, and
    each call fails at once until ``connect`` has worked, which takes ``connect_seconds`` at most.
    ``scripts`` can be run, ``test`` is a command that writes something that expires. ``changed`` is
    called when ``down`` begins or ends.
    """

    def __init__(
        self,
        url: str,
        *,
        scripts: Sequence[str],
        test: Command,
        seconds: float,
        connect_seconds: float = 1.0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.down: str | None = "not connected yet"
        self.lost = asyncio.Event()
        self._url = url
        self._scripts = scripts
        self._test = test
        self._seconds = seconds
        self._connect_seconds = connect_seconds
        self._changed = changed
        self._redis: Redis | None = None
        self._waiting: deque[tuple[Command, asyncio.Future[Any] | None]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect anew and look whether it can be used; ``down`` says whether that was so."""
        await self.close()
        # Its own attempts and pauses would take longer than anybody waits here.
        redis = Redis.from_url(
            self._url,
            socket_connect_timeout=self._connect_seconds,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        commands: list[Command] = [("SCRIPT", "LOAD", script) for script in self._scripts]
        try:
            async with asyncio.timeout(self._connect_seconds):
                replies = await self._execute(redis, [*commands, self._test])
            for reply, script in zip_longest(replies, self._scripts):
                if isinstance(reply, Exception):
                    raise reply
                if script is not None and reply not in (_digest(script), _digest(script).encode()):
                    raise exceptions.InvalidResponse
        except Exception as error:
            self._say(reason(error))
            await _closed(redis)
        except BaseException:
            await _closed(redis)
            raise
        else:
            self._redis = redis
            self.lost.clear()
            self._say(None)

    async def close(self) -> None:
        """Send what waits, and close the connection."""
        if self._sending is not None:
            await asyncio.wait({self._sending})
        redis, self._redis = self._redis, None
        if redis is not None:
            await _closed(redis)

    async def call(self, *command: str | int) -> Any:
        """Return the reply to ``command``; raises ``RedisGone``."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send(command, answer)
        return await answer

    def tell(self, *command: str | int) -> None:
        """Send ``command`` behind those before it, unless Redis is gone."""
        self._send(command, None)

    async def run(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        """Run one of the ``scripts``; as ``call``."""
        return await self.call("EVALSHA", _digest(script), len(keys), *keys, *arguments)

    def _send(self, command: Command, answer: asyncio.Future[Any] | None) -> None:
        if self.down is not None:
            if answer is not None:
                answer.set_exception(RedisGone(self.down))
            return
        self._waiting.append((command, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        # One round after the other: what was sent first is done first.
        while self._waiting and self._redis is not None:
            number = min(_AT_ONCE, len(self._waiting))
            sent = [self._waiting.popleft() for _ in range(number)]
            try:
                commands = [command for command, _ in sent]
                replies = await _within(self._seconds, self._execute(self._redis, commands))
            except Exception as error:
                replies = [error] * number
            for (_, answer), reply in zip(sent, replies, strict=True):
                if isinstance(reply, Exception):
                    self._fail(reply)
                if answer is None or answer.done():
                    continue
                if isinstance(reply, Exception):
                    answer.set_exception(RedisGone(reason(reply)))
                else:
                    answer.set_result(reply)

    async def _execute(self, redis: Redis, commands: Sequence[Command]) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies

    def _fail(self, error: Exception) -> None:
        if self.down is None:
            self._say(reason(error))
            self.lost.set()
        waiting, self._waiting = self._waiting, deque()
        for _, answer in waiting:
            if answer is not None and not answer.done():
                answer.set_exception(RedisGone(reason(error)))

    def _say(self, down: str | None) -> None:
        before, self.down = self.down, down
        if before != down:
            self._changed()


def reason(error: Exception) -> str:
    """Return what is wrong with Redis, without a password."""
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return masked(f"{type(error).__name__}: {error}")


def _digest(script: str) -> str:
    """Return the name that Redis gives a script: its SHA-1."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


async def _within(seconds: float, work: Awaitable[T]) -> T:
    """Return what ``work`` returns; ``TimeoutError`` after ``seconds``."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    for _ in range(5):
        # A loop that was held up finds the end of the time together with an answer that has long
        # been there: it is not Redis that was slow.
        if task.done():
            return task.result()
        await asyncio.sleep(0)
    task.cancel()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    raise TimeoutError


async def _closed(redis: Redis) -> None:
    with suppress(Exception):
        async with asyncio.timeout(0.5):
            await redis.aclose()
