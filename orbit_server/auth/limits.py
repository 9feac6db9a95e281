"""Limits: what is counted, and what becomes of a request that is past one."""

import ipaddress
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..config.schema import LimitsConfig
from ..errors import ConfigError, OriginNotAllowed, TooManyRequests
from .key import LIMITS, Key, Limits
from .origins import is_one_of, is_own_page

if TYPE_CHECKING:
    from .redis import RedisLimiter


class Verdict(NamedTuple):
    """Whether a request may go on: ``refused`` names the limit that it is past, if any.

    ``limit``, ``remaining`` and ``reset`` (seconds until more is possible) are those of the limit
    that is nearest; a ``limit`` of 0 says that none applies.
    """

    refused: str | None
    limit: int = 0
    remaining: int = 0
    reset: float = 0.0


class Use(NamedTuple):
    """One request to be counted: with which key, from whom, against which limits.

    ``used`` is how often the key was used today as far as its table knows; it counts where no
    memory reaches back as far.
    """

    key_id: str
    visitor: str
    limits: Limits
    used: int = 0


class Limiter(Protocol):
    """Counts for all processes of a server together."""

    async def take(self, use: Use) -> Verdict:
        """Count ``use`` if no limit forbids it; then ``give_back`` is called when it has ended."""
        ...

    def give_back(self, key_id: str) -> None:
        """Note that a request that was admitted has ended."""
        ...

    async def guess(self, address: str, most: int, *, wrong: bool) -> Verdict:
        """Tell whether ``address`` may try a key after ``most`` wrong ones a minute at most."""
        ...


def memory_limiter() -> Limiter:
    """Return one that counts in this process."""
    from .limiter import MemoryLimiter  # loads a large library

    return MemoryLimiter()


def redis_limiter(config: LimitsConfig, local: Limiter) -> "RedisLimiter | None":
    """Return one that counts in the Redis that is configured, and in ``local`` while it is gone.

    Raises ``ConfigError`` when the package for it is not installed.
    """
    if config.storage == "memory":
        return None
    try:
        from .redis import RedisLimiter
    except ModuleNotFoundError as error:
        raise ConfigError(
            [
                f"limits.storage: needs the package {error.name}, which is not installed:"
                " pip install 'orbit-server[redis]'"
            ]
        ) from error
    return RedisLimiter(config.storage, local=local)


class Admission:
    """Lets a request go on, or refuses it: by the sites of its key, then by the limits.

    ``defaults`` hold for what a key says nothing about. ``count`` is called with the key of each
    request that is admitted, which then goes on within ``using(key)``; ``refused`` with the reason
    of each that is not: the name of a limit, or ``origin``.
    """

    def __init__(
        self,
        defaults: LimitsConfig,
        *,
        limiter: Limiter,
        count: Callable[[Key], None],
        using: Callable[[Key], AbstractContextManager[None]],
        refused: Callable[[str], None],
    ) -> None:
        self._defaults = limits_of(defaults)
        self._limiter = limiter
        self._count = count
        self._using = using
        self._refused = refused

    async def admit(
        self, key: Key, address: str, headers: Mapping[str, str]
    ) -> tuple[Mapping[str, str], Callable[[], None]]:
        """Return headers for the response, and what to call when the request has ended.

        Raises ``OriginNotAllowed`` and ``TooManyRequests``.
        """
        if key.origins and not is_from(key.origins, headers):
            self._refused("origin")
            raise OriginNotAllowed
        limits = effective(key.limits, self._defaults)
        use = Use(key.id, visitor(address), limits, key.used_today(datetime.now(UTC)))
        verdict = await self._limiter.take(use)
        if verdict.refused is not None:
            self._refused(verdict.refused)
            raise too_many(verdict)
        ending = ExitStack()
        ending.callback(self._limiter.give_back, key.id)
        ending.enter_context(self._using(key))
        self._count(key)
        return rate_headers(verdict), ending.close


@lru_cache(maxsize=256)
def effective(limits: Limits, defaults: Limits) -> Limits:
    """Return ``limits`` with the ``defaults`` where they say nothing."""
    own = {name: getattr(limits, name) for name in LIMITS}
    return replace(defaults, **{name: n for name, n in own.items() if n is not None})


def is_limited(key: Key, defaults: LimitsConfig) -> bool:
    """Tell whether anything bounds how often ``key`` is used."""
    limits = effective(key.limits, limits_of(defaults))
    return any((limits.requests_per_minute, limits.requests_per_day, limits.visitor_per_minute))


def limits_of(defaults: LimitsConfig) -> Limits:
    """Return the limits that a section of the configuration sets."""
    return Limits(**{name: getattr(defaults, name) for name in LIMITS})


def is_from(origins: tuple[str, ...], headers: Mapping[str, str]) -> bool:
    """Tell whether a page of ``origins``, or of this server itself, has sent a request.

    Whoever is no browser may say what it likes: this keeps other sites out, not other programs.
    """
    return is_one_of(headers.get("origin", ""), origins) or is_own_page(headers)


@lru_cache(maxsize=1024)
def visitor(address: str) -> str:
    """Return what counts as one visitor: an IPv4 address, or the /64 network of an IPv6 one.

    A household or a server commonly has a whole /64, of which it can use a new address each time.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))


def too_many(verdict: Verdict) -> TooManyRequests:
    """Return the error that says which limit a request is past, and until when."""
    reason = verdict.refused or ""
    return TooManyRequests(_sentence(verdict), reason=reason, headers=rate_headers(verdict))


def rate_headers(verdict: Verdict) -> dict[str, str]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers-07, with ``Retry-After``."""
    if not verdict.limit:
        return {}
    seconds = max(1, math.ceil(verdict.reset))
    headers = {
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(seconds),
    }
    return headers if verdict.refused is None else {"Retry-After": str(seconds), **headers}


def _sentence(verdict: Verdict) -> str:
    seconds = math.ceil(verdict.reset)
    wait = f"in {seconds} seconds" if seconds > 1 else "in a moment"
    if verdict.refused == "requests_per_day":
        return "The questions of today are used up. Please try again tomorrow."
    if verdict.refused == "streams":
        return "Too many questions are being answered. Please try again in a moment."
    if verdict.refused == "wrong_keys":
        return f"Too many wrong API keys. Please try again {wait}."
    return f"Too many questions. Please try again {wait}."
