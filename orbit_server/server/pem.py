"""A certificate and its key in PEM, read from two files and checked before they are served."""

import errno
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..config.files import NotAFile, TooLarge, read_file
from ..errors import ConfigError

LARGEST = 64 * 1024  # what a pipe holds; chains have a tenth of it
_CERT_FILE = "general.https.cert_file"
_KEY_FILE = "general.https.key_file"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM and loaded into a context of their own."""

    context: ssl.SSLContext
    chain: bytes
    key: bytes = field(repr=False)
    serial: int
    begins: datetime
    expires: datetime

    def __str__(self) -> str:
        serial = f"{self.serial:X}"
        serial = serial.zfill(len(serial) + len(serial) % 2)  # as openssl prints it
        return f"serial {serial}, valid until {self.expires:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Files:
    """Where a pair lies: ``general.https.cert_file`` and ``general.https.key_file``.

    What cannot be used is a ``ConfigError`` with one sentence that names the setting and the file.
    """

    cert: Path
    key: Path

    def stamps(self) -> tuple[tuple[int, ...], ...]:
        """Return what changes when a file, or the one that a link leads to, is replaced."""
        return tuple(_stamp(file) for file in (self.cert, self.key))

    def load(self) -> Pair:
        """Return the pair that lies there now."""
        return self.pair(_read(_CERT_FILE, self.cert), _read(_KEY_FILE, self.key))

    def pair(self, chain: bytes, key: bytes) -> Pair:
        """Return the pair of ``chain`` and ``key``, PEM that was read there."""
        leaf = _leaf(chain, self.cert)
        try:
            # To prove an RSA key sound takes a third of a second; OpenSSL uses it unproven anyway.
            private_key = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        except TypeError:
            what = "is encrypted, and the server cannot ask for its password"
            raise _mistake(_KEY_FILE, self.key, f"{what}; store the key without one") from None
        except (ValueError, UnsupportedAlgorithm):
            what = "holds no PEM private key that can be read; name the file that begins with one"
            raise _mistake(_KEY_FILE, self.key, what) from None
        if private_key.public_key() != leaf.public_key():
            what = f"does not belong to the certificate in {self.cert}"
            raise _mistake(_KEY_FILE, self.key, f"{what}; name the key it was made with")
        context = self._context(chain, key)
        begins, expires = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        return Pair(context, chain, key, leaf.serial_number, begins, expires)

    def expired(self, pair: Pair) -> ConfigError:
        """Return what is wrong with ``pair`` where the one before it is still valid."""
        return _mistake(_CERT_FILE, self.cert, f"has expired ({pair}); the old one has not")

    def _context(self, chain: bytes, key: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Not the files themselves: they may have been replaced since they were checked.
            with _to_be_opened(chain) as chain_path, _to_be_opened(key) as key_path:
                # With a password, be it a wrong one, OpenSSL never asks for one on the terminal.
                context.load_cert_chain(chain_path, key_path, password="")
        except ssl.SSLError as error:
            reason = (error.reason or "unknown reason").lower().replace("_", " ")
            what = f"is refused by OpenSSL ({reason}); get a new one"
            raise _mistake(_CERT_FILE, self.cert, what) from None
        except OSError as error:
            what = f"cannot be handed to OpenSSL: {error.strerror}; check the memory and open files"
            raise _mistake(_CERT_FILE, self.cert, what) from None
        return context


def _leaf(chain: bytes, cert_file: Path) -> x509.Certificate:
    try:
        # The server's own comes first in the file, those that vouch for it behind.
        leaf = x509.load_pem_x509_certificates(chain)[0]
        leaf.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        what = "holds no PEM certificate that can be read; name the file that begins with one"
        raise _mistake(_CERT_FILE, cert_file, what) from None
    return leaf


def _read(key: str, file: Path) -> bytes:
    try:
        return read_file(file, limit=LARGEST)
    except NotAFile:
        what = "is not a regular file"
    except TooLarge:
        what = f"is larger than {LARGEST // 1024} KiB"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    raise _mistake(key, file, f"{what}; name a PEM file that the server's user may read")


@contextmanager
def _to_be_opened(content: bytes) -> Iterator[str]:
    """Yield a path that can be opened and read once: OpenSSL takes PEM from files alone."""
    reading, writing = os.pipe()
    try:
        try:
            os.set_blocking(writing, False)
            if os.write(writing, content) < len(content):
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        finally:
            os.close(writing)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


def _mistake(key: str, file: Path, what: str) -> ConfigError:
    return ConfigError([f"{key}: {file} {what}"])


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
