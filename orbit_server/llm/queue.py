"""A queue towards the model: so many answers at once, the others wait and take turns."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from ..errors import ModelBusy

_FIRST_GUESS = 10.0  # seconds that an answer takes, as long as none has ended
_WEIGHT = 0.2  # of the latest answer in the average


class FairQueue:
    """At most ``at_once`` holders of a place at a time (0: any number), the others wait.

    That may also be a function, whose result may change; ``admit`` is to be called when it grew.

    A free place goes to the owner whose latest turn is longest ago, and of one owner's the first
    comes first: whoever asks a hundred times delays others by one turn, not by a hundred.
    ``length`` is how many may wait, ``timeout`` how many seconds. ``waiting`` counts those who wait
    now, ``refused`` those who were turned away since the start.
    """

    def __init__(
        self,
        at_once: int | Callable[[], int],
        *,
        length: int,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self.length, self.timeout = length, timeout
        self.taken = 0
        self.waiting = 0
        self.refused = 0
        self._clock = clock
        self._lines: dict[str, dict[asyncio.Future[None], None]] = {}
        self._turns = 0
        self._latest: dict[str, int] = {}
        self._seconds = _FIRST_GUESS

    @property
    def at_once(self) -> int:
        """How many places there are now, 0 for any number."""
        return self._at_once if isinstance(self._at_once, int) else self._at_once()

    def place(self, owner: str) -> AbstractAsyncContextManager[None]:
        """Return a place for ``owner``: entered when its turn has come, free again when left.

        Raises ``ModelBusy`` at once when too many wait already, and on entering also when it has
        waited too long. Whoever is cancelled while it waits leaves the queue.
        """
        self._check_room()
        return self._place(owner)

    @asynccontextmanager
    async def _place(self, owner: str) -> AsyncIterator[None]:
        await self._turn(owner)
        began = self._clock()
        try:
            yield
        finally:
            self._seconds += (self._clock() - began - self._seconds) * _WEIGHT
            self._release()

    async def _turn(self, owner: str) -> None:
        if self._free():
            self._take(owner)
            return
        self._check_room()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._lines.setdefault(owner, {})[turn] = None
        self.waiting += 1
        timer = loop.call_later(self.timeout, self._give_up, owner, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(owner, turn)
            elif turn.exception() is None:
                self._release()  # its turn came in the moment in which it was cancelled
            raise
        finally:
            timer.cancel()

    def _free(self) -> bool:
        at_once = self.at_once
        return not at_once or self.taken < at_once

    def _check_room(self) -> None:
        if not self._free() and self.waiting >= self.length:
            raise self._refusal(f"{self.waiting} answers are already waiting for the model")

    def _take(self, owner: str) -> None:
        self.taken += 1
        self._turns += 1
        self._latest[owner] = self._turns

    def _release(self) -> None:
        self.taken -= 1
        self.admit()
        if not self.taken:
            self._latest.clear()

    def admit(self) -> None:
        """Give the free places to those who wait."""
        while self._lines and self._free():
            owner = min(self._lines, key=lambda each: self._latest.get(each, 0))
            turn = next(iter(self._lines[owner]))
            self._leave(owner, turn)
            if not turn.done():  # else it was cancelled a moment ago
                self._take(owner)
                turn.set_result(None)

    def _give_up(self, owner: str, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._leave(owner, turn)
            turn.set_exception(
                self._refusal(f"no slot for the answer was free within {self.timeout:g} s")
            )

    def _leave(self, owner: str, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(owner, {})
        if turn in line:
            del line[turn]
            self.waiting -= 1
            if not line:
                del self._lines[owner]

    def _refusal(self, cause: str) -> ModelBusy:
        self.refused += 1
        seconds = self._seconds * (self.waiting + 1) / max(self.at_once, 1)
        return ModelBusy(cause, retry_after=math.ceil(min(max(seconds, 1), self.timeout)))
