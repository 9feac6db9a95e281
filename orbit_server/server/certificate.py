"""The certificate of HTTPS: checked before the server starts, replaced while it runs."""

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

WARNING_DAYS = 14
_DAY = 24 * 60 * 60.0
_REFUSED = "the new certificate is refused and the old one stays"


class Certificate:
    """The certificate that the server serves: checked at the start, replaced when its files are.

    ``context`` is what to listen with, for TLS 1.2 and newer. It stays the same object; each
    handshake gets the newest pair of certificate and key, and open connections keep theirs. As long
    as ``async with`` is open the files are watched every ``poll_seconds``, and a certificate that
    expires is logged.

    ``accepted`` is what another ``Certificate`` of these files has accepted: it is used until they
    can be. Without it, ``ConfigError`` is raised with one sentence when they cannot. A certificate
    that has expired, or is not valid yet, can.

    Files that have changed and do not fit each other are a mistake after ``patience_seconds``; they
    are read again every ``retry_seconds``.
    """

    def __init__(
        self,
        cert_file: Path,
        key_file: Path,
        *,
        accepted: tuple[bytes, bytes] | None = None,
        poll_seconds: float = 1.0,
        patience_seconds: float = 10.0,
        retry_seconds: float = 60.0,
    ) -> None:
        self._files = pem.Files(cert_file, key_file)
        self._poll_seconds = poll_seconds
        self._patience_seconds = patience_seconds
        self._retry_seconds = retry_seconds
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
            self.poll()

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
        """The certificate chain and the key that are served, in PEM."""
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
        """Read the files now, and log the result.

        Reads files, so an event loop calls it in a thread. Raises nothing.
        """
        with self._lock:
            stamps = self._files.stamps()
            try:
                taken = self._read_files()
            except ConfigError as error:
                logger.error("%s: %s", _REFUSED, error)
                return
            self._seen, self._again = stamps, math.inf
            what = "now serving a new" if taken else "still serving the same"
            logger.info("%s certificate: %s", what, self._newest)

    def poll(self, *, quiet: bool = False) -> None:
        """Read the files if they have changed, and log the result unless ``quiet``.

        ``async with`` calls it by itself; it can be called instead of opening that. It costs next
        to nothing as long as nothing changes. Files that are refused are tried again.
        """
        with self._lock:
            now, stamps = time.monotonic(), self._files.stamps()
            if stamps != self._seen:
                self._seen, self._changed, self._again, self._told = stamps, now, now, None
            if now < self._again:
                return
            try:
                taken = self._read_files()
            except ConfigError as error:
                # Two files are never replaced at one moment: only what lasts is a mistake.
                if now - self._changed < self._patience_seconds:
                    return
                # The files may be good and memory or descriptors short: no change would tell.
                self._again = now + self._retry_seconds
                if not quiet:
                    self._complain(error, now)
            else:
                self._again = math.inf
                if taken and not quiet:
                    logger.info("now serving a new certificate: %s", self._newest)

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
            await asyncio.sleep(self._poll_seconds)
            try:
                await asyncio.to_thread(self.poll)
                self._warn()
            except Exception:  # no thread to be had, or no memory
                logger.exception("the files of the certificate could not be checked")
                await asyncio.sleep(self._retry_seconds)

    def _read_files(self) -> bool:
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
