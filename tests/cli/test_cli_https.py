"""The command line through a server that speaks HTTPS: which certificates are believed."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orbit_server.app import create_app
from orbit_server.documents import remote_store as remote
from orbit_server.documents.remote_store import RemoteStore, is_loopback
from orbit_server.errors import ConfigError
from orbit_server.server.certificate import Certificate
from orbit_server.services import Services

from ..support.certificates import Authority
from ..support.program import Result, command, configure, environment
from ..support.server import ADMIN_TOKEN, lexical, serving

pytestmark = [pytest.mark.anyio, pytest.mark.process]


AUTHORITY = Authority()
LIST = ("collections", "list")
EMPTY = "There is no collection yet: orbit ingest FILES --collection NAME creates one.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a certificate, and a configuration that serves HTTPS with it."""
    renew(tmp_path, 1)
    configure(tmp_path, general={"https": {"enabled": True}})
    (tmp_path / "server").mkdir()
    return tmp_path


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory that knows nothing of HTTPS."""
    folder = tmp_path_factory.mktemp("elsewhere")
    configure(folder)
    return folder


def renew(folder: Path, serial: int) -> None:
    """Write another certificate and its key."""
    AUTHORITY.issue(serial).write(folder / "cert.pem", folder / "key.pem")


def certificate_in(folder: Path) -> Certificate:
    """Return what a server makes of the files."""
    return Certificate(folder / "cert.pem", folder / "key.pem")


@asynccontextmanager
async def secure(folder: Path, certificate: Certificate) -> AsyncIterator[str]:
    """Run a server that shows ``certificate``, to a new connection for each request; its URL."""
    async with (
        Services(lexical(folder / "server")) as services,
        serving(
            create_app(services=services),
            ssl_context_factory=lambda config, default: certificate.context,
            timeout_keep_alive=0,
        ) as url,
    ):
        yield url.replace("http:", "https:")


def through(url: str, folder: Path) -> RemoteStore:
    """Return the store behind ``url`` as a command in ``folder`` opens it."""
    return RemoteStore(url, ADMIN_TOKEN, cert_file=str(folder / "cert.pem"))


def said(result: Result) -> str:
    """Return what a command that failed says: one sentence, without bytes in it."""
    assert result.code == 1
    [sentence] = result.err.splitlines()
    assert sentence.startswith("orbit: ")
    assert "b'" not in sentence
    assert "\\x" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("https://127.0.0.1:3443", True),
        ("https://127.9.9.9", True),
        ("https://[::1]:3443/", True),
        ("https://LOCALHOST:3443", True),
        ("https://192.0.2.1:3443", False),
        ("https://127.0.0.1.example", False),
        ("https://127.0.0.1@elsewhere.example", False),
        ("https://chat.example/127.0.0.1", False),
        ("https://[::1", False),
        ("nonsense", False),
    ],
)
def test_which_urls_are_of_this_machine(url: str, here: bool) -> None:
    """Loopback addresses and their name, and nothing that only looks like one."""
    assert is_loopback(url) is here


# -- the server's own certificate -------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_is_believed_on_the_same_machine(folder: Path, host: str) -> None:
    """With the same configuration no authority is asked, whoever has issued it."""
    async with secure(folder, certificate_in(folder)) as url:
        url = url.replace("127.0.0.1", host)
        result = await command(folder, *LIST, "--server", url)
    assert (result.code, result.err) == (0, EMPTY)


async def test_another_one_is_not_believed(folder: Path) -> None:
    """The sentence names both sides and what may have happened."""
    async with secure(folder, certificate_in(folder)) as url:
        renew(folder, 2)
        sentence = said(await command(folder, *LIST, "--server", url))
    assert f"{url} shows another certificate than the one in " in sentence
    assert "general.https.cert_file (./cert.pem). Either " in sentence


async def test_a_renewal_while_it_works(folder: Path) -> None:
    """A long command that began with the old certificate ends with the new one."""
    certificate = certificate_in(folder)
    async with secure(folder, certificate) as url, through(url, folder) as store:
        assert await store.collections() == []
        renew(folder, 2)
        assert await store.collections() == [], "the server still shows the old one"
        certificate.refresh()
        assert await store.collections() == []


async def test_a_renewal_just_before(folder: Path) -> None:
    """A command that has read the new certificate before the server did waits for it."""
    certificate = certificate_in(folder)
    async with secure(folder, certificate) as url:
        renew(folder, 2)
        async with through(url, folder) as store:
            listing = asyncio.create_task(store.collections())
            await asyncio.sleep(remote._RENEWAL_SECONDS / 4)
            certificate.refresh()
            assert await listing == []


CANNOT = "general.https.cert_file: cert.pem "
UNUSABLE: list[tuple[Callable[[Path], object], str]] = [
    (lambda file: file.unlink(), f"{CANNOT}cannot be read: No such file or directory; "),
    (lambda file: file.write_bytes(b""), f"{CANNOT}holds no PEM certificate that can be read; "),
    (lambda file: file.write_bytes(b"\xff"), f"{CANNOT}holds no PEM certificate that can be "),
    (lambda file: file.write_bytes(b"x" * 99_999), f"{CANNOT}is larger than 64 KiB; "),
]


@pytest.mark.parametrize(("spoil", "sentence"), UNUSABLE, ids=[said for _, said in UNUSABLE])
async def test_a_certificate_that_cannot_be_used(
    folder: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    """What is wrong with the file is said, as the server would say it."""
    async with secure(folder, certificate_in(folder)) as url:
        spoil(folder / "cert.pem")
        result = await command(folder, *LIST, "--server", url)
    assert result.code == 2
    assert sentence in result.err


async def test_a_certificate_that_is_lost_meanwhile(folder: Path) -> None:
    """The same holds when the file is looked at again."""
    certificate = certificate_in(folder)
    async with secure(folder, certificate) as url, through(url, folder) as store:
        renew(folder, 2)
        certificate.refresh()
        (folder / "cert.pem").write_text("")
        with pytest.raises(ConfigError, match="holds no PEM certificate"):
            await store.collections()


# -- an authority -----------------------------------------------------------------------------


async def test_one_that_nobody_here_vouches_for(folder: Path, elsewhere: Path) -> None:
    """The sentence says why, and three ways out."""
    async with secure(folder, certificate_in(folder)) as url:
        sentence = said(await command(elsewhere, *LIST, "--server", url))
    assert f"the certificate of {url} cannot be verified (unable to get local issuer" in sentence
    for remedy in ("host name that it was issued for", "SSL_CERT_FILE", "--config"):
        assert remedy in sentence


async def test_an_authority_of_ones_own(folder: Path, elsewhere: Path) -> None:
    """``SSL_CERT_FILE`` names whom to trust."""
    authority = elsewhere / "ca.pem"
    authority.write_bytes(AUTHORITY.pem)
    variables = environment() | {"SSL_CERT_FILE": str(authority)}

    def run(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orbit_server", *LIST, "--server", url],
            cwd=elsewhere,
            env=variables,
            capture_output=True,
            text=True,
        )

    async with secure(folder, certificate_in(folder)) as url:
        done = await asyncio.to_thread(run, url)
    assert (done.returncode, done.stderr) == (0, EMPTY)
