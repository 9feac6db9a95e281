"""Wrong keys: whoever tries too many of them is refused without asking the database."""

from collections.abc import Awaitable, Callable

from .key import Key
from .limits import Limiter, too_many, visitor


class Guesses:
    """Verifies keys; after ``most`` wrong ones in a minute from an address, only right ones of it.

    ``remembered`` tells whether a key was verified a moment ago, ``known`` whether any key is it;
    neither asks the database for each. A right key works whatever else comes from its address: a
    whole office may share one. ``most`` of 0 counts nothing. ``refused`` is called with
    ``wrong_keys`` for each request that is refused.
    """

    def __init__(
        self,
        verify: Callable[[str | None], Awaitable[Key | None]],
        *,
        remembered: Callable[[str], bool],
        known: Callable[[str], Awaitable[bool]],
        limiter: Limiter,
        most: int,
        refused: Callable[[str], None],
    ) -> None:
        self._verify = verify
        self._remembered = remembered
        self._known = known
        self._limiter = limiter
        self._most = most
        self._refused = refused

    async def verify(self, secret: str | None, address: str) -> Key | None:
        """Return whom ``secret`` belongs to, else ``None``; ``TooManyRequests`` after too many."""
        if secret is None or not self._most or self._remembered(secret):
            return await self._verify(secret)
        who = visitor(address)
        verdict = await self._limiter.guess(who, self._most, wrong=False)
        if verdict.refused is not None and not await self._known(secret):
            self._refused(verdict.refused)
            raise too_many(verdict)
        key = await self._verify(secret)
        if key is None:
            await self._limiter.guess(who, self._most, wrong=True)
        return key
