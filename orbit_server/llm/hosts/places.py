"""Places at hosts: an answer goes to a host with a free one, or waits until there is."""

import asyncio
from collections.abc import Callable

from ...errors import ModelBusy
from .host import Host

Pick = Callable[[], Host | None]


class Places:
    """Who waits for a place, first come first served; ``timeout`` seconds at most.

    Only answers wait here that have their turn in the queue already and lost their host since.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waiting: dict[asyncio.Future[Host], Pick] = {}

    async def take(self, pick: Pick) -> Host:
        """Return the host that ``pick`` chooses, with a place there that the caller must ``leave``.

        ``pick`` returns ``None`` while there is no place. Raises ``ModelBusy`` after the timeout.
        """
        host = pick()
        if host is not None:
            _enter(host)
            return host
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Host] = loop.create_future()
        self._waiting[turn] = pick
        timer = loop.call_later(self._timeout, self._give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(turn.result())  # it came in the moment in which it was cancelled
            raise
        finally:
            timer.cancel()
            self._waiting.pop(turn, None)

    def leave(self, host: Host) -> None:
        """Give back a place at ``host``."""
        host.answers -= 1
        host.running -= 1
        self.offer()

    def offer(self) -> None:
        """Give the free places to those who wait, also after hosts have changed."""
        for turn, pick in list(self._waiting.items()):
            if not turn.done() and (host := pick()) is not None:
                _enter(host)
                turn.set_result(host)

    def _give_up(self, turn: asyncio.Future[Host]) -> None:
        if not turn.done():
            turn.set_exception(ModelBusy(f"no host had a free slot within {self._timeout:g} s"))


def _enter(host: Host) -> None:
    host.answers += 1
    host.running += 1
