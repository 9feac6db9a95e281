"""The counting behind the limits for several servers: in Redis, and alone while that is gone."""

import asyncio
import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit

from ..limits import Limiter, Use, Verdict
from .link import RedisGone, RedisLink
from .scripts import GUESS, HOLD, TAKE

logger = logging.getLogger(__name__)

_PREFIX = "orbit:"
_AT_ONCE = 500  # slots in one command


class RedisLimiter:
    """Counts in the Redis at ``url`` for all servers that name it, each request in one step there.

    When an answer takes over ``seconds``, and until Redis can be used again, which is tried every
    ``retry_seconds``, ``local`` counts: nobody is locked out, and no request waits for an attempt.
    A slot ends ``lease_seconds`` after its server was last heard of, which is every
    ``beat_seconds``. ``clock`` tells the seconds since 1970 instead of Redis. Runs in ``async
    with``, which a Redis that is gone does not hold up.
    """

    def __init__(
        self,
        url: str,
        *,
        local: Limiter,
        seconds: float = 0.05,
        retry_seconds: float = 1.0,
        lease_seconds: float = 15.0,
        beat_seconds: float = 5.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._local = local
        self._retry_seconds = retry_seconds
        self._lease = round(lease_seconds * 1e6)
        self._beat_seconds = beat_seconds
        self._clock = clock
        self.where = urlsplit(url).netloc.rpartition("@")[2]
        self._counted = False
        probe = ("SET", f"{_PREFIX}probe", 1, "PX", 10_000)
        self._link = RedisLink(
            url, scripts=(TAKE, GUESS, HOLD), test=probe, seconds=seconds, changed=self._say
        )
        self._server = secrets.token_hex(6)
        self._numbers = count()
        # By key: what it has taken in Redis, or would have, and what ``local`` has counted.
        self._slots: dict[str, list[str]] = {}
        self._taken_alone: Counter[str] = Counter()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._link.connect()
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *exc: object) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait({keeping})
        for key in list(self._slots):
            while key in self._slots:
                self._free(key)
        await self._link.close()

    @property
    def down(self) -> str | None:
        """Why Redis is not used, ``None`` while it is."""
        return self._link.down

    async def health(self) -> Mapping[str, Any]:
        """Return the health of the component: it is never an error, since somebody counts."""
        return {"status": "ok" if self.down is None else "unavailable"}

    async def take(self, use: Use) -> Verdict:
        """Count ``use`` if no limit forbids it; then ``give_back`` is called when it has ended."""
        limits, key = use.limits, use.key_id
        per = (
            limits.visitor_per_minute or 0,
            limits.requests_per_minute or 0,
            limits.requests_per_day or 0,
            limits.streams or 0,
        )
        if not any(per):
            return Verdict(None)
        tag = _digest(key)
        names = (f"minute:{_digest(use.visitor)}", "minute", "day", "streams")
        keys = [f"{_PREFIX}{{{tag}}}:{name}" for name in names]
        slot = f"{self._server}:{next(self._numbers)}"
        try:
            verdict = _verdict(
                await self._link.run(TAKE, keys, self._now(), *per, use.used, slot, self._lease)
            )
        except RedisGone:
            verdict = await self._local.take(use)
            if verdict.refused is None:
                self._taken_alone[key] += 1
        except BaseException:
            self._link.tell("ZREM", keys[-1], slot)  # behind what may have taken it
            raise
        if verdict.refused is None and limits.streams:
            # Also what was admitted without Redis: it will count there as soon as there is one.
            self._slots.setdefault(key, []).append(slot)
        return verdict

    def give_back(self, key_id: str) -> None:
        """Note that a request that was admitted has ended."""
        # Slots of a key are all alike: it does not matter which of them ends.
        if key_id in self._slots:
            self._free(key_id)
        if self._taken_alone[key_id]:
            self._taken_alone[key_id] -= 1
            self._local.give_back(key_id)
        else:
            del self._taken_alone[key_id]

    async def guess(self, address: str, most: int, *, wrong: bool) -> Verdict:
        """Tell whether ``address`` may try a key after ``most`` wrong ones a minute at most."""
        key = f"{_PREFIX}wrong:{_digest(address)}"
        try:
            return _verdict(await self._link.run(GUESS, [key], self._now(), most, int(wrong)))
        except RedisGone:
            return await self._local.guess(address, most, wrong=wrong)

    async def _keep(self) -> None:
        """Keep the slots alive, and the connection."""
        while True:
            if self._link.down is not None:
                await self._link.connect()
            if self._link.down is not None:
                await asyncio.sleep(self._retry_seconds)
                continue
            try:
                await self._hold()
                async with asyncio.timeout(self._beat_seconds):
                    await self._link.lost.wait()
            except (RedisGone, TimeoutError):
                continue

    async def _hold(self) -> None:
        await self._link.call("PING")
        for key, slots in list(self._slots.items()):
            for begin in range(0, len(slots), _AT_ONCE):
                some = slots[begin : begin + _AT_ONCE]
                await self._link.run(HOLD, [_slots_of(key)], self._now(), self._lease, *some)

    def _free(self, key: str) -> None:
        slots = self._slots[key]
        self._link.tell("ZREM", _slots_of(key), slots.pop())
        if not slots:
            del self._slots[key]

    def _now(self) -> str:
        return "" if self._clock is None else str(round(self._clock() * 1e6))

    def _say(self) -> None:
        if self._link.down is not None:
            logger.error(
                "this process counts limits on its own: Redis at %s: %s",
                self.where,
                self._link.down,
            )
        elif self._counted:
            logger.warning("limits are counted in Redis again")
        else:
            self._counted = True
            logger.info("limits are counted in Redis at %s", self.where)


def _verdict(reply: Any) -> Verdict:
    """Return what a script has decided; ``RedisGone`` for what no script of ours returns."""
    match reply:
        case [bytes(refused), int(limit), int(remaining), int(reset)]:
            return Verdict(refused.decode() or None, limit, remaining, reset / 1e6)
    raise RedisGone("it does not answer like Redis")


def _slots_of(key: str) -> str:
    return f"{_PREFIX}{{{_digest(key)}}}:streams"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
