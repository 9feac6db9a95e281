"""The certificate of HTTPS: checked before the server starts, exchanged while it runs."""

import asyncio
import logging
import math
import ssl
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ..errors import ConfigError
from . import pem

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 10.0  # with files that do not fit each other, before somebody is told
RETRY_SECONDS = 60.0
WARNING_DAYS = 14
_DAY = 24 * 60 * 60.0
_REFUSED = "the new certificate is refused and the old one stays"


class Certificate:
    """The certificate that the server shows: checked when it is made, replaced when its files are.

    ``context`` is what to listen with, for TLS 1.2 and newer. It stays the same object; each
    handshake gets the newest pair of certificate and key, and open connections keep theirs. As long
    as ``async with`` is open the files are watched, and the log is told of a certificate that
    expires.

    ``accepted`` is what another ``Certificate`` of these files has accepted: it is shown until they
    can be used. Without it, ``ConfigError`` is raised with one sentence when they cannot. A
    certificate that has expired, or is not valid yet, can: whoever connects may still look at it.
    """

    def __init__(
        self, cert_file: Path, key_file: Path, *, accepted: tuple[bytes, bytes] | None = None
    ) -> None:
        self._files = pem.Files(cert_file, key_file)
        self._lock = threading.Lock()
        self._seen = self._files.stamps()
        self._changed = time.monotonic()
        self._again = math.inf if accepted is None else self._changed
        self._told: float | None = None
        self._newest = self._files.load() if accepted is None else self._files.pair(*accepted)
        self.context = self._newest.context
        # OpenSSL calls it for clients that name no host, too. To load the new files into a context
        # in use would leave it without a key whenever they do not fit each other.
        self.context.sni_callback = self._show_newest
        self._quiet_until = 0.0
        self._watcher: asyncio.Task[None] | None = None
        if accepted is not None:
            self.look()

    async def __aenter__(self) -> Self:
        self._warn()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    @property
    def begins(self) -> datetime:
        """The moment in UTC until which browsers refuse the certificate."""
        return self._newest.begins

    @property
    def expires(self) -> datetime:
        """The moment in UTC from which on browsers refuse the certificate."""
        return self._newest.expires

    @property
    def accepted(self) -> tuple[bytes, bytes]:
        """The certificate chain and the key that are shown, in PEM."""
        return self._newest.chain, self._newest.key

    def days_left(self) -> int:
        """Return the whole days until it expires; below zero, it has expired."""
        return (self.expires - datetime.now(UTC)).days

    def due(self) -> bool:
        """Return whether it should have been renewed: in its last 14 days, or its last third.

        The later of the two counts, because some certificates live for a few days.
        """
        left = self.expires - datetime.now(UTC)
        return left.days <= WARNING_DAYS and left <= (self.expires - self.begins) / 3

    def refresh(self) -> None:
        """Look at the files now, and log what came of it.

        Reads files, so an event loop calls it in a thread. Raises nothing.
        """
        with self._lock:
            stamps = self._files.stamps()
            try:
                taken = self._take_up()
            except ConfigError as error:
                logger.error("%s: %s", _REFUSED, error)
                return
            self._seen, self._again = stamps, math.inf
            what = "a new" if taken else "still the same"
            logger.info("%s certificate is shown: %s", what, self._newest)

    def look(self, *, quiet: bool = False) -> None:
        """Take up the files if they have changed, and log what came of it unless ``quiet``.

        ``async with`` calls it every second; whoever does not open that may call it instead. It
        costs next to nothing as long as nothing changes. Files that are refused are tried again.
        """
        with self._lock:
            now, stamps = time.monotonic(), self._files.stamps()
            if stamps != self._seen:
                self._seen, self._changed, self._again, self._told = stamps, now, now, None
            if now < self._again:
                return
            try:
                taken = self._take_up()
            except ConfigError as error:
                # Two files are never replaced at one moment: only what lasts is a mistake.
                if now - self._changed < PATIENCE_SECONDS:
                    return
                # The files may be good and memory or descriptors short: no change would tell.
                self._again = now + RETRY_SECONDS
                if not quiet:
                    self._complain(error, now)
            else:
                self._again = math.inf
                if taken and not quiet:
                    logger.info("a new certificate is shown: %s", self._newest)

    def _complain(self, error: ConfigError, now: float) -> None:
        if self._told is None:
            logger.error("%s: %s", _REFUSED, error)
        elif now - self._told >= _DAY:
            logger.warning("still, %s: %s", _REFUSED, error)
        else:
            return
        self._told = now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.look)
                self._warn()
            except Exception:  # no thread to be had, or no memory
                logger.exception("the files of the certificate could not be looked at")
                await asyncio.sleep(RETRY_SECONDS)

    def _take_up(self) -> bool:
        pair = self._files.load()
        if pair.chain == self._newest.chain:
            return False
        if pair.expires <= datetime.now(UTC) < self._newest.expires:
            raise self._files.expired(pair)
        self._newest = pair
        self._quiet_until = 0.0
        return True

    def _show_newest(
        self, connection: ssl.SSLObject, host: str | None, context: ssl.SSLContext
    ) -> None:
        connection.context = self._newest.context

    def _warn(self) -> None:
        if time.monotonic() < self._quiet_until:
            return
        now, newest = datetime.now(UTC), self._newest
        if now >= newest.expires:
            logger.warning("browsers refuse the certificate, it has expired: %s; renew it", newest)
        elif now < newest.begins:
            begins = f"{newest.begins:%Y-%m-%d %H:%M} UTC"
            logger.warning("browsers refuse the certificate before %s: %s", begins, newest)
        elif self.due():
            days = self.days_left()
            logger.warning("the certificate expires (days left: %d): %s; renew it", days, newest)
        else:
            return
        self._quiet_until = time.monotonic() + _DAY
