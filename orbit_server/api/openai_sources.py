"""The list of sources that ends an answer for clients that show nothing but its text."""

import re
from collections.abc import Sequence
from typing import Any

# Fixed, so that the list is recognised when a client sends the answer back as history.
_FIRST_LINES = "\n\n---\n**Sources:**\n"
_LIST = re.compile(rf"{re.escape(_FIRST_LINES)}(?:- \[\d+\] [^\n]*(?:\n|\Z))+\s*\Z")
_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\[]`*_<>"})


def sources_list(sources: Sequence[dict[str, Any]], cited: Sequence[str]) -> str:
    """Return the Markdown list of the ``cited`` (ids) of ``sources``, else of all of them.

    Each keeps the number by which the answer refers to it. Empty without sources.
    """
    numbered = list(enumerate(sources, start=1))
    listed = [(number, source) for number, source in numbered if source["id"] in cited]
    lines = [f"- [{number}] {_named(source)}\n" for number, source in listed or numbered]
    return _FIRST_LINES + "".join(lines) if lines else ""


def without_sources(text: str) -> str:
    """Return an answer without the list that ``sources_list`` put behind it."""
    return _LIST.sub("", text)


def citations(sources: Sequence[dict[str, Any]]) -> list[str]:
    """Return the address or name of each source, once, in order."""
    return list(dict.fromkeys(source["source"] for source in sources))


def _named(source: dict[str, Any]) -> str:
    address = source["source"]
    title, name = _escaped(source["title"] or address), _escaped(address)
    if re.fullmatch(r"https?://[^\s<>()]+", address):
        return f"[{title}]({address})"
    return title if title == name else f"{title} ({name})"


def _escaped(text: str) -> str:
    return " ".join(text.split()).translate(_MARKUP)
