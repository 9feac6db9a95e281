"""Web origins: the sites whose pages may use a key."""

import re
from collections.abc import Iterable, Mapping

_PORTS = {"http": ":80", "https": ":443"}
_FORM = re.compile(r"(https?)://(\*\.)?([^\s/?#@*:\[\]]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?", re.I)


def parse_origin(text: str) -> str:
    """Return ``text`` as browsers send it: scheme and host in small letters, a port if unusual.

    ``https://*.town.example`` stands for every host below ``town.example``, not for that itself.
    Raises ``ValueError`` with a sentence for anything else.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f'"{text}" is not a web site: give scheme and host without a path, such as'
            " https://town.example, https://town.example:8443 or https://*.town.example"
        )
    scheme, wildcard, host, port = found[1].lower(), found[2] or "", found[3], found[4] or ""
    try:
        host = host.lower() if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f'"{text}" has an invalid host name') from None
    if (wildcard and "." not in host) or "*" in host:
        raise ValueError(f'"{text}" matches too many sites: name a domain after the *')
    return f"{scheme}://{wildcard}{host}{'' if port == _PORTS[scheme] else port}"


def is_one_of(origin: str, allowed: Iterable[str]) -> bool:
    """Tell whether the ``Origin`` that a browser sent is one of those that ``parse_origin`` gave.

    Scheme, host and port count exactly.
    """
    if "*" in origin:
        return False
    return any(origin == each or _is_below(origin, each) for each in allowed)


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Tell whether a page of this server itself has sent a request with these headers."""
    _, _, host = headers.get("origin", "").partition("://")
    # Proxies may pass on another Host; with HTTPS, browsers say it themselves.
    same = headers.get("sec-fetch-site") == "same-origin" or host == headers.get("host")
    return bool(host) and same


def _is_below(origin: str, allowed: str) -> bool:
    scheme, wildcard, domain = allowed.partition("*")
    if not (wildcard and origin.startswith(scheme) and origin.endswith(domain)):
        return False
    return bool(re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", origin[len(scheme) : -len(domain)]))
