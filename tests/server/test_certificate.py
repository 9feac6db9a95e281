"""HTTPS: which certificates are taken, which clients, and what happens when one is renewed."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from orbit_server.app import create_app
from orbit_server.errors import ConfigError
from orbit_server.server import pem
from orbit_server.server.certificate import Certificate
from orbit_server.services import Services

from ..support.certificates import Authority, PrivateKey
from ..support.chat_server import PAIRS, ChatServer, Reply
from ..support.ollama_standin import OllamaStandIn
from ..support.ports import free_port
from ..support.program import START_SECONDS, configure, start
from ..support.server import ADMIN_TOKEN, Running, configuration, lexical, running, serving
from ..support.timing import until as until_within

pytestmark = [pytest.mark.anyio, pytest.mark.process]


AUTHORITY = Authority()
RSA = rsa.generate_private_key(65537, 2048)
DAY = timedelta(days=1)

both_loops = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


@dataclass(frozen=True)
class Files:
    """The two files of a certificate in a folder of their own."""

    folder: Path
    timing: dict[str, Any] = field(default_factory=dict)

    @property
    def cert(self) -> Path:
        return self.folder / "fullchain.pem"

    @property
    def key(self) -> Path:
        return self.folder / "privkey.pem"

    def certificate(self) -> Certificate:
        """Return what a server makes of the files."""
        return Certificate(self.cert, self.key, **self.timing)

    def refusal(self) -> str:
        """Return the sentence with which a server refuses the files."""
        with pytest.raises(ConfigError) as refused:
            self.certificate()
        (sentence,) = refused.value.mistakes
        assert "\n" not in sentence
        return sentence.replace(f"{self.folder}/", "")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate with the serial number 1, and its key."""
    found = Files(tmp_path)
    AUTHORITY.issue(1).write(found.cert, found.key)
    return found


@pytest.fixture
def looks(files: Files, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Poll the files twenty times a second; how often that was done so far."""
    count = 0
    poll = Certificate.poll

    def counted(certificate: Certificate) -> None:
        nonlocal count
        poll(certificate)
        count += 1

    files.timing.update(poll_seconds=0.05, patience_seconds=0.5, retry_seconds=0.1)
    monkeypatch.setattr(Certificate, "poll", counted)
    return lambda: count


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the module has logged so far, a level and a sentence each."""
    caplog.set_level(logging.INFO, "orbit_server.server.certificate")
    return lambda: [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name == "orbit_server.server.certificate"
    ]


until = partial(until_within, timeout=60)


@asynccontextmanager
async def listening(certificate: Certificate) -> AsyncIterator[int]:
    """Shake hands on a loopback port and close."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def trusting() -> ssl.SSLContext:
    """Return a client that wants to see any certificate, whatever it is worth."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return client


def shake(port: int, client: ssl.SSLContext, host: str | None) -> tuple[int, str | None, str]:
    """Return the serial number that is shown, the version of TLS, and the protocol agreed on."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        client.wrap_socket(raw, server_hostname=host) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        serial = x509.load_der_x509_certificate(shown).serial_number
        return serial, connection.version(), str(connection.selected_alpn_protocol())


async def shown(
    port: int, client: ssl.SSLContext | None = None, *, host: str | None = "localhost"
) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    serial, _, _ = await asyncio.to_thread(shake, port, client or trusting(), host)
    return serial


# -- what clients get -------------------------------------------------------------------------


@both_loops
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "elsewhere.example", None])
async def test_every_handshake_gets_the_newest(
    files: Files, version: ssl.TLSVersion, host: str | None
) -> None:
    """With a name, a wrong one or none, in both versions, also where the kind of key changes."""
    client = trusting()
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["h2", "http/1.1"])
    certificate = files.certificate()
    async with listening(certificate) as port:

        async def handshake() -> tuple[int, str | None, str]:
            return await asyncio.to_thread(shake, port, client, host)

        called = version.name.replace("_", ".")
        assert await handshake() == (1, called, "http/1.1")
        context = certificate.context
        for issued in (AUTHORITY.issue(2, key=RSA), AUTHORITY.issue(3)):
            issued.write(files.cert, files.key)
            certificate.refresh()
            assert await handshake() == (issued.certificate.serial_number, called, "http/1.1")
        assert certificate.context is context


async def test_a_client_that_checks(files: Files) -> None:
    """Who trusts the authority is content with the first certificate and with the next."""
    certificate = files.certificate()
    async with listening(certificate) as port:
        assert await shown(port, AUTHORITY.client()) == 1
        AUTHORITY.issue(2).write(files.cert, files.key)
        certificate.refresh()
        assert await shown(port, AUTHORITY.client(), host="127.0.0.1") == 2
        with pytest.raises(ssl.SSLCertVerificationError):
            await shown(port, ssl.create_default_context())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
async def test_old_versions_are_refused(files: Files) -> None:
    """TLS 1.1 gets no connection, and for no other reason than that it is too old."""
    weak, old = "ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1
    client = trusting()
    client.set_ciphers(weak)
    client.minimum_version = client.maximum_version = old
    certificate = files.certificate()
    certificate.context.set_ciphers(weak)
    async with listening(certificate) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shown(port, client)
        certificate.context.minimum_version = old
        assert await shown(port, client) == 1


async def test_a_session_goes_on_after_a_renewal(files: Files) -> None:
    """A client that comes back with a session from before is served, whatever it is shown."""
    certificate = files.certificate()
    client = trusting()
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    async with listening(certificate) as port:

        def connect(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
                client.wrap_socket(raw, server_hostname="localhost", session=session) as connection,
            ):
                return connection.session

        session = await asyncio.to_thread(connect, None)
        AUTHORITY.issue(2).write(files.cert, files.key)
        certificate.refresh()
        assert await asyncio.to_thread(connect, session)


# -- the start --------------------------------------------------------------------------------


def link_to_itself(files: Files) -> None:
    files.key.unlink()
    files.key.symlink_to(files.key)


def folder_for(path: Callable[[Files], Path]) -> Callable[[Files], None]:
    def replace(files: Files) -> None:
        path(files).unlink()
        path(files).mkdir()

    return replace


def encrypt(files: Files) -> None:
    files.key.write_bytes(AUTHORITY.issue(1).key_pem(b"password"))


def encrypt_the_old_way(files: Files) -> None:
    files.key.write_text(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        "DEK-Info: AES-256-CBC,00000000000000000000000000000000\n\nAAAA\n"
        "-----END RSA PRIVATE KEY-----\n"
    )


def another_key(files: Files) -> None:
    files.key.write_bytes(AUTHORITY.issue(2).key_pem())


def another_kind_of_key(files: Files) -> None:
    files.key.write_bytes(AUTHORITY.issue(2, key=RSA).key_pem())


def halve(path: Callable[[Files], Path]) -> Callable[[Files], None]:
    def cut(files: Files) -> None:
        data = path(files).read_bytes()
        path(files).write_bytes(data[: len(data) // 2])

    return cut


def fill(path: Callable[[Files], Path]) -> Callable[[Files], None]:
    def grow(files: Files) -> None:
        path(files).write_bytes(path(files).read_bytes().ljust(pem.LARGEST + 1, b"\n"))

    return grow


def pipe_for(path: Callable[[Files], Path]) -> Callable[[Files], None]:
    def replace(files: Files) -> None:
        path(files).unlink()
        os.mkfifo(path(files))

    return replace


def device(files: Files) -> None:
    files.key.unlink()
    files.key.symlink_to("/dev/zero")


def weak_key(files: Files) -> None:
    key = rsa.generate_private_key(65537, 1024)
    AUTHORITY.issue(1, key=key).write(files.cert, files.key)


CERT, KEY = "general.https.cert_file: fullchain.pem ", "general.https.key_file: privkey.pem "
NAMED = "; name a PEM file that the server's user may read"
NO_CERTIFICATE = "holds no PEM certificate that can be read"
NO_KEY = "holds no PEM private key that can be read"
REFUSALS: list[tuple[Callable[[Files], object], str]] = [
    (lambda files: files.cert.unlink(), f"{CERT}cannot be read: No such file or directory{NAMED}"),
    (lambda files: files.key.unlink(), f"{KEY}cannot be read: No such file or directory{NAMED}"),
    (folder_for(lambda files: files.cert), f"{CERT}cannot be read: Is a directory{NAMED}"),
    (folder_for(lambda files: files.key), f"{KEY}cannot be read: Is a directory{NAMED}"),
    (pipe_for(lambda files: files.cert), f"{CERT}is not a regular file{NAMED}"),
    (pipe_for(lambda files: files.key), f"{KEY}is not a regular file{NAMED}"),
    (device, f"{KEY}is not a regular file{NAMED}"),
    (fill(lambda files: files.cert), f"{CERT}is larger than 64 KiB{NAMED}"),
    (fill(lambda files: files.key), f"{KEY}is larger than 64 KiB{NAMED}"),
    (link_to_itself, f"{KEY}cannot be read: Too many levels of symbolic links{NAMED}"),
    (lambda files: files.cert.write_bytes(b""), f"{CERT}{NO_CERTIFICATE}"),
    (lambda files: files.cert.write_bytes(b"\0\xff" * 99), f"{CERT}{NO_CERTIFICATE}"),
    (lambda files: shutil.copy(files.key, files.cert), f"{CERT}{NO_CERTIFICATE}"),
    (halve(lambda files: files.cert), f"{CERT}{NO_CERTIFICATE}"),
    (lambda files: files.key.write_bytes(b"nothing"), f"{KEY}{NO_KEY}"),
    (lambda files: shutil.copy(files.cert, files.key), f"{KEY}{NO_KEY}"),
    (halve(lambda files: files.key), f"{KEY}{NO_KEY}"),
    (encrypt, f"{KEY}is encrypted"),
    (encrypt_the_old_way, f"{KEY}is encrypted"),
    (another_key, f"{KEY}does not belong to the certificate in fullchain.pem"),
    (another_kind_of_key, f"{KEY}does not belong to the certificate in fullchain.pem"),
    (weak_key, f"{CERT}is refused by OpenSSL (ee key too small); get a new one"),
]


@pytest.mark.parametrize(("spoil", "sentence"), REFUSALS, ids=[said for _, said in REFUSALS])
def test_refused_at_the_start(
    files: Files, spoil: Callable[[Files], object], sentence: str
) -> None:
    """One sentence says which key, which file, what is wrong and what to do."""
    spoil(files)
    refusal = files.refusal()
    assert refusal.startswith(sentence)
    assert "; " in refusal


def test_a_file_that_may_not_be_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names it. The tests may run as root, whom no permission stops."""
    opened = os.open

    def refused(path: str, flags: int) -> int:
        if Path(path) == files.key:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags)

    monkeypatch.setattr(os, "open", refused)
    assert files.refusal() == f"{KEY}cannot be read: Permission denied{NAMED}"


def descriptors() -> int:
    """Return how many files and sockets are open."""
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("key", [RSA, None], ids=["rsa", "ec"])
async def test_what_was_checked_is_shown(
    files: Files, key: PrivateKey | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are replaced in between change nothing, and no descriptor stays open."""
    issued = AUTHORITY.issue(5, key=key)
    issued.write(files.cert, files.key)
    load = serialization.load_pem_private_key

    def replaced(*arguments: Any, **more: Any) -> Any:
        AUTHORITY.issue(6).write(files.cert, files.key)
        return load(*arguments, **more)

    monkeypatch.setattr(pem, "load_pem_private_key", replaced)
    before = descriptors()
    certificate = files.certificate()
    assert descriptors() == before
    assert certificate.accepted == (issued.chain, issued.key_pem())
    async with listening(certificate) as port:
        assert await shown(port) == 5


@pytest.mark.parametrize("key", [RSA, None], ids=["rsa", "ec"])
async def test_the_chain_is_shown(files: Files, key: PrivateKey | None) -> None:
    """A client that trusts the root alone is content, however long the file is."""
    between = Authority(AUTHORITY)
    issued = between.issue(5, key=key)
    files.key.write_bytes(issued.key_pem())
    files.cert.write_bytes((issued.chain + between.pem).ljust(pem.LARGEST, b"\n"))
    async with listening(files.certificate()) as port:
        assert await shown(port, AUTHORITY.client()) == 5
    files.cert.write_bytes(issued.chain)
    async with listening(files.certificate()) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await shown(port, AUTHORITY.client())


@pytest.mark.parametrize("key", [RSA, None], ids=["rsa", "ec"])
def test_one_file_for_both(files: Files, key: PrivateKey | None) -> None:
    """Certificate and key may stand in one file, in either order."""
    issued = AUTHORITY.issue(7, key=key)
    for parts in ([issued.chain, issued.key_pem()], [issued.key_pem(), issued.chain]):
        files.cert.write_bytes(b"".join(parts))
        certificate = Certificate(files.cert, files.cert)
        assert certificate.expires == issued.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("begin", "end", "days", "said"),
    [
        (-90 * DAY, 15.5 * DAY, 15, None),
        (-90 * DAY, 14.5 * DAY, 14, "the certificate expires (days left: 14): serial 0A, valid"),
        (-1.5 * DAY, 4.5 * DAY, 4, None),
        (-4.1 * DAY, 1.9 * DAY, 1, "the certificate expires (days left: 1): serial 0A, valid"),
        (-20 * DAY, 10.5 * DAY, 10, None),
        (-21 * DAY, 9.5 * DAY, 9, "the certificate expires (days left: 9): serial 0A, valid"),
        (-90 * DAY, 0.5 * DAY, 0, "the certificate expires (days left: 0): serial 0A, valid"),
        (-90 * DAY, -0.5 * DAY, -1, "browsers refuse the certificate, it has expired: serial 0A"),
        (1 * DAY, 90.5 * DAY, 90, "browsers refuse the certificate before "),
    ],
)
async def test_validity(
    files: Files,
    log: Callable[[], list[str]],
    begin: timedelta,
    end: timedelta,
    days: int,
    said: str | None,
) -> None:
    """Two weeks before the end, or in its last third, and after it, the log says so.

    The certificate is served.
    """
    AUTHORITY.issue(10, begin=begin, end=end).write(files.cert, files.key)
    certificate = files.certificate()
    assert certificate.days_left() == days
    async with certificate, listening(certificate) as port:
        assert await shown(port) == 10
    assert [line.startswith(f"WARNING {said}") for line in log()] == ([True] if said else [])


async def test_the_warning_comes_once_a_day(
    files: Files,
    looks: Callable[[], int],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at each look, but again on the next day, and when a new one is as short."""
    now = 1000.0
    monkeypatch.setattr(
        "orbit_server.server.certificate.time", SimpleNamespace(monotonic=lambda: now)
    )
    AUTHORITY.issue(10, begin=-90 * DAY, end=3.5 * DAY).write(files.cert, files.key)
    async with files.certificate():
        await until(lambda: looks() > 3)
        assert len(log()) == 1
        now += DAY.total_seconds()
        await until(lambda: len(log()) > 1)
        assert log()[0] == log()[1]
        AUTHORITY.issue(11, begin=-90 * DAY, end=2.5 * DAY).write(files.cert, files.key)
        await until(lambda: len(log()) > 3)
        assert [line.split()[0] for line in log()] == ["WARNING", "WARNING", "INFO", "WARNING"]


# -- renewal ----------------------------------------------------------------------------------


async def test_renewal_is_noticed(
    files: Files, looks: Callable[[], int], log: Callable[[], list[str]]
) -> None:
    """New files are taken up by themselves, with one line in the log."""
    async with files.certificate() as certificate, listening(certificate) as port:
        AUTHORITY.issue(0xABC).write(files.cert, files.key)
        await until(log)
        assert await shown(port) == 0xABC
    expires = f"{certificate.expires:%Y-%m-%d %H:%M} UTC"
    assert log() == [f"INFO now serving a new certificate: serial 0ABC, valid until {expires}"]


async def test_links_are_swapped_one_by_one(
    files: Files,
    looks: Callable[[], int],
    log: Callable[[], list[str]],
) -> None:
    """As certbot renews: what does not fit for a moment is neither shown nor complained about."""
    files.timing["patience_seconds"] = 1000
    archive = files.folder / "archive"
    archive.mkdir()
    versions = [AUTHORITY.issue(number) for number in (1, 2, 3)]
    for number, issued in enumerate(versions, 1):
        issued.write(archive / f"fullchain{number}.pem", archive / f"privkey{number}.pem")

    def link(file: Path, number: int) -> None:
        file.unlink()
        file.symlink_to(Path("archive") / f"{file.stem}{number}.pem")

    link(files.cert, 1)
    link(files.key, 1)
    async with files.certificate() as certificate, listening(certificate) as port:
        for number, order in ((2, (files.cert, files.key)), (3, (files.key, files.cert))):
            link(order[0], number)
            before = looks()
            await until(lambda: looks() > before + 1)  # noqa: B023
            assert await shown(port) == number - 1
            link(order[1], number)
            await until(lambda: len(log()) == number - 1)  # noqa: B023
            assert await shown(port) == number
    assert all(line.startswith("INFO now serving a new certificate: ") for line in log())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (another_key, "general.https.key_file: "),
        (halve(lambda files: files.cert), "general.https.cert_file: "),
        (lambda files: files.key.unlink(), "general.https.key_file: "),
    ],
    ids=["mismatch", "half-written", "gone"],
)
async def test_a_bad_pair_leaves_the_old_one(
    files: Files,
    looks: Callable[[], int],
    log: Callable[[], list[str]],
    spoil: Callable[[Files], object],
    said: str,
) -> None:
    """The old one goes on, the log says so once, and the next change is looked at again."""
    async with files.certificate() as certificate, listening(certificate) as port:
        spoil(files)
        await until(log)
        assert await shown(port) == 1
        told = looks()
        await until(lambda: looks() > told + 10)
        (line,) = log()
        assert line.startswith(
            f"ERROR the new certificate is refused and the old one stays: {said}"
        )
        AUTHORITY.issue(2).write(files.cert, files.key)
        await until(lambda: len(log()) == 2)
        assert await shown(port) == 2


async def test_what_was_short_for_a_while(
    files: Files,
    looks: Callable[[], int],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Good files that could not be read, even for long, are taken up without a change of them."""

    def short() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    async with files.certificate() as certificate, listening(certificate) as port:
        with monkeypatch.context() as shortage:
            shortage.setattr(os, "pipe", short)
            AUTHORITY.issue(2).write(files.cert, files.key)
            await until(log)
        assert "cannot be handed to OpenSSL: Too many open files; " in log()[0]
        await until(lambda: len(log()) > 1)
        assert await shown(port) == 2
    assert [line.split()[0] for line in log()] == ["ERROR", "INFO"]


async def test_the_watcher_survives(
    files: Files,
    looks: Callable[[], int],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a look raises, the next one is made."""

    def short(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    async with files.certificate() as certificate, listening(certificate) as port:
        with monkeypatch.context() as shortage:
            shortage.setattr(Certificate, "poll", short)
            await until(log)
        AUTHORITY.issue(2).write(files.cert, files.key)
        await until(lambda: log()[-1].startswith("INFO now serving a new certificate"))
        assert await shown(port) == 2


def test_a_refused_pair_is_told_once_a_day(
    files: Files, log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error when it has lain there for a while, a warning each day, and nothing in between."""
    now = 1000.0
    monkeypatch.setattr(
        "orbit_server.server.certificate.time", SimpleNamespace(monotonic=lambda: now)
    )
    certificate = files.certificate()
    another_key(files)
    for _ in range(3 * 24 * 60):
        certificate.poll()
        now += 60.0
    assert [line.partition(":")[0] for line in log()] == [
        "ERROR the new certificate is refused and the old one stays",
        "WARNING still, the new certificate is refused and the old one stays",
        "WARNING still, the new certificate is refused and the old one stays",
    ]


def test_a_process_that_only_looks(
    files: Files, log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a loop it has the newest pair that is good, and can be quiet about it."""
    now = 1000.0
    monkeypatch.setattr(
        "orbit_server.server.certificate.time", SimpleNamespace(monotonic=lambda: now)
    )
    certificate = files.certificate()
    first = certificate.accepted
    assert first == (files.cert.read_bytes(), files.key.read_bytes())
    for spoiled in (another_key, halve(lambda files: files.cert)):
        spoiled(files)
        for _ in range(20):
            certificate.poll(quiet=True)
            now += 1.0
        assert certificate.accepted == first
    issued = AUTHORITY.issue(2)
    issued.write(files.cert, files.key)
    certificate.poll(quiet=True)
    assert certificate.accepted == (issued.chain, issued.key_pem())
    assert log() == []


@pytest.mark.parametrize(
    "spoil",
    [another_key, halve(lambda files: files.cert), lambda files: files.key.unlink(), weak_key],
    ids=["mismatch", "half-written", "gone", "weak"],
)
async def test_a_later_process_starts_with_the_accepted_pair(
    files: Files,
    looks: Callable[[], int],
    log: Callable[[], list[str]],
    spoil: Callable[[Files], object],
) -> None:
    """It complains of the files once, as one does that runs, and takes up what is good again."""
    accepted = files.certificate().accepted
    spoil(files)
    files.refusal()
    certificate = Certificate(files.cert, files.key, accepted=accepted)
    assert certificate.accepted == accepted
    assert log() == []
    async with certificate, listening(certificate) as port:
        assert await shown(port) == 1
        await until(log)
        told = looks()
        await until(lambda: looks() > told + 10)
        assert len(log()) == 1
        assert log()[0].startswith("ERROR the new certificate is refused and the old one stays: ")
        assert await shown(port) == 1
        AUTHORITY.issue(2).write(files.cert, files.key)
        await until(lambda: len(log()) == 2)
        assert await shown(port) == 2
    assert log()[1].startswith("INFO now serving a new certificate: serial 02, ")


async def test_a_later_process_prefers_the_files(
    files: Files, log: Callable[[], list[str]]
) -> None:
    """Where they are good they are shown at once, also when they are newer."""
    accepted = files.certificate().accepted
    assert Certificate(files.cert, files.key, accepted=accepted).accepted == accepted
    assert log() == []
    AUTHORITY.issue(2).write(files.cert, files.key)
    certificate = Certificate(files.cert, files.key, accepted=accepted)
    assert [line.split(":")[0] for line in log()] == ["INFO now serving a new certificate"]
    async with listening(certificate) as port:
        assert await shown(port) == 2


async def test_a_new_pair_that_has_expired(
    files: Files, looks: Callable[[], int], log: Callable[[], list[str]]
) -> None:
    """It is refused while the old one is valid, and taken where that has expired as well."""
    certificate = files.certificate()
    AUTHORITY.issue(2, begin=-9 * DAY, end=-1 * DAY).write(files.cert, files.key)
    async with certificate, listening(certificate) as port:
        certificate.refresh()
        assert "has expired" in log()[-1]
        assert await shown(port) == 1
    certificate = files.certificate()
    AUTHORITY.issue(3, begin=-9 * DAY, end=-1 * DAY).write(files.cert, files.key)
    certificate.refresh()
    assert log()[-1].startswith("INFO now serving a new certificate: serial 03, ")


async def test_refresh(files: Files, log: Callable[[], list[str]]) -> None:
    """Asked to look, it says what came of it, and nothing is said a second time."""
    certificate = files.certificate()
    until_then = f"valid until {datetime.now(UTC) + 90 * DAY:%Y-%m-%d}"
    certificate.refresh()
    another_key(files)
    certificate.refresh()
    AUTHORITY.issue(2).write(files.cert, files.key)
    certificate.refresh()
    certificate.poll()
    same, refused, new = log()
    assert same.startswith(f"INFO still serving the same certificate: serial 01, {until_then}")
    assert refused.startswith("ERROR the new certificate is refused and the old one stays: general")
    assert new.startswith(f"INFO now serving a new certificate: serial 02, {until_then}")


# -- the whole server -------------------------------------------------------------------------


@asynccontextmanager
async def secure_town(folder: Path, certificate: Certificate) -> AsyncIterator[ChatServer]:
    """Run a chat server with HTTPS, and an Ollama, and a client that trusts the authority."""
    async with OllamaStandIn() as ollama:
        config = configuration(folder, ollama__base_url=ollama.url, ollama__concurrency=0)
        async with (
            Services(config, certificate=certificate) as services,
            serving(
                create_app(services=services),
                ssl_context_factory=lambda config, default: certificate.context,
            ) as url,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=AUTHORITY.client())
            ) as http,
        ):
            server = Running(url.replace("http:", "https:"), services, folder / "logs")
            await server.pairs("town", PAIRS)
            yield ChatServer(server, ollama, http, await server.key("town"), set())


async def renewed(port: int, serial: int) -> None:
    """Return once a new connection is shown the certificate with that number."""
    async with asyncio.timeout(60):
        while await shown(port) != serial:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@both_loops
async def test_renewal_under_open_streams(
    files: Files, tmp_path: Path, looks: Callable[[], int]
) -> None:
    """Fifty streams are open while the certificate is renewed twice; none of them notices."""
    async with secure_town(tmp_path, files.certificate()) as town:
        pieces = [f"{number} " for number in range(150)]
        town.ollama.reply, town.ollama.piece_delay = pieces, 0.04
        port = int(town.server.url.rpartition(":")[2])

        async def stream() -> Reply:
            async with town.asking() as response:
                head.release()
                return Reply(response.status, response.headers, await response.read())

        head = asyncio.Semaphore(0)
        streams = [asyncio.create_task(stream()) for _ in range(50)]
        async with asyncio.timeout(120):
            for _ in streams:
                await head.acquire()
            for serial in (2, 3):
                AUTHORITY.issue(serial).write(files.cert, files.key)
                await renewed(port, serial)
            assert not any(task.done() for task in streams)
            replies = await asyncio.gather(*streams)
        assert {reply.text for reply in replies} == {"".join(pieces)}
        assert {reply.last["finish_reason"] for reply in replies} == {"stop"}


async def test_health(files: Files, tmp_path: Path) -> None:
    """Whoever holds the admin token is told when the certificate expires."""
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    certificate = files.certificate()
    async with (
        secure_town(tmp_path, certificate) as town,
        town.http.get(f"{town.server.url}/health?verbose", headers=admin) as response,
    ):
        said = (await response.json())["certificate"]
    assert said == {"expires_at": certificate.expires.isoformat(), "days_left": 89}
    async with (
        running(lexical(tmp_path)) as server,
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/health?verbose", headers=admin) as response,
    ):
        assert (await response.json())["certificate"] is None


# -- as a process -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_process_with_https(tmp_path: Path, files: Files, workers: int) -> None:
    """It shows its certificate, sends plain HTTP there, and takes up a new one on SIGHUP."""
    port, plain = free_port(), free_port()
    pair = {"cert_file": str(files.cert), "key_file": str(files.key)}
    https = {"enabled": True, "port": port, "redirect_http": True, **pair}
    general = {"host": "127.0.0.1", "port": plain, "acme_dir": str(tmp_path), "https": https}
    configure(tmp_path, general=general)
    process = start(tmp_path, f"--workers={workers}")
    try:
        async with asyncio.timeout(START_SECONDS):
            while "answers at" not in (tmp_path / "console").read_text():
                assert process.poll() is None, (tmp_path / "console").read_text()
                await asyncio.sleep(0.05)
        assert await shown(port, AUTHORITY.client()) == 1
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=AUTHORITY.client())) as http,
            http.get(f"http://127.0.0.1:{plain}/health/live") as response,
        ):
            assert (response.status, len(response.history)) == (200, 1)
            assert str(response.url) == f"https://127.0.0.1:{port}/health/live"
        AUTHORITY.issue(2).write(files.cert, files.key)
        process.send_signal(signal.SIGHUP)
        for _ in range(3 * workers):
            await renewed(port, 2)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0, (tmp_path / "console").read_text()
    finally:
        process.kill()
        process.wait()


async def test_a_process_without_a_certificate(tmp_path: Path) -> None:
    """A sentence and exit code 2."""
    https = {"enabled": True, "port": free_port(), "cert_file": "nowhere.pem"}
    configure(tmp_path, general={"host": "127.0.0.1", "https": https})
    process = start(tmp_path)
    assert await asyncio.to_thread(process.wait, START_SECONDS) == 2
    said = (tmp_path / "console").read_text()
    assert "  general.https.cert_file: nowhere.pem cannot be read: No such file" in said
    assert "Traceback" not in said
