"""One address at a time over HTTP: politely, within limits, and to the public internet only."""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from socket import socket
from typing import Any, Self

import aiohttp
from yarl import URL

from .address import Credentials, normalised, origin
from .directives import PRODUCT
from .network import PrivateAddress, public_socket

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_BUSY = frozenset((429, 503))
_LONGEST_PAUSE = 60.0  # that a server may ask for before the next try


class NotFetched(Exception):
    """An address could not be fetched; the sentence holds no address, and no password."""


class OverBudget(NotFetched):
    """All pages together are larger than they may be."""

    def __init__(self) -> None:
        super().__init__("all pages together are larger than they may be")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server has answered; ``file`` is set for a body that was wanted and is whole."""

    address: str
    status: int
    kind: str = ""  # media type, lower case
    charset: str | None = None
    location: str | None = None  # where a redirect leads, None where that is no address
    file: Path | None = None
    robots: tuple[str, ...] = ()  # X-Robots-Tag
    validators: Mapping[str, str] = field(default_factory=dict)  # "etag", "last_modified"

    @property
    def redirected(self) -> bool:
        """Whether the page is somewhere else."""
        return self.status in _REDIRECTS

    @property
    def gone(self) -> bool:
        """Whether the server says that there is no such page."""
        return self.status in (404, 410)


class Fetcher:
    """Fetches files of web sites into ``folder``, ended by ``async with``.

    Of one origin at most ``at_once`` requests run, and begin ``delay`` seconds apart, or more if
    the site's robots.txt wants that (``delays``, by origin). No cookies are kept, no proxy is
    used, and ``credentials`` go to their own origin only. ``limit`` is in bytes for one file,
    ``budget`` for all of them, unpacked. ``connect`` makes a socket for an address or refuses it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        delay: float = 0.5,
        at_once: int = 2,
        seconds: float = 120.0,
        silence: float = 20.0,
        limit: int = 50_000_000,
        budget: int = 2_000_000_000,
        connect: Callable[[tuple[Any, ...]], socket] = public_socket,
        credentials: tuple[Credentials, ...] = (),
    ) -> None:
        self._folder = folder
        self._delay, self._at_once = delay, at_once
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10, sock_read=silence)
        self._limit, self._left = limit, budget
        self._connect = connect
        self._credentials = list(credentials)
        self.delays: dict[str, float] = {}
        self._gates: dict[str, _Gate] = {}
        self._number = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=self._connect, limit_per_host=self._at_once, limit=16
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": PRODUCT, "Accept-Encoding": "gzip, deflate"},
            timeout=self._timeout,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def trust(self, credentials: Credentials) -> None:
        """Send ``credentials`` to their origin from now on."""
        self._credentials.append(credentials)

    async def get(
        self,
        address: str,
        *,
        wanted: Callable[[str], bool] = lambda kind: True,
        validators: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Fetch a normalised address; no redirect is followed.

        The body is read where its media type is ``wanted``. ``validators`` are those of an earlier
        answer: the status is 304 where nothing has changed since. Raises ``NotFetched``.
        """
        gate = self._gates.setdefault(origin(address), _Gate(self._at_once))
        async with gate.places:
            for last in (False, False, True):
                await gate.turn(max(self.delays.get(origin(address), 0.0), self._delay))
                try:
                    pause = await self._try(address, wanted, validators or {}, last)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
                    if last:
                        raise NotFetched("its server closed the connection") from error
                    continue
                if isinstance(pause, Fetched):
                    return pause
                await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def follow(self, address: str, *, most: int = 5) -> Fetched:
        """Fetch an address and what it redirects to, wherever that is; for robots.txt and sitemaps.

        Raises ``NotFetched``.
        """
        for _ in range(most + 1):
            fetched = await self.get(address)
            if not fetched.redirected:
                return fetched
            if fetched.location is None:
                break
            address = fetched.location
        raise NotFetched("it redirects in circles, or to nowhere")

    async def _try(
        self,
        address: str,
        wanted: Callable[[str], bool],
        validators: Mapping[str, str],
        last: bool,
    ) -> Fetched | float:
        """Return the answer, or how many seconds to wait before the next try."""
        if self._session is None:
            raise ValueError("the fetcher is not open")
        headers = self._headers(address, validators)
        try:
            async with self._session.get(
                URL(address, encoded=True), headers=headers, allow_redirects=False
            ) as response:
                if response.status in _BUSY and not last:
                    pause = _seconds(response.headers.get("Retry-After"))
                    if pause <= _LONGEST_PAUSE:
                        return pause
                kind, charset = _media_type(response.headers.get("Content-Type", ""))
                file = None
                if response.status == 200 and wanted(kind):
                    file = await self._saved(response)
                return Fetched(
                    address,
                    response.status,
                    kind,
                    charset,
                    normalised(response.headers.get("Location", "\0"), address),
                    file,
                    tuple(response.headers.getall("X-Robots-Tag", ())),
                    _validators(response.headers),
                )
        except (aiohttp.ServerDisconnectedError, ConnectionResetError):
            raise
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise NotFetched(_reason(error)) from error

    def _headers(self, address: str, validators: Mapping[str, str]) -> dict[str, str]:
        headers = {}
        if etag := validators.get("etag"):
            headers["If-None-Match"] = etag
        if last_modified := validators.get("last_modified"):
            headers["If-Modified-Since"] = last_modified
        for each in self._credentials:
            if each.origin == origin(address):
                pair = base64.b64encode(f"{each.user}:{each.password}".encode()).decode()
                headers["Authorization"] = f"Basic {pair}"
        return headers

    async def _saved(self, response: aiohttp.ClientResponse) -> Path:
        self._number += 1
        path = self._folder / f"{self._number}"
        size = 0
        try:
            with path.open("wb") as file:
                async for data in response.content.iter_any():
                    size += len(data)
                    if size > self._limit:
                        raise NotFetched(f"it is larger than {self._limit / 1_000_000:g} MB")
                    if size > self._left:
                        raise OverBudget
                    file.write(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._left -= size
        return path


class _Gate:
    """Lets requests to one origin begin some time apart, and few run at once."""

    def __init__(self, at_once: int) -> None:
        self.places = asyncio.Semaphore(at_once)
        self._next = 0.0

    async def turn(self, delay: float) -> None:
        now = time.monotonic()
        begin = max(now, self._next)
        self._next = begin + delay
        await asyncio.sleep(begin - now)


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.strip().isdecimal() else 5.0


def _media_type(header: str) -> tuple[str, str | None]:
    message = Message()
    message["Content-Type"] = header or "application/octet-stream"
    charset = message.get_param("charset")
    kind = message.get_content_type() if header else ""
    return kind, charset[:40] if isinstance(charset, str) else None


def _validators(headers: Mapping[str, str]) -> dict[str, str]:
    found = {"etag": headers.get("ETag", ""), "last_modified": headers.get("Last-Modified", "")}
    return {name: value for name, value in found.items() if 0 < len(value) <= 200}


def _reason(error: Exception) -> str:
    """Return why a request failed, without the address: a name of it may be a secret."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, PrivateAddress) or str(PrivateAddress()) in str(cause):
        return f"{PrivateAddress()}; --allow-private allows that"
    if isinstance(error, TimeoutError):
        return "its server takes too long"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError):
        return "the certificate of its server is not valid"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "its server cannot be reached"
    if isinstance(error, aiohttp.ClientError):
        return f"its server breaks off or breaks the rules ({type(error).__name__})"
    return f"it cannot be fetched ({type(error).__name__})"
