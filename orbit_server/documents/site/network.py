"""Which machines may be connected to: those of the public internet, and others only if told so."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

_NAT64 = IPv6Network("64:ff9b::/96")
# Not public, whatever Python says: at some of these a cloud tells the secrets of the machine.
_RESERVED = (
    IPv4Network("192.0.0.0/24"),  # Oracle, and protocols of the IETF (RFC 6890)
    IPv4Network("168.63.129.16/32"),  # Azure
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


class PrivateAddress(OSError):
    """A host is not on the public internet."""

    def __init__(self) -> None:
        super().__init__("its host is in a private network")


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet, also where it stands for another.

    IPv4 addresses hide in IPv6 ones: mapped, 6to4, Teredo, and those of NAT64.
    """
    ip = ip_address(address.partition("%")[0])
    return all(_is_public(each) for each in (ip, *_inside(ip)))


def _inside(ip: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(ip, IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        found.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped or ip in _NAT64):
        return True  # the one inside counts
    if any(ip in each for each in _RESERVED):
        return False
    wrong = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback
    local = ip.is_private or ip.is_link_local or (isinstance(ip, IPv6Address) and ip.is_site_local)
    return ip.is_global and not wrong and not local


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an entry of ``getaddrinfo``, or raise ``PrivateAddress``.

    aiohttp calls this with exactly what it connects to next, literal addresses included: no look-up
    lies between, in which a name could come to mean something else.
    """
    family, kind, protocol, _, place = address
    if not is_public(place[0]):
        raise PrivateAddress
    return socket.socket(family, kind, protocol)


def any_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an entry of ``getaddrinfo``, wherever it leads."""
    family, kind, protocol, *_ = address
    return socket.socket(family, kind, protocol)
