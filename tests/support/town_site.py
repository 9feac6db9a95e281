"""The web site of a town, with what web sites have: a real server that remembers its requests."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from .formats import pdf
from .office import docx, paragraph
from .server import serving

# fmt: off
THINGS = [
    "kayak", "sauna", "market", "fishing", "drone", "bonfire", "chimney", "balcony", "scaffold",
    "taxi", "bakery", "tattoo", "beehive", "aquarium", "trailer", "carport", "pavilion", "fountain",
    "hedge", "well", "greenhouse", "skip", "stage", "tent", "busker", "kiosk", "ferry",
    "sledge", "parade", "circus", "vineyard", "orchard", "mill", "quarry", "windmill", "lantern",
    "bench", "mural", "antenna", "pergola",
]
# fmt: on
QUESTIONS = {
    "What does the beehive licence cost?": "/services/13.html",
    "When is the town hall open on Thursdays?": "/hours",
    "Who answers letters about noise?": "/files/noise.pdf",
    "How do I apply for a garden plot?": "/files/plot.docx",
    "Wo gibt es Müllsäcke für Gärten?": "/latin1",
    "Which market of the neighbours stood aside in the repaved lane?": "/news/3",
    "Did the mayor hold a speech about ducks?": "/minutes",
}
_MENU = "".join(f'<li><a href="/{each}">{each.title()} and more</a></li>' for each in ("", "hours"))
_FRAME = """<!doctype html><html lang="en"><head><title>{title}</title>{head}</head><body>
<div class="cookie-banner" role="dialog"><p>We use cookies to improve your experience of our
pages. Accept all cookies or choose which partners may follow you.</p></div>
<header><nav><ul>{menu}</ul></nav></header>
<main><h1>{title}</h1>{body}</main>
<aside class="newsletter"><p>Subscribe to our newsletter now.</p></aside>
<footer><p>Imprint of Exampletown. All rights reserved since 1999.</p>
<a href="https://social.example/exampletown">Follow us</a></footer></body></html>"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the site got, and how it was answered."""

    address: str
    status: int
    headers: dict[str, str]


@dataclass
class TownSite:
    """Its pages can be ``edited``, ``vanished``, or ``broken`` (status 500) between two runs."""

    services: int = len(THINGS)  # how many pages of them there are
    listed: bool = True  # whether there are sitemaps
    validating: bool = True  # whether it says ETag and knows If-None-Match
    edited: dict[str, str] = field(default_factory=dict)
    vanished: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    down: bool = False
    robots: str = "User-agent: *\nDisallow: /private/\nDisallow: /*.old$\nAllow: /private/open\n"
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        """What was asked for since ``asked`` was cleared."""
        return [each.address for each in self.asked]

    def fetched(self) -> set[str]:
        """Return what was answered with a body, robots.txt and sitemaps aside."""
        there = {each.address for each in self.asked if each.status == 200}
        return {each for each in there if each != "/robots.txt" and "sitemap" not in each}

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["TownSite"]:
        app = Starlette(routes=[Route("/{path:path}", self._answer)])
        async with serving(app) as self.url:
            yield self

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        address = f"{path}?{request.url.query}" if request.url.query else path
        response = self._respond(request, path, address)
        self.asked.append(Asked(address, response.status_code, dict(request.headers)))
        return response

    def _respond(self, request: Request, path: str, address: str) -> Response:
        if self.down or path in self.broken:
            return Response("broken", 500)
        if path in self.vanished:
            return Response("gone", 404)
        if path == "/robots.txt":
            named = f"Sitemap: {self.url}/sitemap-index.xml\n" if self.listed else ""
            return Response(self.robots + named, media_type="text/plain")
        if special := _SPECIAL.get(path):
            return special(self, request)
        if (found := self._content(path, address)) is None:
            return Response("not found", 404)
        content, kind = found
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(0, usegmt=True)}
        if request.headers.get("If-None-Match") == etag and self.validating:
            return Response(status_code=304, headers=headers)
        # As a header, since starlette says of all text that it is UTF-8.
        headers = {**(headers if self.validating else {}), "Content-Type": kind}
        return Response(content, headers=headers)

    def page(self, title: str, body: str, head: str = "") -> bytes:
        """Return a page with everything around it."""
        return _FRAME.format(title=title, body=body, head=head, menu=_MENU).encode()

    def _content(self, path: str, address: str) -> tuple[bytes, str] | None:
        if path in self.edited:
            return self.page("Edited", f"<p>{self.edited[path]}</p>"), "text/html"
        if path.startswith("/sitemap"):
            return self._sitemap(path) if self.listed else None
        if path in _FILES:
            return _FILES[path]
        if path == "/calendar":
            month = int(address.partition("month=")[2] or 0)
            link = f'<a href="/calendar?month={month + 1}">next month</a>'
            return self.page(
                f"Month {month}", f"<p>Nothing in month {month}.</p>{link}"
            ), "text/html"
        if path.startswith("/maze/"):
            body = f'<p>You are in the maze, at {path}.</p><a href="turn/">on</a>'
            return self.page("Maze", body), "text/html"
        if (found := _pages(self.services).get(path)) is None:
            return None
        title, body, head = found
        return self.page(title, body, head), "text/html; charset=utf-8"

    def _sitemap(self, path: str) -> tuple[bytes, str] | None:
        space = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
        if path == "/sitemap-index.xml":
            names = ("sitemap-pages.xml.gz", "sitemap-news.xml", "sitemap-missing.xml")
            found = "".join(f"<sitemap><loc>{self.url}/{name}</loc></sitemap>" for name in names)
            return f"<sitemapindex {space}>{found}</sitemapindex>".encode(), "application/xml"
        news = path == "/sitemap-news.xml"
        pages = [each for each in _pages(self.services) if each.startswith("/news/") == news]
        pages += [] if news else ["/latin1", "/minutes", "/private/secret.html", "/print/hours"]
        found = "".join(f"<url><loc>{self.url}{page}</loc></url>" for page in pages)
        content = f"<urlset {space}>{found}<url><loc>http://other.example/</loc></url></urlset>"
        if path == "/sitemap-pages.xml.gz":
            return gzip.compress(content.encode(), mtime=0), "application/gzip"
        return (content.encode(), "application/xml") if news else None


def _pages(count: int) -> dict[str, tuple[str, str, str]]:
    services = {
        f"/services/{n}.html": (
            f"{thing.title()} licence",
            f"<p>The {thing} licence costs {n + 10} euros a year, and is issued by the office for"
            f" public order within {n + 2} days. Bring your passport, and a drawing of the place"
            f" where the {thing} will be. Applications that come late are answered late.</p>"
            f'<p>See also <a href="/services/{n % count + 1}.html">another licence</a>.</p>',
            "",
        )
        for n, thing in enumerate(THINGS[:count], start=1)
    }
    news = {
        f"/news/{n}": (
            f"News {n}",
            f"<p>The lane number {n} by the old harbour was repaved last week, and the {thing} of"
            " the neighbours had to stand aside until the workers were done with it.</p>",
            "",
        )
        for n, thing in enumerate(THINGS[:8], start=1)
    }
    links = [*services, *news, "/hours#top", "/hours?utm_source=menu&amp;PHPSESSID=abc", "/latin1"]
    links += ["/print/hours", "/old", "/loop-a", "/files/noise.pdf", "/files/plot.docx", "/minutes"]
    links += [
        "/out",
        "/local",
        "/calendar?month=1",
        "/maze/turn/",
        "/private/secret.html",
        "/noindex",
    ]
    links += ["/logo.png", "/unknown.bin", "/picture.html", "/huge", "/slow", "/history.old"]
    links += [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:9/admin",
        "//other.example/",
    ]
    links += ["mailto:mayor@town.example", "javascript:alert(1)", "/missing"]
    listed = "".join(f'<li><a href="{each}">a page</a></li>' for each in links)
    hours = (
        "<p>The town hall serves you in person. Outside of these hours write to us, and we answer"
        " within two working days, in the order in which letters come.</p>"
        "<table><tr><th>Day</th><th>Open</th></tr><tr><td>Tuesdays</td><td>9 to 12</td></tr>"
        "<tr><td>Thursdays</td><td>14 to 18</td></tr></table>"
    )
    return {
        "/": ("Exampletown", f"<p>Welcome to Exampletown by the sea.</p><ul>{listed}</ul>", ""),
        "/hours": ("Opening hours", hours, '<link rel="canonical" href="/hours?utm_medium=x">'),
        "/print/hours": ("Opening hours", hours, '<link rel="canonical" href="/hours">'),
        "/noindex": ("Draft", "<p>A draft.</p>", '<meta name="robots" content="noindex">'),
        "/quiet": (
            "Quiet",
            '<p>Quiet hours begin at ten.</p><a rel="nofollow" href="/trap">no</a>',
            "",
        ),
        **services,
        **news,
    }


_LATIN1 = (
    '<html lang="de"><head><meta charset="iso-8859-1"><title>Müll</title></head><body><main>'
    "<p>Müllsäcke für Gärten gibt es im Bürgerbüro, das Stück zu zwei Euro.</p>"
    "</main></body></html>"
).encode("latin-1")
_PARAGRAPH = paragraph("Apply for a garden plot with this form.")
_FILES: dict[str, tuple[bytes, str]] = {
    "/files/noise.pdf": (
        pdf("Letters about noise are answered by the environment office."),
        "application/pdf",
    ),
    "/files/plot.docx": (docx(_PARAGRAPH, title="Plots"), "application/octet-stream"),
    # what it says is wrong, as is the address
    "/minutes": (pdf("Minutes of March: the mayor held a speech about ducks."), "text/html"),
    "/latin1": (_LATIN1, "text/html"),
    "/logo.png": (b"\x89PNG\r\n", "image/png"),
    "/unknown.bin": (b"\0\1\2", "application/octet-stream"),
    "/picture.html": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe\0", "text/html"),
    "/trap": (b"<p>You should not be here.</p>", "text/html"),
    "/private/secret.html": (b"<p>Secret.</p>", "text/html"),
    "/history.old": (b"<p>Old.</p>", "text/html"),
}


async def _endless() -> AsyncIterator[bytes]:
    yield b"<html><body><p>"
    while True:
        yield b"huge " * 20_000
        await asyncio.sleep(0)


async def _slow() -> AsyncIterator[bytes]:
    yield b"<html><body><p>"
    await asyncio.sleep(3600)


def _moved(target: str, status: int = 301) -> Callable[[TownSite, Request], Response]:
    return lambda site, request: RedirectResponse(target, status)


_SPECIAL: dict[str, Callable[[TownSite, Request], Response]] = {
    "/old": _moved("/hours"),
    "/loop-a": _moved("/loop-b", 302),
    "/loop-b": _moved("/loop-a", 302),
    "/out": _moved("http://169.254.169.254/latest/meta-data", 302),
    "/local": _moved("http://localhost:9/admin", 307),
    "/huge": lambda site, request: StreamingResponse(_endless(), media_type="text/html"),
    "/slow": lambda site, request: StreamingResponse(_slow(), media_type="text/html"),
}
