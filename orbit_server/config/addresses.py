"""Addresses as values: hosts, URLs, origins, networks, headers, databases."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from .values import Allowed, plain_text, secret


def host_name(value: Any) -> str:
    """Read a host name or an IP address, without a scheme or port."""
    name = plain_text(value).strip()
    if ":" in name:
        ipaddress.IPv6Address(name)
    elif not re.fullmatch(r"[\w.-]+", name):
        raise ValueError
    return name


def _http_url(value: Any) -> str:
    url = plain_text(value).strip()
    parts = urlsplit(url)
    usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    if not usable or parts.query or parts.fragment or re.search(r"\s", url):
        raise ValueError
    return url.rstrip("/")


def ollama_url(value: Any) -> str:
    """Read the http(s) URL of an Ollama server; what clients put behind it is added by us."""
    url = _http_url(value)
    if re.search(r"/(api|v1)(/|$)", urlsplit(url).path):
        raise ValueError
    return url


def ollama_host_url(value: Any) -> str:
    """Read the URL of one of several Ollama servers, which holds no user name or password."""
    if "@" in (url := ollama_url(value)):
        raise ValueError
    return url


def proxy_url(value: Any) -> SecretStr:
    """Read the URL of a proxy, which may hold a user name and a password."""
    return SecretStr(_http_url(value.get_secret_value() if isinstance(value, SecretStr) else value))


def http_url_without_user(value: Any) -> str:
    """Read an http(s) URL that holds no user name or password."""
    if "@" in (url := _http_url(value)):
        raise ValueError
    return url


def origin(value: Any) -> str:
    """Read the origin of a web page, or ``*``."""
    origin = plain_text(value).strip().rstrip("/")
    if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+", origin):
        raise ValueError
    return origin


def root_path(value: Any) -> str:
    """Read the prefix of a path, which begins with a slash and ends without one."""
    path = plain_text(value).strip().rstrip("/")
    if not re.fullmatch(r"(/[^/\\\s?#]+)+", path):
        raise ValueError
    return path


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(value: Any) -> Network:
    """Read an IP address or network."""
    return ipaddress.ip_network(plain_text(str(value)).strip())


TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 calls the form of a header name so


def header_map(value: Any) -> dict[str, SecretStr]:
    """Read HTTP headers; their values are secrets."""
    if not isinstance(value, Mapping | None):
        raise TypeError
    headers = {name: secret(text) for name, text in (value or {}).items()}
    for name, text in headers.items():
        if not re.fullmatch(TOKEN, name) or not text.get_secret_value().isprintable():
            raise ValueError
    return headers


def own_header_map(value: Any) -> dict[str, SecretStr]:
    """Read HTTP headers, without those that say where a request ends or what it holds."""
    headers = header_map(value)
    if {name.lower() for name in headers} & _FRAMING:
        raise ValueError
    return headers


_FRAMING = {"connection", "content-length", "content-type", "host", "transfer-encoding", "upgrade"}


def _web_address(value: Any) -> str:
    address = plain_text(value).strip()
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", address):
        raise ValueError
    return address


def link_map(value: Any) -> dict[str, str]:
    """Read labels with the http(s) addresses that they lead to."""
    if not isinstance(value, Mapping | None):
        raise TypeError
    return {plain_text(label): _web_address(url) for label, url in (value or {}).items()}


ROOT_PATH = Allowed("a path such as /orbit", root_path)
HOST = Allowed(
    "a host name or address alone: http://example:8000 is written as host: example, port: 8000,"
    " and ssl: true stands for https",
    host_name,
)


_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}


def database_url(value: Any) -> str:
    """Read the URL of a database, under the names that SQLAlchemy and its driver have for it.

    PostgreSQL's own tools call it ``postgres://…`` and write ``sslmode`` where asyncpg has ``ssl``.
    """
    scheme, separator, rest = plain_text(value).strip().partition("://")
    scheme = _DRIVERS.get(scheme, scheme)
    if not separator or scheme not in _DRIVERS.values() or re.search(r"\s", rest):
        raise ValueError
    if scheme == "postgresql+asyncpg":
        rest = re.sub(r"([?&])sslmode=", r"\1ssl=", rest)
    return f"{scheme}://{rest}"


def limits_storage(value: Any) -> str:
    """Read where limits are counted: ``memory``, or the URL of a Redis or Valkey."""
    text = plain_text(value).strip()
    if text == "memory":
        return text
    url = re.sub(r"^valkey(s?)://", r"redis\1://", text)  # the same protocol
    parts = urlsplit(url)
    usable = parts.scheme in {"redis", "rediss"} and parts.hostname and parts.port != 0
    if not usable or parts.fragment or re.search(r"\s", url):
        raise ValueError
    return url


def sqlite_file(url: str) -> str | None:
    """Return the file of an SQLite database, ``None`` for other databases and for one in memory."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", url)
    return found[1] if found and not found[1].startswith((":", "file:")) else None


OllamaUrl = Annotated[
    str,
    Allowed("a URL such as http://localhost:11434, without /api or /v1 at the end", ollama_url),
]


def masked(text: str) -> str:
    """Return ``text`` without the user, password and query of URLs in it."""
    # User and password stand in a URL before the @, other secrets often behind the ?.
    return re.sub(r"(://[^?]*)\?\S*", r"\1?***", re.sub(r"://\S*@", "://***@", text))
