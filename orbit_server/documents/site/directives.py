"""What single pages say to programs that read them: ``X-Robots-Tag``, and ``meta`` elements."""

import re
from collections.abc import Iterable

PRODUCT = "orbit-server"  # our name, also in robots.txt


def directives(values: Iterable[str]) -> set[str]:
    """Return what ``X-Robots-Tag`` headers or ``meta`` elements say to us, in lower case.

    A value may begin with the name of the program that it is for: ``googlebot: noindex``.
    """
    found: set[str] = set()
    for value in values:
        addressed, colon, rest = value.lower().partition(":")
        if colon and re.fullmatch(r"\s*[\w*-]+\s*", addressed):
            name = addressed.strip()
            # These two are no names: what follows them counts.
            if name != "unavailable_after" and not name.startswith("max-"):
                if name not in (PRODUCT, "*", "robots"):
                    continue
                value = rest
        found |= {word.strip() for word in value.lower().split(",")}
    return found | {"noindex", "nofollow"} if "none" in found else found
