"""What a site allows to programs: its robots.txt (RFC 9309)."""

from pathlib import Path
from typing import Self

from .address import normalised, origin
from .directives import PRODUCT
from .fetch import Fetcher, NotFetched

_MOST_BYTES = 512_000  # RFC 9309 asks for 500 KiB at least
_LONGEST_DELAY = 60.0


class Robots:
    """The robots.txt of one origin."""

    def __init__(self, text: str) -> None:
        from protego import Protego

        self._rules = Protego.parse(text)

    @classmethod
    async def fetched(cls, site: str, fetcher: Fetcher) -> Self:
        """Fetch the file of the origin of ``site``; without one everything is allowed.

        A server that fails allows nothing (RFC 9309, 2.3.1.4): this raises ``NotFetched``.
        """
        answer = await fetcher.follow(f"{origin(site)}/robots.txt")
        if answer.status >= 500 or answer.status == 429:
            raise NotFetched(f"its robots.txt cannot be read (status {answer.status})")
        return cls(_text(answer.file))

    def allows(self, address: str) -> bool:
        """Tell whether we may fetch ``address``."""
        return self._rules.can_fetch(address, PRODUCT)

    @property
    def delay(self) -> float | None:
        """The seconds that are to pass between two requests, if it says so; a minute at most."""
        delay = self._rules.crawl_delay(PRODUCT)
        return None if delay is None else min(delay, _LONGEST_DELAY)

    def sitemaps(self, base: str) -> list[str]:
        """Return the addresses of the sitemaps that it names."""
        found = (normalised(each, base) for each in self._rules.sitemaps)
        return list(dict.fromkeys(filter(None, found)))


def _text(file: Path | None) -> str:
    if file is None:
        return ""
    with file.open("rb") as opened:
        data = opened.read(_MOST_BYTES)
    file.unlink()
    return data.decode("utf-8-sig", errors="replace")
