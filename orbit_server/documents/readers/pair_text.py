"""What a question or an answer says, when a content system exported it with its HTML."""

import re
from html import unescape

from ..cleaning import clean
from ..model import Block
from .html import parse
from .text import without_comments

# A tag that was closed, or one that needs no end: <p> alone may be what the text is about.
_MARKUP = re.compile(
    r"</(?:a|abbr|address|article|b|blockquote|cite|code|dd|div|dl|dt|em|figure|font|h[1-6]|i|li|mark"
    r"|ol|p|pre|section|small|span|strong|sub|sup|table|td|th|tr|u|ul)\s*>|<(?:br|hr)\s*/?>|<img\s",
    re.I,
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
_LINK = re.compile(
    r"<a\s[^>]{0,500}?\bhref\s*=\s*([\"'])((?:https?:|mailto:|tel:)[^\"'<>]+)\1[^>]{0,500}>"
    r"(.{0,500}?)</a\s*>",
    re.I | re.S,
)


def plain(text: str) -> str:
    """Return ``text`` cleaned and, where it is HTML, as the text that a page would show.

    The address of a link stays beside its words. Markup in Markdown code is left as it is.
    """
    text = without_comments(clean(text)).strip()
    code = _CODE.findall(text)
    if _MARKUP.search(_CODE.sub("", text)) and not any(map(_MARKUP.search, code)):
        if text.startswith("<"):
            return _shown(text)
        paragraphs = re.split(r"\n\s*\n", text)
        return "\n\n".join(
            filter(None, (_shown(each.replace("\n", "<br>")) for each in paragraphs))
        )
    return text if code else clean(unescape(text).replace("\xa0", " ")).strip()


def _shown(html: str) -> str:
    lines: list[str] = []
    heading = ""
    for block in parse(_LINK.sub(_with_address, html)).blocks:
        lines += _under(block, heading)
        heading = block.heading
    return "\n\n".join(lines)


def _under(block: Block, heading: str) -> list[str]:
    new = block.heading.rpartition(" > ")[2] if block.heading != heading else ""
    return [each for each in (new, block.text) if each]


def _with_address(link: re.Match[str]) -> str:
    _, address, words = link.groups()
    address = address.removeprefix("mailto:").removeprefix("tel:")
    return words if address in words else f"{words} ({address})"
