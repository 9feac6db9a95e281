"""The certificate of HTTPS: checked before the server starts, exchanged while it runs."""

import asyncio
import logging
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .errors import ConfigError

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
PATIENCE = 10  # looks at files that do not fit, before somebody is told
WARNING_DAYS = 14
_DAY = 24 * 60 * 60.0
_CERT_FILE = "general.https.cert_file"
_KEY_FILE = "general.https.key_file"
_REFUSED = "the new certificate is refused and the old one stays"


class Certificate:
    """The certificate that the server shows: checked when it is made, replaced when its files are.

    ``context`` is what to listen with, for TLS 1.2 and newer. It stays the same object; each
    handshake gets the newest pair of certificate and key, and open connections keep theirs. As long
    as ``async with`` is open the files are watched, and the log is told of a certificate that
    expires.

    Raises ``ConfigError`` with one sentence when the files cannot be used. One that has expired, or
    is not valid yet, can: whoever connects may still look at it.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self.cert_file = cert_file
        self.key_file = key_file
        self._seen = self._stamps()
        self._patience = 0
        self._lock = threading.Lock()
        self._newest = _load(cert_file, key_file)
        self.context = self._newest.context
        # OpenSSL calls it for clients that name no host, too. To load the new files into a context
        # in use would leave it without a key whenever they do not fit each other.
        self.context.sni_callback = self._show_newest
        self._quiet_until = 0.0
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._warn()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    @property
    def expires(self) -> datetime:
        """The moment in UTC from which on browsers refuse the certificate."""
        return self._newest.expires

    def days_left(self) -> int:
        """Return the whole days until then; below zero, it has expired."""
        return (self.expires - datetime.now(UTC)).days

    def refresh(self) -> None:
        """Look at the files now, and log what came of it.

        Reads files, so an event loop calls it in a thread. Raises nothing.
        """
        with self._lock:
            stamps = self._stamps()
            try:
                taken = self._take_up()
            except ConfigError as error:
                logger.error("%s: %s", _REFUSED, error)
                return
            self._seen, self._patience = stamps, 0
            what = "a new" if taken else "still the same"
            logger.info("%s certificate is shown: %s", what, self._newest)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self._look)
            self._warn()

    def _look(self) -> None:
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen, self._patience = stamps, PATIENCE
            if self._patience == 0:
                return
            try:
                if self._take_up():
                    logger.info("a new certificate is shown: %s", self._newest)
                self._patience = 0
            except ConfigError as error:
                # Two files are never replaced at one moment: only what lasts is a mistake.
                self._patience -= 1
                if self._patience == 0:
                    logger.error("%s: %s", _REFUSED, error)

    def _take_up(self) -> bool:
        pair = _load(self.cert_file, self.key_file)
        if pair.chain == self._newest.chain:
            return False
        if pair.expires <= datetime.now(UTC) < self._newest.expires:
            raise _mistake(_CERT_FILE, self.cert_file, f"has expired ({pair}); the old one has not")
        self._newest = pair
        self._quiet_until = 0.0
        return True

    def _show_newest(
        self, connection: ssl.SSLObject, host: str | None, context: ssl.SSLContext
    ) -> None:
        connection.context = self._newest.context

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_stamp(file) for file in (self.cert_file, self.key_file))

    def _warn(self) -> None:
        if time.monotonic() < self._quiet_until:
            return
        self._quiet_until = time.monotonic() + _DAY
        now, newest = datetime.now(UTC), self._newest
        if now >= newest.expires:
            logger.warning("browsers refuse the certificate, it has expired: %s; renew it", newest)
        elif now < newest.begins:
            begins = f"{newest.begins:%Y-%m-%d %H:%M} UTC"
            logger.warning("browsers refuse the certificate before %s: %s", begins, newest)
        elif (days := self.days_left()) <= WARNING_DAYS:
            logger.warning("the certificate expires (days left: %d): %s; renew it", days, newest)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and its key, loaded into a context of their own."""

    context: ssl.SSLContext
    chain: bytes
    serial: int
    begins: datetime
    expires: datetime

    def __str__(self) -> str:
        serial = f"{self.serial:X}"
        serial = serial.zfill(len(serial) + len(serial) % 2)  # as openssl prints it
        return f"serial {serial}, valid until {self.expires:%Y-%m-%d %H:%M} UTC"


def _load(cert_file: Path, key_file: Path) -> _Pair:
    chain, key = _read(_CERT_FILE, cert_file), _read(_KEY_FILE, key_file)
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public_key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        what = "holds no PEM certificate that can be read; name the file that begins with one"
        raise _mistake(_CERT_FILE, cert_file, what) from None
    try:
        # To prove an RSA key sound takes a third of a second, and OpenSSL uses it unproven anyway.
        private_key = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        what = "is encrypted, and nobody is there to type its password; store the key without one"
        raise _mistake(_KEY_FILE, key_file, what) from None
    except (ValueError, UnsupportedAlgorithm):
        what = "holds no PEM private key that can be read; name the file that begins with one"
        raise _mistake(_KEY_FILE, key_file, what) from None
    if private_key.public_key() != public_key:
        what = f"does not belong to the certificate in {cert_file}; name the key it was made with"
        raise _mistake(_KEY_FILE, key_file, what)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # With a password, be it a wrong one, OpenSSL never asks for one on the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or "unknown reason"
        what = f"is refused by OpenSSL ({reason.lower().replace('_', ' ')}); have a new one made"
        raise _mistake(_CERT_FILE, cert_file, what) from None
    return _Pair(
        context, chain, leaf.serial_number, leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )


def _read(key: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror}; name a PEM file that the server's user may read"
        raise _mistake(key, file, what) from None


def _mistake(key: str, file: Path, what: str) -> ConfigError:
    return ConfigError([f"{key}: {file} {what}"])


def _stamp(file: Path) -> tuple[int, ...]:
    """Return what changes when ``file``, or the file that a link leads to, is replaced."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
