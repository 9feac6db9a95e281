"""Who calls, and by which route: scope in, text out."""

from ipaddress import ip_network
from typing import Any

import pytest
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from middleware._scope import client_address, header_values, route_template, shared_state
from tests.support.asgi import Fields, call, scope

pytestmark = pytest.mark.anyio

TRUSTED = [ip_network(text) for text in ("10.0.0.0/8", "127.0.0.1", "fd00::/8")]
ADDRESSES: list[tuple[str, str | None, list[str], str]] = [
    ("no proxy", "203.0.113.9", [], "203.0.113.9"),
    ("spoofed without a proxy", "203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
    ("pretends to be a proxy", "203.0.113.9", ["198.51.100.1, 10.0.0.1"], "203.0.113.9"),
    ("one proxy", "10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ("spoofed through a proxy", "10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
    ("spoofed as a proxy", "10.0.0.1", ["10.9.9.9, 198.51.100.1"], "198.51.100.1"),
    ("two proxies", "10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
    ("two proxies, two headers", "10.0.0.1", ["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
    ("spoofed in a header before", "10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
    ("proxies only", "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ("proxy without header", "10.0.0.1", [], "10.0.0.1"),
    ("empty header", "10.0.0.1", [""], "10.0.0.1"),
    ("empty hop", "10.0.0.1", ["198.51.100.1,"], "10.0.0.1"),
    ("no spaces", "10.0.0.1", ["1.2.3.4,198.51.100.1"], "198.51.100.1"),
    ("garbage", "10.0.0.1", ["<script>"], "10.0.0.1"),
    ("garbage before a proxy", "10.0.0.1", ["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
    ("address with a port", "10.0.0.1", ["198.51.100.1:4711"], "10.0.0.1"),
    ("a number", "10.0.0.1", ["1"], "10.0.0.1"),
    ("IPv6 client", "10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
    ("IPv6 proxy", "fd00::1", ["2001:DB8:0::7"], "2001:db8::7"),
    ("IPv6 stranger", "2001:db8::1", ["198.51.100.1"], "2001:db8::1"),
    ("IPv4 proxy on a socket for both", "::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ("IPv4 client on a socket for both", "::ffff:203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
    ("unix socket", None, ["198.51.100.1"], ""),
    ("peer with a name", "testclient", ["198.51.100.1"], "testclient"),
]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [case[1:] for case in ADDRESSES],
    ids=[case[0] for case in ADDRESSES],
)
def test_client_address(peer: str | None, forwarded: list[str], address: str) -> None:
    """The address is the last hop that a trusted proxy vouches for, nothing the client wrote."""
    headers: Fields = [("X-Forwarded-For", value) for value in forwarded]
    request = scope(headers=headers, client=None if peer is None else (peer, 1))
    assert client_address(request, TRUSTED) == address


@pytest.mark.parametrize("peer", ["10.0.0.1", "127.0.0.1", "::1"])
def test_without_trusted_proxies_nothing_is_believed(peer: str) -> None:
    """The socket's peer counts, also on loopback, as long as no proxy is configured."""
    request = scope(headers=[("X-Forwarded-For", "198.51.100.1")], client=(peer, 1))
    assert client_address(request, []) == peer


def test_trusting_everybody_takes_the_first_hop() -> None:
    """Networks of both protocols can be trusted as a whole; then the leftmost address counts."""
    everybody = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    request = scope(headers=[("X-Forwarded-For", "1.2.3.4, 2001:db8::7")], client=("10.0.0.1", 1))
    assert client_address(request, everybody) == "1.2.3.4"


def test_header_values_come_in_order_and_never_fail() -> None:
    """Every value of a header is returned, in order, whatever bytes it holds."""
    request = scope(headers=[("X-A", b"\xff"), ("X-B", "b"), ("x-a", "2")])
    assert header_values(request, b"x-a") == ["\xff", "2"]
    assert header_values(request, b"x-c") == []


def test_shared_state_is_one_dictionary() -> None:
    """What is written above or below a copy of the scope is seen on both sides."""
    above = scope()
    state = shared_state(above)
    below = dict(above)
    shared_state(below)["caller"] = "Ann"
    assert state == {"caller": "Ann"}


def test_shared_state_keeps_what_the_server_put_there() -> None:
    """The state of a lifespan stays visible."""
    request: dict[str, Any] = {**scope(), "state": {"pool": 1}}
    assert shared_state(request) is request["state"]


async def _answer(request: object) -> Response:
    return Response()


_ROUTES = Router(
    [
        Route("/keys/{key}", _answer),
        Mount("/team/{team}", Router([Route("/keys/{key}", _answer)])),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/keys/api_secret", "/keys/{key}"),
        ("PATCH", "/keys/api_secret", "/keys/{key}"),
        ("GET", "/team/red/keys/api_secret", "/keys/{key}"),
        ("GET", "/team/red/api_secret", "/team/{team}"),
        ("GET", "/api_secret", "(no route)"),
    ],
)
async def test_route_template(method: str, path: str, template: str) -> None:
    """The template of the route that answered is named, never the path."""
    seen: list[str] = []

    async def app(*arguments: Any) -> None:
        await _ROUTES(*arguments)
        seen.append(route_template(arguments[0]))

    await call(app, method, path)
    assert seen == [template]


@pytest.mark.parametrize("route", [None, object(), "x"])
def test_a_foreign_route_has_no_template(route: object) -> None:
    """What other frameworks leave under the same name is not mistaken for one of Starlette's."""
    assert route_template({**scope(), "route": route}) == "(no route)"
