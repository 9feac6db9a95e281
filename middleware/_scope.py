"""Reading an ASGI scope: who calls, by which route, and the state that the chain shares."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypedDict

from starlette.types import Scope, Send

Network = IPv4Network | IPv6Network


class State(TypedDict, total=False):
    """The keys that the layers of one request share in ``scope["state"]``.

    ``request_id``, ``client``, ``peer`` and ``send_body`` come from the request log, ``caller``
    from the key's layer, ``question`` and ``checked_ms`` (how long the check took) from the safety
    layer. ``error`` is the code that an endpoint leaves for the log, ``refused`` the name of the
    rule or limit that a request did not get past.
    """

    request_id: str
    client: str
    peer: str
    send_body: Send
    caller: Any
    question: Any
    checked_ms: float
    error: str | None
    refused: str


def shared_state(scope: Scope) -> State:
    """Return the mutable dictionary that all layers of this request share.

    Scopes are copied on the way down (mounts do), so a plain key set above or below a copy is lost;
    the ``state`` dictionary is copied by reference and is not.
    """
    state: State = scope.setdefault("state", {})
    return state


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return every value of header ``name`` (lower-case bytes), in order, decoded as latin-1."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def route_template(scope: Scope) -> str:
    """Return the template of the route that answered, e.g. ``/items/{id}``; never the path.

    A path may carry a secret, so a request that no route took is called ``(no route)``.
    """
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) else "(no route)"


def is_from(scope: Scope, networks: Sequence[Network]) -> bool:
    """Return whether the socket's peer has an address in one of ``networks``."""
    client = scope.get("client")
    address = _parsed(client[0]) if client else None
    return address is not None and any(address in network for network in networks)


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """Return the address of the client, looking through proxies in ``trusted`` only.

    ``X-Forwarded-For`` is read from the right: each hop vouches for the one before it, and the
    first address that is not one of our proxies is the client. Anything further left was written by
    the client itself and is not believed. Without trusted proxies it is the socket's peer; where
    that has no address, on a Unix socket, it is empty.
    """
    client = scope.get("client")
    peer = client[0] if client else ""
    address = _parsed(peer)
    if address is None:
        return peer
    hops = ",".join(header_values(scope, b"x-forwarded-for")).split(",")
    while hops and any(address in network for network in trusted):
        hop = _parsed(hops.pop().strip())
        if hop is None:
            break
        address = hop
    return str(address)


@lru_cache(maxsize=1024)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    # A socket that listens on both protocols reports IPv4 as ::ffff:192.0.2.1.
    return getattr(ip, "ipv4_mapped", None) or ip
