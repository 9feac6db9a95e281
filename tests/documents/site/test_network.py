"""Which machines may be connected to, by whatever name or spelling they are asked for."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from orbit_server.documents.site.address import normalised
from orbit_server.documents.site.fetch import Fetcher, NotFetched
from orbit_server.documents.site.network import (
    PrivateAddress,
    any_socket,
    is_public,
    public_socket,
)

from ...support.server import serving

pytestmark = pytest.mark.anyio
PUBLIC = "93.184.215.14"  # nothing is ever sent there

# fmt: off
PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.0.2.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "100::1", "2001:db8::1", "3fff::1",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0.0.0.0", "::ffff:0:127.0.0.1", "::ffff:168.63.129.16",
    "2002::", "2002:7f00:1::", "2002:a00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]
# fmt: on


@pytest.mark.parametrize("address", PRIVATE)
def test_no_socket_for_what_is_not_public(address: str) -> None:
    """Loopback, private, link-local, reserved; and IPv6 addresses with such an IPv4 inside."""
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(PrivateAddress):
        public_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80)))


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"],
)
def test_a_socket_for_what_is_public(address: str) -> None:
    """Also where it is public in disguise, as with NAT64."""
    assert is_public(address)


class Names:
    """Instead of look-ups: the answers in turn, of which the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: Any, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (each, port, 0, 0) if ":" in each else (each, port),
            )
            for each in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Names]:
    """Let every name be looked up as told."""

    def names(*answers: list[str]) -> Names:
        found = Names(*answers)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        return found

    return names


class Inside:
    """A server of the inner network, at ``port`` of this machine, that nobody may reach."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.port = 0

    async def answer(self, request: Request) -> Response:
        self.asked.append(request)
        return PlainTextResponse("secret")


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    found = Inside()
    async with serving(Starlette(routes=[Route("/{path:path}", found.answer)])) as url:
        found.port = int(url.rpartition(":")[2])
        yield found


class Connections:
    """What is connected to, as far as it is public; nothing ever leaves this machine."""

    def __init__(self) -> None:
        self.public: list[str] = []

    def __call__(self, address: tuple[Any, ...]) -> socket.socket:
        public_socket(address).close()
        self.public.append(address[4][0])
        raise OSError(errno.ENETUNREACH, "this test has no network")


async def test_a_name_that_turns_private_is_refused(
    names: Callable[..., Names], inside: Inside, tmp_path: Path
) -> None:
    """DNS rebinding: public at the first look-up, this machine at the second."""
    lookups, connections = names([PUBLIC], ["127.0.0.1"]), Connections()
    async with Fetcher(tmp_path, delay=0.0, connect=connections) as fetcher:
        address = f"http://rebound.example:{inside.port}/"
        with pytest.raises(NotFetched, match="cannot be reached"):
            await fetcher.get(address)
        # Another host, since a name is remembered for a while.
        with pytest.raises(NotFetched, match="private network; --allow-private"):
            await fetcher.get(address.replace("rebound", "again"))
    assert (connections.public, lookups.asked, inside.asked) == ([PUBLIC], 2, [])


@pytest.mark.parametrize("private", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_a_name_with_a_private_address_beside_a_public_one(
    names: Callable[..., Names], tmp_path: Path, inside: Inside, private: str
) -> None:
    """The public one cannot be reached; the other one is not tried instead, in either order."""
    for answer in ([PUBLIC, private], [private, PUBLIC]):
        names(answer)
        connections = Connections()
        async with Fetcher(tmp_path, delay=0.0, connect=connections) as fetcher:
            with pytest.raises(NotFetched):
                await fetcher.get(f"http://both.example:{inside.port}/")
        assert set(connections.public) <= {PUBLIC}


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1."),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "0.0.0.0", "public.example@127.0.0.1"),
        "\uff11\uff12\uff17.0.0.1",
    ],
)
async def test_no_spelling_reaches_this_machine(inside: Inside, tmp_path: Path, host: str) -> None:
    """Whatever the parsers of addresses make of it."""
    address = normalised(f"http://{host}:{inside.port}/")
    async with Fetcher(tmp_path, delay=0.0) as fetcher:
        if address is not None:
            with pytest.raises(NotFetched):
                await fetcher.get(address)
    assert inside.asked == []


async def test_a_redirect_to_a_private_address_is_refused(inside: Inside, tmp_path: Path) -> None:
    """Also for robots.txt and sitemaps, of which redirects are followed to any host."""

    async def away(request: Request) -> Response:
        return RedirectResponse(f"http://127.0.0.1:{inside.port}/secret")

    async with serving(Starlette(routes=[Route("/robots.txt", away)])) as url:
        own = int(url.rpartition(":")[2])

        def connect(address: tuple[Any, ...]) -> socket.socket:
            return any_socket(address) if address[4][1] == own else public_socket(address)

        async with Fetcher(tmp_path, delay=0.0, connect=connect) as fetcher:
            with pytest.raises(NotFetched, match="private network"):
                await fetcher.follow(f"{url}/robots.txt")
    assert inside.asked == []
