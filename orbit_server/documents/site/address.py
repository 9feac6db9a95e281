"""Web addresses: one spelling for each page, what belongs to a site, what is a trap."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from ...errors import InvalidRequest

_PORTS = {"http": 80, "https": 443}
_LONGEST = 2000
_DEEPEST = 16  # parts of a path
_REPEATED = 3  # times that a part may occur in a path
# What tells visits and campaigns apart, and no pages.
_TRACKING = re.compile(
    r"(?:utm_[^=]*|[gdy]clid|fbclid|msclkid|gbraid|wbraid|mc_[ce]id|_ga|_gl|mtm_[^=]*|pk_[^=]*"
    r"|phpsessid|jsessionid|aspsessionid[^=]*|cfid|cftoken)(?:=.*)?|(?:sid|session_?id)=[\w,-]{16,}",
    re.I,
)
_SESSION_PATH = re.compile(r";(?:jsessionid|sid|phpsessid)=[^/?]*", re.I)
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# What may stand in a path, and in a query beside these, as it is (RFC 3986).
_PATH = "/:@!$&'()*+,;=~%-._"
_QUERY = f"{_PATH}?"


def normalised(address: str, base: str = "") -> str | None:
    """Return the one spelling of ``address``, which may be relative to ``base``.

    Without user, fragment, default port, and what only tracks visits; host in lower case and as
    ASCII, without a dot at its end; escapes of RFC 3986 only, dots in the path resolved. ``None``
    for what is no http(s) address, or one longer than any page has.
    """
    text = address.strip().translate({9: None, 10: None, 13: None})
    try:
        parts = urlsplit(urljoin(base, text) if base else text)
        if parts.scheme not in _PORTS or parts.port == 0:
            return None
        host = _host(parts)
        if parts.port not in (None, _PORTS[parts.scheme]):
            host = f"{host}:{parts.port}"
        path = _without_dots(_escaped(_SESSION_PATH.sub("", parts.path), _PATH)) or "/"
        query = "&".join(
            _escaped(pair, _QUERY)
            for pair in parts.query.split("&")
            if pair and not _TRACKING.fullmatch(unquote(pair))
        )
    except ValueError:
        return None
    found = urlunsplit((parts.scheme, host, path, query, ""))
    return found if len(found) <= _LONGEST else None


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    if ":" in host:
        return f"[{host}]"
    if not host.isascii():
        host = host.encode("idna").decode()
    if not re.fullmatch(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?", host):
        raise ValueError("this is not a valid host name")
    return host


def _escaped(text: str, safe: str) -> str:
    def once(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _UNRESERVED else f"%{found[1].upper()}"

    text = re.sub("%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(_ESCAPE.sub(once, text), safe=safe)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            del kept[max(1, len(kept) - 1) :]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def origin(address: str) -> str:
    """Return scheme, host and port of a normalised address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


class Credentials(NamedTuple):
    """User and password of an address, for its own ``origin`` and for no other."""

    origin: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Site:
    """What one address on the command line means: the pages of its host, at and below its path.

    ``start`` is normalised. ``folder`` is the path that all pages begin with; where it does not end
    with a slash, a page of exactly this path belongs to it too.
    """

    start: str
    folder: str
    credentials: Credentials | None = None

    @classmethod
    def of(cls, address: str) -> Self:
        """Read an address that somebody has typed; raise ``InvalidRequest``, naming no password."""
        start = normalised(address)
        if start is None:
            raise InvalidRequest(
                "This is not the address of a web site, such as https://town.example."
            )
        parts, typed = urlsplit(start), urlsplit(address.strip())
        credentials = None
        if typed.username or typed.password:
            user, password = unquote(typed.username or ""), unquote(typed.password or "")
            credentials = Credentials(origin(start), user, password)
        folder = re.sub(r"[^/]*\.[A-Za-z][A-Za-z0-9]{1,5}$", "", parts.path)
        return cls(start, folder, credentials)

    def moved(self, start: str) -> Self | None:
        """Return the site after its first address has led to ``start``, if that is still the same.

        From http to https, to or from ``www.``, and anywhere on the same host.
        """
        old, new = urlsplit(self.start), urlsplit(start)
        same_host = _bare(old.netloc) == _bare(new.netloc)
        if not same_host or (old.scheme, new.scheme) == ("https", "http"):
            return None
        credentials = self.credentials
        if credentials and origin(start) != credentials.origin:
            # The same host by https may see the password, another one may not.
            same = (f"https://{old.netloc}", "http") == (origin(start), old.scheme)
            credentials = credentials._replace(origin=origin(start)) if same else None
        return type(self)(start, self.folder, credentials)

    def own(self, address: str) -> str | None:
        """Return the normalised ``address`` as this site spells it, ``None`` if it is not its own.

        A link to http on a site that has https is one to https.
        """
        parts, ours = urlsplit(address), urlsplit(self.start)
        if parts.netloc != ours.netloc:
            return None
        if not (parts.path == self.folder or parts.path.startswith(f"{self.folder.rstrip('/')}/")):
            return None
        return urlunsplit((ours.scheme, parts.netloc, parts.path, parts.query, ""))


def _bare(netloc: str) -> str:
    return netloc.removeprefix("www.")


def owned(address: str, sites: Sequence[Site]) -> str | None:
    """Return ``address`` as the first of ``sites`` that it belongs to spells it."""
    return next(filter(None, (site.own(address) for site in sites)), None)


def trap(address: str) -> str | None:
    """Return why a link to ``address`` is not followed: no person has made such a path."""
    parts = [part for part in urlsplit(address).path.split("/") if part]
    if len(parts) > _DEEPEST:
        return "its path is too deep"
    if any(parts.count(part) > _REPEATED for part in set(parts)):
        return "its path repeats itself"
    return None


def pattern(address: str) -> tuple[str, bool]:
    """Return what pages of one kind have in common, and whether a query tells them apart.

    They are counted: a calendar has a page for each day of all times.
    """
    parts = urlsplit(address)
    if parts.query:
        return f"{parts.netloc}{parts.path}", True
    return re.sub(r"\d+", "#", f"{parts.netloc}{parts.path}"), False
