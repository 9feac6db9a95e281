"""Wrong keys and admin tokens: whoever tries too many is refused, without asking the database."""

from collections import Counter
from collections.abc import Awaitable, Callable

from ..errors import TooManyRequests
from .key import Key
from .limits import Limiter, Verdict, too_many, visitor


class Guesses:
    """Verifies keys; after ``most`` wrong ones in a minute from an address, only right ones of it.

    The same with tokens of the administration, which ``verify_admin`` knows without a database.

    ``remembered`` tells whether a key was verified a moment ago, ``known`` whether any key is it;
    neither asks the database for each. A right key works whatever else comes from its address: a
    whole office may share one. ``most`` of 0 counts nothing. ``refused`` is called with
    ``wrong_keys`` for each request that is refused.
    """

    def __init__(
        self,
        verify: Callable[[str | None], Awaitable[Key | None]],
        verify_admin: Callable[[str | None], Awaitable[str | None]],
        *,
        remembered: Callable[[str], bool],
        known: Callable[[str], Awaitable[bool]],
        limiter: Limiter,
        most: int,
        refused: Callable[[str], None],
    ) -> None:
        self._verify = verify
        self._verify_admin = verify_admin
        self._remembered = remembered
        self._known = known
        self._limiter = limiter
        self._most = most
        self._refused = refused
        self._looked_up: Counter[str] = Counter()  # by visitor, at this moment

    async def verify(self, secret: str | None, address: str) -> Key | None:
        """Return whom ``secret`` belongs to, else ``None``; ``TooManyRequests`` after too many."""
        if secret is None or not self._most or self._remembered(secret):
            return await self._verify(secret)
        who = visitor(address)
        verdict = await self._limiter.guess(who, self._most, wrong=False)
        # Those that are being looked up may all be wrong: a burst must not get past the limit.
        full = bool(verdict.limit) and verdict.remaining <= self._looked_up[who]
        if full and not await self._known(secret):
            raise self._too_many(verdict)
        self._looked_up[who] += 1
        try:
            key = await self._verify(secret)
            if key is None:
                await self._limiter.guess(who, self._most, wrong=True)
        finally:
            self._looked_up[who] -= 1
            if not self._looked_up[who]:
                del self._looked_up[who]
        return key

    async def verify_admin(self, token: str | None, address: str) -> str | None:
        """Return what an admin token opens, else ``None``; ``TooManyRequests`` after too many."""
        caller = await self._verify_admin(token)
        if caller is None and token is not None and self._most:
            who = visitor(address)
            verdict = await self._limiter.guess(who, self._most, wrong=False)
            if verdict.limit and not verdict.remaining:
                raise self._too_many(verdict)
            await self._limiter.guess(who, self._most, wrong=True)
        return caller

    def _too_many(self, verdict: Verdict) -> TooManyRequests:
        self._refused("wrong_keys")
        # Room is left by those that are looked up and are right, which is known in a moment.
        seconds = 1.0 if verdict.remaining else verdict.reset
        return too_many(verdict._replace(refused="wrong_keys", remaining=0, reset=seconds))
